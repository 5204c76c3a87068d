"""What it is worth on a processor to keep the memory that a window's tensors free, as `segpipe predict` does.

    python benchmarks/freed_memory.py --dataset-dir DATASET_DIR

A cube of real scans goes through the hippocampus bundle's network, and one of twice its width, once in a process that
keeps the memory and once in one that leaves it to glibc, in turn. A line is added to results/freed_memory.jsonl. Four
rounds take seven minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle_runs import ROOT, append_line
from inference_inputs import BUNDLE, Network, networks, tiled
from inference_shares import prepared

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.inference.heap import keep_freed_memory
from segpipe.prediction.segmenter import Segmenter
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import read_header

RESULTS = Path(__file__).with_name("results") / "freed_memory.jsonl"
WAYS = ("kept", "left to glibc")


def segmented(network: Network, scan: Path, way: str) -> dict[str, float]:
    """Segment a scan in this process; return the seconds, and the share of the processor's that the system took."""
    if way == WAYS[0] and not keep_freed_memory():
        raise SystemExit("nothing to compare: this is not Linux with glibc")
    bundle = open_bundle(
        BundleSource(
            BUNDLE, weights=[network.weights], overrides={"filters": list(network.filters)}, device="cpu"
        )
    )
    segmenter = Segmenter(bundle, "float32")
    image, grid = prepared(bundle, segmenter, scan), read_header(scan).grid
    before, since = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    segmenter.segment(image, grid)
    seconds, after = time.perf_counter() - since, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {"seconds": round(seconds, 2), "system_share": round(system / (user + system), 4)}


def compared(network: Network, scan: Path, rounds: int) -> dict[str, Any]:
    """Return what each way took, process by process in turn, and print it."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            given = [network.name, ",".join(map(str, network.filters)), network.weights, scan, way]
            command = [sys.executable, __file__, "--one", *map(str, given)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))  # before it, what opening warns of
    medians = {way: statistics.median(row["seconds"] for row in rows) for way, rows in found.items()}
    for way, rows in found.items():
        seconds = ", ".join(f"{row['seconds']:.1f}" for row in rows)
        share = statistics.median(row["system_share"] for row in rows)
        times = medians[way] / medians[WAYS[0]]
        print(f"| {network.name} | {way} | {medians[way]:.1f} ({seconds}) | {share:.1%} | {times:.2f} |")
    return {"network": network.name, "runs": found, "median_seconds": medians}


def main() -> None:
    """Measure one process, or all of them in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path, help="of the hippocampus set")
    parser.add_argument("--size", type=int, default=96, help="voxels of the cube's side")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, filters, weights, scan, way = arguments.one
        network = Network(name, tuple(map(int, filters.split(","))), Path(weights), trained=False)
        print(json.dumps(segmented(network, Path(scan), way)))
        return
    if arguments.dataset_dir is None:
        parser.error("--dataset-dir is missing")
    version = commit(ROOT / "segpipe")  # before the result changes a tracked file
    scans = sorted((arguments.dataset_dir / "imagesTr").glob("*.nii.gz"))
    with tempfile.TemporaryDirectory() as name:
        scan = Path(name) / "cube.nii.gz"
        nibabel.save(nibabel.Nifti1Image(tiled(scans, arguments.size), np.eye(4)), scan)
        print("| network | what tensors free is | seconds | of which the system's | times kept |")
        print("|---|---|---|---|---|")
        rows = [compared(network, scan, arguments.rounds) for network in networks(Path(name))]
    line = {
        "rows": rows,
        "threads": torch.get_num_threads(),
        "machine": processor_name(),
        "command": f"python benchmarks/freed_memory.py --dataset-dir DATASET_DIR --size {arguments.size} "
        f"--rounds {arguments.rounds}",
        "commit": version,
    }
    append_line(arguments.results, line)


if __name__ == "__main__":
    main()

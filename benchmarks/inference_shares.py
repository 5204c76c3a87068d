"""What segmenting a scan takes outside of the network's forward, and what it spares to leave out empty windows.

    python benchmarks/inference_shares.py --dataset-dir DATASET_DIR --ct CT.nii.gz

DATASET_DIR holds imagesTr/*.nii.gz of the hippocampus set, CT.nii.gz any real CT; without it the second table is left
out. In one process, with PyTorch, through the networks of `inference.py`. A line is added to
results/inference_shares.jsonl.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle_runs import ROOT, append_line
from inference_inputs import BUNDLE, Network, networks, tiled

from segpipe.bundle.open import OpenBundle, open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.inference import choose_precision
from segpipe.prediction.segmenter import Segmenter
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import read_header

RESULTS = Path(__file__).with_name("results") / "inference_shares.jsonl"
SHARE_CUBE = 96


@contextmanager
def timed_forward(network: torch.nn.Module) -> Iterator[list[float]]:
    """Count the seconds that a network, or a copy of it, spends in its forward."""
    spent: list[float] = []  # hooks go with copies, and a list in a closure is not copied
    began: list[float] = []
    hooks = [
        network.register_forward_pre_hook(lambda *_: began.append(time.perf_counter())),
        network.register_forward_hook(lambda *_: spent.append(time.perf_counter() - began.pop())),
    ]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def prepared(bundle: OpenBundle, segmenter: Segmenter, scan: Path) -> Any:
    """Return a scan as a network gets it."""
    return segmenter.prepare(bundle.read(scan))


def own_share(network: Network, scan: Path, precision: str) -> dict[str, Any]:
    """Return what segmenting takes outside of the network's forward, as a share of what it takes in it."""
    bundle = open_bundle(
        BundleSource(
            BUNDLE, weights=[network.weights], overrides={"filters": list(network.filters)}, device="cpu"
        )
    )
    with timed_forward(bundle.network) as spent:
        segmenter = Segmenter(bundle, precision)
        since = time.perf_counter()
        image = prepared(bundle, segmenter, scan)
        preparing = time.perf_counter() - since
        segmenter.cost(image)  # chooses the precision, and warms up
        spent.clear()
        since = time.perf_counter()
        done = segmenter.segment(image, read_header(scan).grid)
        whole = time.perf_counter() - since
    inside = sum(spent)
    return {
        "network": network.name,
        "precision": segmenter.precision,
        "size": list(image.shape[1:]),
        "windows": done.windows,
        "network_s": round(inside, 3),
        "own_s": round(whole - inside, 3),
        "reading_s": round(preparing, 3),
        "share": round((whole - inside) / inside, 4),
        "share_with_reading": round((whole - inside + preparing) / inside, 4),
    }


def shares(found: Sequence[Network], scans: Sequence[Path], size: int, folder: Path) -> list[dict[str, Any]]:
    """Return the share of our own code for cubes of two sizes and each precision, and print it."""
    precisions = (
        ["float32"] if choose_precision("auto", torch.device("cpu")) is torch.float32 else ["float32", "auto"]
    )
    cubes = {}
    for length in sorted({min(SHARE_CUBE, size), size}):
        cubes[length] = folder / f"cube_{length}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(tiled(scans, length), np.eye(4)), cubes[length])
    rows = [
        own_share(network, cube, precision)
        for network in found
        for cube in cubes.values()
        for precision in precisions
    ]
    print(
        "\n| cube | network | precision | windows | in the network, s | outside, s | share | with reading |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['size'][0]} | {row['network']} | {row['precision']} | {row['windows']} | {row['network_s']:.2f} | "
            f"{row['own_s']:.2f} | {row['share']:.1%} | {row['share_with_reading']:.1%} |"
        )
    return rows


def tissue_rule(ct: Path, root: Path, least: float) -> dict[str, Any]:
    """Return what leaving out empty windows of a CT spares and changes, and print it."""
    bundle = open_bundle(BundleSource(root, device="cpu"))
    grid = read_header(ct).grid
    image = prepared(bundle, Segmenter(bundle), ct)
    done, seconds = {}, {}
    for share in (None, least):
        segmenter = Segmenter(bundle, "float32", skip_empty=share)
        segmenter.cost(image)
        since = time.perf_counter()
        done[share] = segmenter.segment(image, grid)
        seconds[share] = time.perf_counter() - since
    every, some = done[None], done[least]
    row = {
        "bundle": root.name,
        "ct": ct.name,
        "skip_empty": least,
        "size": list(grid.size),
        "windows": every.windows,
        "skipped": some.skipped,
        "seconds": round(seconds[None], 2),
        "seconds_with_rule": round(seconds[least], 2),
        "labels_changed": float(np.mean(every.labels != some.labels)),
    }
    print(f"\nwindows below {least} of the intensities left out: {ct.name} through {root.name}\n")
    print(
        "| size | windows | left out | seconds | with the rule | labels changed |\n|---|---|---|---|---|---|"
    )
    print(
        f"| {' x '.join(map(str, grid.size))} | {every.windows} | {some.skipped} | {row['seconds']:.1f} | "
        f"{row['seconds_with_rule']:.1f} | {row['labels_changed']:.4%} |"
    )
    return row


def main() -> None:
    """Measure, print the tables and add a line to the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--ct", type=Path, help="for the rule that leaves out empty windows")
    parser.add_argument(
        "--ct-bundle", type=Path, default=BUNDLE, help="whose labels are compared; default: the hippocampus"
    )
    parser.add_argument(
        "--skip-empty", type=float, default=0.2, help="the share of the intensities that a window must reach"
    )
    parser.add_argument("--size", type=int, default=160, help="voxels of the cube's side")
    arguments = parser.parse_args()
    version = commit(ROOT / "segpipe")  # before the result changes a tracked file
    scans = sorted((arguments.dataset_dir / "imagesTr").glob("*.nii.gz"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        line = {
            "shares": shares(networks(folder), scans, arguments.size, folder),
            "tissue": None
            if arguments.ct is None
            else tissue_rule(arguments.ct.absolute(), arguments.ct_bundle.absolute(), arguments.skip_empty),
            "threads": torch.get_num_threads(),
            "machine": processor_name(),
            "commit": version,
        }
    append_line(RESULTS, line)


if __name__ == "__main__":
    main()

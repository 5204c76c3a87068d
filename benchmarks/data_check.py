"""How long `segpipe data check` takes for many small volumes, beside the mere reading of their files.

    python benchmarks/data_check.py --dataset-dir DATASET_DIR

The hippocampus set's volumes, each several times with noise of its own so that no two are alike, in a temporary folder;
`segpipe data create` makes their manifest. A round reads every file with nibabel in one process, then checks the set
as a user does, start of the command included. A line is added to results/data_check.jsonl. Three rounds of 1,000
volumes take a minute and a half on two cores.
"""

from __future__ import annotations

import argparse
import os
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
from bundle_runs import ROOT, append_line

from segpipe.dataset import load_manifest
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "data_check.jsonl"
SEGPIPE = Path(sys.executable).with_name("segpipe")


def written(dataset_dir: Path, volumes: int, folder: Path) -> Path:
    """Write the volumes with their label maps, and return their manifest."""
    cases = load_manifest("hippocampus").training
    for number in range(volumes):
        case = cases[number % len(cases)]
        image, label = (nibabel.load(dataset_dir / path) for path in (case.images[0], case.label))
        random = np.random.default_rng(number)
        noisy = np.asarray(image.dataobj) + random.integers(-2, 3, image.shape)
        made = (("images", noisy.astype(np.int16), image), ("labels", np.asarray(label.dataobj), label))
        for name, voxels, source in made:
            path = folder / name / f"case_{number:04d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), source.affine), path)
    manifest = folder / "manifest.json"
    classes = ("--class", "0=background", "--class", "1=anterior", "--class", "2=posterior")
    subprocess.run(
        [SEGPIPE, "data", "create", folder, "--modality", "MRI", *classes, "--output", manifest],
        check=True,
        capture_output=True,
    )
    return manifest


def checked(manifest: Path) -> dict[str, float]:
    """Run the check; return its seconds, and those of all its processes together."""
    before, since = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    finished = subprocess.run(
        [SEGPIPE, "data", "check", manifest], capture_output=True, text=True, check=False
    )
    if finished.returncode == 2:
        raise SystemExit(finished.stdout + finished.stderr)
    seconds, after = time.perf_counter() - since, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 2), "processor_seconds": round(processor, 2)}


def read(folder: Path) -> float:
    """Return the seconds that reading every voxel takes in one process."""
    since = time.perf_counter()
    for path in sorted(folder.glob("*/*.nii.gz")):
        np.asarray(nibabel.load(path).dataobj)
    return round(time.perf_counter() - since, 2)


def main() -> None:
    """Make the set, and time rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path, required=True, help="of the hippocampus set")
    parser.add_argument("--volumes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest = written(given.dataset_dir, given.volumes, folder)
        rounds: list[dict[str, Any]] = [
            {"read_seconds": read(folder), **checked(manifest)} for _ in range(given.rounds)
        ]
    line = {
        "volumes": given.volumes,
        "rounds": rounds,
        "cores": len(os.sched_getaffinity(0)),
        "machine": processor_name(),
        "commit": commit(ROOT / "segpipe"),
    }
    append_line(RESULTS, line)
    medians = {name: statistics.median(own[name] for own in rounds) for name in rounds[0]}
    print(
        "| volumes | check, s | processor, s | reading alone in one process, s | commit |\n|---|---|---|---|---|"
    )
    print(
        f"| {given.volumes} | {medians['seconds']} | {medians['processor_seconds']} | {medians['read_seconds']} "
        f"| {line['commit']} |"
    )


if __name__ == "__main__":
    main()

"""What do the driver, the ledger and the start of a process cost where a cohort has 100,000 scans?

    python benchmarks/scale.py [--scans 100000] [--folder DIR]

DIR is on the disk to be measured, such as the cluster's shared storage; the default is the folder for temporary files.
Measured are: listing a folder of that many files; an entry of the ledger (two lines a scan, each synced to disk);
reading the whole ledger, and its memory; writing `volumes.csv`; the start of `segpipe predict`, as the difference
between one scan and several; the bytes of outputs a scan, for the hippocampus bundle and for label maps of a chest CT.
Seconds are of the processor, so that other programs change them little; an entry of the ledger is wall time.
No scan of a real patient is needed. docs/explanation/scale.md works out 100,000 CTs on 64 nodes from such a line. A
line is added to results/scale.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundle_runs import append_line

from segpipe.inference.class_volume import ClassVolume
from segpipe.phantoms.ct import ct_phantom
from segpipe.phantoms.mri import mri_phantom
from segpipe.prediction.ledger import Entry, Ledger, State
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import write_label_map, write_volume
from segpipe.volumes.scans import look_for_scans

RESULTS = Path(__file__).with_name("results") / "scale.jsonl"
BUNDLE = "mri_hippocampus_unet"
APPENDED = 200  # scans whose entries are timed
SCANS = 9  # of the longer of two cohorts, whose difference is the time of a scan
CT_SLICES = 20
READ = (
    "import json, psutil, sys, time\n"
    "from pathlib import Path\n"
    "from segpipe.prediction.ledger import Ledger\n"
    "held = psutil.Process().memory_info\n"
    "before, since = held().rss, time.process_time()\n"
    "ledger = Ledger(Path(sys.argv[1]))\n"
    "read, since = time.process_time() - since, time.process_time()\n"
    "ledger.write_volumes()\n"
    "print(json.dumps([read, time.process_time() - since, held().rss - before]))\n"
)


def entries(number: int) -> tuple[Entry, Entry]:
    """Return the two entries of a scan of three classes: before its files are renamed into place, and after."""
    case = f"site_{number // 1000:03d}/case_{number:06d}"
    sha256 = f"{number:064x}"
    done = Entry(
        case,
        State.DONE,
        f"/archive/{case}.nii.gz",
        sha256,
        recipe=sha256,
        precision="float32",
        engine="openvino",
        seconds=12.3,
        files={f"{case}.nii.gz": sha256, f"overlays/{case}.png": sha256},
        volumes=[
            ClassVolume(name, 123456, 123.456, 3) for name in ("ground-glass", "consolidation", "effusion")
        ],
        finished="2026-01-01T00:00:00+00:00",
        request=sha256,
        threads=1,
        torch_threads=1,
        overlap=(0.5, 0.5, 0.5),
    )
    return replace(done, state=State.WRITING, volumes=()), done


def measured_ledger(folder: Path, scans: int) -> dict[str, float]:
    """Append the last scans' entries to a ledger of all the others; read the ledger in a new process."""
    folder.mkdir()
    ledger = Ledger(folder)
    with ledger.path.open("w") as file:
        for number in range(scans - APPENDED):
            for entry in entries(number):
                file.write(json.dumps(entry.as_row(), sort_keys=True) + "\n")
    ledger = Ledger(folder)
    seconds = []
    for number in range(scans - APPENDED, scans):
        before, after = entries(number)
        since = time.perf_counter()
        ledger.append(before)
        ledger.append(after)
        seconds.append(time.perf_counter() - since)
    read = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=True
    )
    reading, writing, memory = json.loads(read.stdout)
    return {
        "ledger_bytes_a_scan": ledger.path.stat().st_size / scans,
        "ledger_append_ms_a_scan": 1000 * statistics.median(seconds),
        "ledger_read_processor_s": reading,
        "ledger_memory_gb": memory / 1e9,
        "volumes_csv_write_processor_s": writing,
        "volumes_csv_mb": (folder / "volumes.csv").stat().st_size / 1e6,
    }


def measured_listing(folder: Path, scans: int) -> dict[str, float]:
    """List a folder of files, 1000 in each folder below it."""
    for number in range(scans):
        if number % 1000 == 0:
            below = folder / f"site_{number // 1000:03d}"
            below.mkdir(parents=True)
        (below / f"case_{number:06d}.nii.gz").touch()
    since = time.process_time()
    found = len(look_for_scans(folder).scans)
    seconds = time.process_time() - since
    if found != scans:
        sys.exit(f"{found} of {scans} files were found")
    return {"listing_processor_s": seconds}


def predict_seconds(scans: Path, output: Path) -> float:
    """Return the processor time of `segpipe predict` in a new process, with one thread."""
    words = ["predict", str(scans), "--bundle", BUNDLE, "--output", str(output), "--quiet"]
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "segpipe", *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def measured_start(folder: Path) -> dict[str, float]:
    """Predict one phantom and several; the difference is the time of a scan, the rest is the start."""
    for name, number in (("one", 1), ("several", SCANS)):
        (folder / name).mkdir(parents=True)
        for index in range(number):
            image, _, grid = mri_phantom(0, index)
            write_volume(image, grid, folder / name / f"case_{index}.nii.gz")
    predict_seconds(folder / "one", folder / "warm")  # fills the disk's cache
    one = predict_seconds(folder / "one", folder / "out_one")
    several = predict_seconds(folder / "several", folder / "out_several")
    again = predict_seconds(folder / "several", folder / "out_several")
    a_scan = (several - one) / (SCANS - 1)
    written = sum(path.stat().st_size for path in (folder / "out_several").rglob("*") if path.is_file())
    return {
        "start_processor_s": one - a_scan,
        "hippocampus_processor_s_a_scan": a_scan,
        "finished_cohort_processor_s": again,
        "hippocampus_output_kb_a_scan": written / SCANS / 1e3,
    }


def measured_ct(folder: Path) -> dict[str, float]:
    """Write a chest CT and its label map; bytes of each a slice of 512 x 512 voxels."""
    folder.mkdir()
    image, labels, grid = ct_phantom(0, 0, size=512, slices=CT_SLICES)
    write_volume(image, grid, folder / "image.nii.gz")
    since = time.process_time()
    write_label_map(labels, grid, folder / "labels.nii.gz")
    seconds = time.process_time() - since
    sizes = {
        name: (folder / f"{name}.nii.gz").stat().st_size / CT_SLICES / 1e3 for name in ("image", "labels")
    }
    return {
        "ct_kb_a_slice": sizes["image"],
        "ct_labels_kb_a_slice": sizes["labels"],
        "ct_labels_write_processor_ms_a_slice": 1000 * seconds / CT_SLICES,
    }


def main() -> None:
    """Measure, print the table, and add a line to the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scans", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        figures: dict[str, Any] = {
            **measured_listing(folder / "listing", options.scans),
            **measured_ledger(folder / "ledger", options.scans),
            **measured_start(folder / "start"),
            **measured_ct(folder / "ct"),
        }
    figures = {name: float(f"{value:.4g}") for name, value in figures.items()}
    for name, value in figures.items():
        print(f"{name:40}{value:14,.6g}")
    line = {**figures, "scans": options.scans, "commit": commit(), "machine": processor_name()}
    append_line(RESULTS, {**line, "command": "python benchmarks/scale.py"})


if __name__ == "__main__":
    main()

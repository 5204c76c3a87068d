"""Does the memory of `segpipe predict` stay flat over a day's worth of scans?

    python benchmarks/soak.py --minutes 60

One process segments cohort after cohort, as the command does: CT phantoms as NIfTI, MetaImage, NRRD, DICOM series, PNG
and JPEG, of many sizes, and one broken scan in twelve. The network is a small untrained one, so that an hour holds more
scans than a day of usual ones: 2,880 are a scan every 30 s for 24 hours. After each scan the resident memory is noted.
The first tenth of the time is warm-up. The growth compares the median of the second tenth with that of the last.
Prints a table, adds a line to results/soak.jsonl, and ends with exit status 1 where memory grew by more than 2 %.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from bundle_runs import ROOT, append_line
from monai.bundle import ConfigParser

from segpipe.bundle.source import BundleSource
from segpipe.inference.heap import keep_freed_memory
from segpipe.phantoms.ct import ct_phantom, ct_slice_phantom
from segpipe.prediction.options import Prediction, PredictOptions
from segpipe.prediction.predict import predict
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import write_series, write_volume

RESULTS = Path(__file__).with_name("results") / "soak.jsonl"
BUNDLE = ROOT / "bundles" / "ct_covid_unet"
SIZE = 64  # of a 2D slice, which has no spacing
SMALL = {
    "widths": [4, 8, 16],
    "slice_size": [SIZE, SIZE],
    "window_size": [SIZE, SIZE],
    "flips": [],
    "precision": "float32",
    "device": "cpu",
}
ALLOWED_GROWTH = 0.02
TENTHS = 10
SCANS_OF_A_DAY = 2880


def write_weights(path: Path) -> Path:
    """Write untrained weights of the small network."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.yaml"))
    parser.read_meta(str(BUNDLE / "configs" / "metadata.json"))
    parser.update({**SMALL, "bundle_root": str(BUNDLE)})
    torch.manual_seed(0)
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    return path


def _volume(suffix: str) -> Callable[[Path, int], None]:
    def write(folder: Path, index: int) -> None:
        image, _, grid = ct_phantom(0, index, size=SIZE + 8 * (index % 7), slices=2 + index % 5)
        write_volume(image, grid, folder / f"scan{suffix}")

    return write


def _slice(folder: Path, index: int) -> None:
    image, _, grid = ct_slice_phantom(0, index, size=SIZE)
    write_volume(image, grid, folder / "scan.mhd")


def _series(folder: Path, index: int) -> None:
    image, _, grid = ct_phantom(0, index, size=SIZE + 8 * (index % 7), slices=3 + index % 5)
    write_series(image, grid, folder / "series", "CT")


def _picture(suffix: str) -> Callable[[Path, int], None]:
    def write(folder: Path, index: int) -> None:
        image, _, _ = ct_slice_phantom(0, index, size=SIZE)
        grey = np.clip((image + 1000) / 1400 * 255, 0, 255).astype(np.uint8)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(grey.T), str(folder / f"scan{suffix}"))

    return write


def _broken(folder: Path, index: int) -> None:
    """Write a scan of one of four faults: cut short, not a number, a text, a series with a gap."""
    image, _, grid = ct_phantom(0, index, size=SIZE, slices=4)
    path = folder / "scan.nii.gz"
    fault = index // len(KINDS) % 4
    if fault == 0:
        write_volume(image, grid, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif fault == 1:
        write_volume(np.where(image > 0, np.nan, image).astype(np.float32), grid, path)
    elif fault == 2:
        path.write_text("the scan is on the other disk\n" * 50)
    else:
        write_series(image, grid, folder / "series", "CT")[2].unlink()


KINDS = (_volume(".nii.gz"), _slice, _series, _picture(".jpg"), _volume(".mha"), _volume(".nii"))
KINDS = (*KINDS, _picture(".png"), _series, _volume(".mhd"), _volume(".nrrd"), _slice, _broken)


def write_pool(folder: Path, count: int) -> list[Path]:
    """Write so many scans, each in a folder of its own."""
    scans = []
    for index in range(count):
        scan = folder / f"{index:04d}"
        scan.mkdir(parents=True)
        KINDS[index % len(KINDS)](scan, index)
        scans.append(scan)
    return scans


def link_cohort(pool: Sequence[Path], folder: Path, count: int) -> Path:
    """Give scans of the pool new names in a folder; the files are links."""
    for index in range(count):
        shutil.copytree(pool[index % len(pool)], folder / f"{index:05d}", copy_function=os.link)
    return folder


def resident_mb() -> float:
    """Return the process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


class Watch:
    """The resident memory after each scan, and what became of the scans."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.samples: list[tuple[float, float]] = []
        self.outcomes: Counter[str] = Counter()

    def __call__(self, prediction: Prediction, _done: int, _total: int) -> None:
        """Note a scan."""
        self.samples.append((time.monotonic() - self.began, resident_mb()))
        self.outcomes[prediction.outcome.value] += 1

    def tenths(self) -> list[float]:
        """Return the median of the resident memory in each tenth of the time, in MB."""
        end = self.samples[-1][0]
        parts: list[list[float]] = [[] for _ in range(TENTHS)]
        for second, megabytes in self.samples:
            parts[min(int(second / end * TENTHS), TENTHS - 1)].append(megabytes)
        return [statistics.median(part) if part else float("nan") for part in parts]


def main() -> None:
    """Segment until the time is over, print the table and add the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--cohort", type=int, default=240, help="scans of one folder")
    parser.add_argument("--pool", type=int, default=96, help="different scans")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    version = commit(ROOT / "segpipe")
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pool = write_pool(folder / "pool", given.pool)
        weights = write_weights(folder / "model.pt")
        watch, cohorts = Watch(), 0
        while time.monotonic() - watch.began < given.minutes * 60:
            scans, output = link_cohort(pool, folder / "scans", given.cohort), folder / "output"
            options = PredictOptions(entropy=cohorts % 2 == 1)
            predict(
                [scans],
                BundleSource(BUNDLE, weights=[weights], overrides=SMALL),
                output,
                options=options,
                watch=watch,
            )
            shutil.rmtree(scans)
            shutil.rmtree(output)
            cohorts += 1
    line = summary(watch, cohorts, given, version)
    append_line(given.results, line)
    sys.exit(0 if line["growth"] <= ALLOWED_GROWTH else 1)


def summary(watch: Watch, cohorts: int, given: argparse.Namespace, version: str | None) -> dict[str, Any]:
    """Print the table and return the line of the results file."""
    tenths, scans = watch.tenths(), len(watch.samples)
    growth = tenths[-1] / tenths[1] - 1
    hours = scans / SCANS_OF_A_DAY * 24
    print(
        "| scans | as hours at a scan every 30 s | cohorts | failed | second tenth, MB | last tenth, MB | growth |"
    )
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {scans} | {hours:.1f} | {cohorts} | {watch.outcomes['failed']} | {tenths[1]:.1f} | {tenths[-1]:.1f} | "
        f"{growth:+.2%} |"
    )
    return {
        "scans": scans,
        "outcomes": dict(watch.outcomes),
        "cohorts": cohorts,
        "minutes": round(watch.samples[-1][0] / 60, 1),
        "resident_mb_by_tenths": [round(tenth, 1) for tenth in tenths],
        "growth": round(growth, 5),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
        "threads": torch.get_num_threads(),
        "machine": processor_name(),
        "commit": version,
        "command": f"python benchmarks/soak.py --minutes {given.minutes:g} --cohort {given.cohort} --pool {given.pool}",
    }


if __name__ == "__main__":
    main()

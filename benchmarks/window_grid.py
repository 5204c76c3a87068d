"""Does a grid of evenly spread windows, as nnU-Net lays it, take fewer windows than MONAI's, or give another Dice?

    python benchmarks/window_grid.py --data SHARED_DATA                       # counts windows
    python benchmarks/window_grid.py --bundle BUNDLE --manifest MANIFEST --dataset-dir DIR --fold 0=LAST.PT

MONAI lays windows at a fixed step, the whole part of (1 - overlap) times the window, and the last one at the end of the
scan. nnU-Net takes the smallest number of windows whose step is at most that share, and spreads them evenly. The
second command scores held-out cases with both grids. A line is added to results/window_grid.jsonl.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from bundle_runs import ROOT, append_line
from fold_scores import add_arguments, of_folds

from segpipe.bundle.open import OpenBundle
from segpipe.inference.even_windows import even_starts
from segpipe.inference.streaming import SlidingWindow
from segpipe.prediction.accuracy import WindowSettings
from segpipe.prediction.segmenter import Segmenter
from segpipe.prediction.streamable import StreamPlan
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name
from segpipe.volumes import find_scans, read_header

RESULTS = Path(__file__).with_name("results") / "window_grid.jsonl"
OVERLAPS = (0.25, 0.5)
SETS: dict[str, tuple[str | None, tuple[float, ...], tuple[int, ...]]] = {
    # files below the data, or one size; spacing in mm, empty for the scan's own; window
    "hippocampus": ("hippocampus/imagesTr", (1.0, 1.0, 1.0), (40, 56, 40)),
    "hippocampus, small window": ("hippocampus/imagesTr", (1.0, 1.0, 1.0), (32, 48, 32)),
    "sts_ct": ("sts_ct", (0.9766, 0.9766, 3.27), (96, 96, 32)),
    "sts_ct, odd window": ("sts_ct", (0.9766, 0.9766, 3.27), (95, 95, 31)),
    "spleen": ("spleen/imagesTr", (1.5, 1.5, 2.0), (96, 96, 96)),
    "160^3": (None, (160, 160, 160), (40, 56, 40)),
    "512 x 512": (None, (512, 512), (512, 512)),
    "512 x 512, window 384": (None, (512, 512), (384, 384)),
    "512 x 512, window 192": (None, (512, 512), (192, 192)),
}


class EvenWindow(SlidingWindow):
    """The fewest windows whose step is at most (1 - overlap) times the window, spread evenly, as in nnU-Net."""

    def starts(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the first voxel of each window in a padded image."""
        axes = [
            even_starts(length, roi, overlap)
            for length, roi, overlap in zip(size, self.roi_size, self.overlap, strict=True)
        ]
        return list(itertools.product(*axes))


class EvenSegmenter(Segmenter):
    """A segmenter whose windows are spread evenly."""

    def _plan(self, spatial_dims: int) -> StreamPlan:
        plan = super()._plan(spatial_dims)
        own = {part.name: getattr(plan.window, part.name) for part in fields(plan.window)}
        return replace(plan, window=EvenWindow(**own))


def sizes(data: Path, files: str | None, spacing: tuple[float, ...]) -> list[tuple[int, ...]]:
    """Return the size of every scan on the network's grid."""
    if files is None:
        return [tuple(int(length) for length in spacing)]
    grids = [
        read_header(scan.path).grid
        for scan in find_scans(data / files, strict=False)
        if "mask" not in scan.name
    ]
    return [
        tuple(
            max(round(length * own / wanted), 1)
            for length, own, wanted in zip(grid.size, grid.spacing_mm, spacing, strict=True)
        )
        for grid in grids
    ]


def counted_windows(data: Path) -> list[dict[str, object]]:
    """Count the windows of both grids over every set."""
    rows = []
    for name, (files, spacing, window) in SETS.items():
        scans = sizes(data, files, spacing)
        for overlap in OVERLAPS:
            flat = (*window, 1)[:3] if len(window) < 3 else window
            shares = (overlap, overlap, 0.0 if len(window) < 3 else overlap)
            padded = [tuple(max(pair) for pair in zip((*size, 1)[:3], flat, strict=True)) for size in scans]
            counts = [
                sum(len(kind(flat, overlap=shares).starts(size)) for size in padded)
                for kind in (SlidingWindow, EvenWindow)
            ]
            others = sum(
                set(SlidingWindow(flat, overlap=shares).starts(size))
                != set(EvenWindow(flat, overlap=shares).starts(size))
                for size in padded
            )
            rows.append(
                {
                    "set": name,
                    "window": list(window),
                    "overlap": overlap,
                    "scans": len(scans),
                    "windows": counts,
                    "scans_with_other_places": others,
                }
            )
    return rows


def evenly(precision: str, overlap: float | None) -> dict[str, object]:
    """Return both grids as ways of a segmenter."""

    def monais(bundle: OpenBundle) -> Segmenter:
        return Segmenter(bundle, precision, windows=WindowSettings(overlap))

    def even(bundle: OpenBundle) -> Segmenter:
        return EvenSegmenter(bundle, precision, windows=WindowSettings(overlap))

    return {"monai": monais, "even": even}


def main() -> None:
    """Count or score, print the table and add the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    add_arguments(parser)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--overlap", type=float, action="append")
    given = parser.parse_args()
    about = {"commit": commit(ROOT / "segpipe"), "machine": processor_name()}
    if given.data is not None:
        rows = counted_windows(given.data)
        for row in rows:
            print("|", " | ".join(map(str, row.values())), "|")
        append_line(RESULTS, {"counted": rows, **about})
        return
    for overlap in given.overlap or [None]:
        scores = of_folds(given, evenly(given.precision, overlap))
        rows = [scores.row(name, "monai") for name in scores.ways]
        for row in rows:
            print(row)
        run = {
            "bundle": given.bundle.name,
            "manifest": Path(given.manifest).stem,
            "overlap": overlap,
            "folds": [fold.split("=")[0] for fold in given.fold],
            "precision": given.precision,
        }
        append_line(RESULTS, {**run, "ways": rows, **about})


if __name__ == "__main__":
    main()

"""What does `--accuracy fast|standard|best` cost in seconds and in Dice, on the held-out cases of folds?

    python benchmarks/accuracy.py --bundle BUNDLE --manifest MANIFEST --dataset-dir DIR --fold 0=LAST.PT

The first way is the bundle's own overlap and mirror images; the others are compared with it, case by case. Mirror
images are tried along the given axes, `--mirror`, also where training had none. With weights that saw the cases only
seconds and equal voxels count: give `--shipped`. A line is added to results/accuracy.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bundle_runs import ROOT, append_line
from fold_scores import Way, add_arguments, of_folds

from segpipe.bundle.open import OpenBundle
from segpipe.prediction.accuracy import WindowSettings
from segpipe.prediction.segmenter import Segmenter
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "accuracy.jsonl"


def way(precision: str, overlap: float | None, flips: tuple[int, ...] | None) -> Way:
    """Return a way of a segmenter."""

    def made(bundle: OpenBundle) -> Segmenter:
        return Segmenter(bundle, precision, windows=WindowSettings(overlap, flips))

    return made


def main() -> None:
    """Score, print the table and add the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--mirror", type=int, nargs="*", default=[])
    parser.add_argument("--shipped", action="store_true", help="The weights saw the cases: leave Dice out.")
    given = parser.parse_args()
    axes = tuple(given.mirror)
    ways = {
        "bundle": way(given.precision, None, None),
        "fast": way(given.precision, 0.25, ()),
        "standard": way(given.precision, 0.5, ()),
        f"overlap .5, mirrors {list(axes)}": way(given.precision, 0.5, axes),
    }
    scores = of_folds(given, ways)
    rows = [scores.row(name, "bundle") for name in ways]
    for row in rows:
        if given.shipped:
            del row["dice"], row["gain"]
        print(row)
    run = {
        "bundle": given.bundle.name,
        "manifest": Path(given.manifest).stem,
        "folds": [fold.split("=")[0] for fold in given.fold],
        "shipped": given.shipped,
        "precision": given.precision,
    }
    append_line(
        RESULTS, {**run, "ways": rows, "commit": commit(ROOT / "segpipe"), "machine": processor_name()}
    )


if __name__ == "__main__":
    main()

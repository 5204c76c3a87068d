"""What `segpipe predict` prints of the segmented scans of a cohort."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.cli.cohort import end_estimates
from segpipe.cli.printed import print_table, say
from segpipe.cli.printed_expected import print_expected
from segpipe.errors import counted

if TYPE_CHECKING:
    from segpipe.prediction.estimate import Estimate
    from segpipe.prediction.options import Prediction
    from segpipe.prediction.part import CohortPart

_MOST_WARNED, _MOST_LINES = 40, 3


def print_summary(predictions: Sequence[Prediction], output: Path, part: CohortPart | None = None) -> None:
    """Print what became of the scans, and the names of the files.

    Args:
        predictions: of a run.
        output: its output folder.
        part: of the run; None for a whole run.
    """
    counts = Counter(prediction.outcome.value for prediction in predictions)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    say(f"{counted(len(predictions), 'scan')}: {outcomes}")
    for prediction in predictions:
        if prediction.outcome == "kept":
            say(f"{prediction.case}: {prediction.reason}")
    resampled = [one for one in predictions if one.resampled]
    if resampled:
        first = resampled[0]
        say(
            f"{counted(len(resampled), 'scan')} with channels resampled onto the first channel's grid, such as "
            f"{first.case} ({'; '.join(first.resampled)}); see volumes.csv"
        )
    print_expected(predictions)
    _print_warnings(predictions)
    unknown = sum(prediction.warnings is None for prediction in predictions if prediction.outcome == "done")
    if unknown:
        say(
            f"{unknown} not compared with the training cases; `segpipe reference-ranges` measures these cases"
        )
    _print_files(output, part, has_maps=any(one.outcome != "failed" for one in predictions))


def _print_files(output: Path, part: CohortPart | None, *, has_maps: bool) -> None:
    """Print what lies in the output folder, and how viewers open the names of the labels."""
    from segpipe.prediction.options import OVERLAYS
    from segpipe.volumes.label_files import ITK_SNAP_FILE, SLICER_FILE

    overlays = f"{OVERLAYS}/, " if (output / OVERLAYS).is_dir() else ""
    tables, ledger, log = "volumes.csv, ", "predictions.jsonl", "predict.log"
    if part is not None and (output / part.ledger_file).exists():  # not merged yet
        tables, ledger, log = "", part.ledger_file, part.log_file
    maps = f"label maps, {overlays}{tables}" if has_maps else ""
    say(f"{output}: {maps}{ledger}, {log}")
    viewers = {
        ITK_SNAP_FILE: "ITK-SNAP: Segmentation, Import Label Descriptions",
        SLICER_FILE: "3D Slicer: Add Data",
    }
    for name, opened in viewers.items():
        if has_maps and (output / name).is_file():
            say(f"{output / name}: names and colours of the labels ({opened})")


def _print_warnings(predictions: Sequence[Prediction]) -> None:
    from rich.table import Column

    warned = [(prediction.case, prediction.warnings) for prediction in predictions if prediction.warnings]
    if not warned:
        return
    rows: list[tuple[str, list[str]]] = []
    for case, warnings in warned[:_MOST_WARNED]:
        lines = list(warnings[:_MOST_LINES])
        if len(warnings) > len(lines):
            lines.append(f"and {len(warnings) - len(lines)} more")
        rows.append((case, lines))
    print_table(
        [
            Column("case", overflow="fold"),
            Column("values outside the range of the training cases, the farthest first", overflow="fold"),
        ],
        rows,
        title=f"{counted(len(warned), 'scan')} with warnings: look at these label maps before you use them",
        err=True,
        show_lines=True,
    )
    if len(warned) > _MOST_WARNED:
        say(f"and {len(warned) - _MOST_WARNED} more scans, in volumes.csv", err=True)


def print_estimates(rows: Sequence[Estimate]) -> None:
    """Print what a run would do with each scan."""
    from rich.table import Column

    cells: list[list[str]] = []
    for row in rows:
        size = " x ".join(map(str, row.size))
        seconds = "?" if math.isnan(row.seconds) else f"{row.seconds:.1f}"
        costs = [seconds, f"{row.peak_bytes / 1e9:.1f}"] if row.size else ["", ""]
        cells.append([row.case, row.action, size, *costs])
    print_table(
        [Column("case", overflow="fold"), "what", Column("size", no_wrap=True), "seconds", "peak GB"], cells
    )
    end_estimates(rows, "segment", "scans")

"""The scores of an evaluation on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.cli.printed import print_table, say
from segpipe.errors import counted, shown

if TYPE_CHECKING:
    from segpipe.evaluation.scored_cases import ScoredCases
    from segpipe.evaluation.summary import Figure, Summary

_SHOWN = {
    "dice": ("Dice", ".3f"),
    "hd95_mm": ("HD95, mm", ".2f"),
    "surface_dice": ("surface Dice", ".3f"),
    "volume_error_percent": ("volume error, %", "+.1f"),
}
_REASONS_SHOWN = 20


def print_scores(scores: ScoredCases, summary: Summary) -> None:
    """Print the mean of each class with its interval, and the cases with only one label map."""
    from segpipe.evaluation.case_scores import MEAN_OF_CLASSES, CaseScores
    from segpipe.evaluation.metrics import DISTANCES

    cases = CaseScores.of(scores)
    columns = {key: display for key, display in _SHOWN.items() if key not in DISTANCES or cases.has(key)}
    classes = {**summary.by_class, MEAN_OF_CLASSES: summary.all_classes}
    print_table(
        ["class", *(title for title, _ in columns.values()), "n"],
        [
            [
                name,
                *(
                    _cell(figures[metric], form, figures["dice"].interval.cases)
                    for metric, (_, form) in columns.items()
                ),
                str(figures["dice"].interval.cases),
            ]
            for name, figures in classes.items()
        ],
        title=f"cases: {len(scores.rows)}",
        show_lines=True,
    )
    if summary.all_classes["dice"].interval.is_known:
        drawn = "patients" if scores.knows_patients else "cases, each counted as one patient,"
        narrow = "; with so few they are too narrow" if summary.all_classes["dice"].interval.is_narrow else ""
        say(f"Means, and their 95 % intervals ({drawn} are drawn{narrow}); n: cases that have a Dice")
    else:
        say("Means; too few patients for an interval; n: cases that have a Dice")
    if scores.ignored_files:
        number = counted(len(scores.ignored_files), "file")
        say(f"{number} ignored, not a label map: {shown(scores.ignored_files)}", err=True)
    for case in scores.without_reference:
        say(f"no reference for the prediction {case}", err=True)
    for case in scores.without_prediction[:_REASONS_SHOWN]:
        why = f": {scores.reasons[case]}" if case in scores.reasons else ""
        say(f"no prediction for the reference {case}: it is in no mean{why}", err=True)
    if len(scores.without_prediction) > _REASONS_SHOWN:
        more = len(scores.without_prediction) - _REASONS_SHOWN
        say(f"and {more} more without prediction; --output lists them in summary.json", err=True)


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings on the scores to the standard error stream."""
    for warning in warnings:
        say(f"WARNING: {warning}", err=True, bold=True)


def print_files(output: Path) -> None:
    """Print the paths of the files that an evaluation writes."""
    from segpipe.report import EVALUATION_FILES

    for name in EVALUATION_FILES:
        say(output / name)


def _cell(figure: Figure, form: str, cases: int) -> list[str]:
    """Return the lines of a table cell: mean, interval, and the number of cases where it is not `cases`."""
    interval = figure.interval
    lines = [format(interval.mean, form) if interval.cases else "-"]
    if interval.is_known:
        lines.append(f"{interval.low:{form}} to {interval.high:{form}}")
    fewer = figure.cases_in_words(cases)
    return [*lines, fewer] if fewer else lines

"""The scores of an evaluation on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from segpipe.errors import counted, shown

if TYPE_CHECKING:
    from segpipe.evaluation.scoring import FolderScores
    from segpipe.evaluation.summary import Figure, Summary

_SHOWN = {
    "dice": ("Dice", ".3f"),
    "hd95_mm": ("HD95, mm", ".2f"),
    "surface_dice": ("surface Dice", ".3f"),
    "volume_error_percent": ("volume error, %", "+.1f"),
}
_REASONS_SHOWN = 20


def print_scores(scores: FolderScores, summary: Summary) -> None:
    """Print the mean of each class with its interval, and the cases that have no pair."""
    from rich.console import Console
    from rich.table import Table

    from segpipe.evaluation.case_scores import MEAN_OF_CLASSES

    table = Table(
        "class",
        *(title for title, _ in _SHOWN.values()),
        "n",
        title=f"cases: {len(scores.rows)}",
        show_lines=True,
    )
    for name, figures in {**summary.by_class, MEAN_OF_CLASSES: summary.all_classes}.items():
        cells = (_cell(figures[metric], form) for metric, (_, form) in _SHOWN.items())
        table.add_row(name, *cells, str(figures["dice"].interval.cases))
    Console().print(table)
    if summary.all_classes["dice"].interval.is_known:
        drawn = "patients" if scores.knows_patients else "cases, as if each were of another patient,"
        narrow = ", too narrow of so few" if summary.all_classes["dice"].interval.is_narrow else ""
        typer.echo(f"Means, and their 95 % intervals ({drawn} are drawn{narrow}); n: cases with a Dice")
    else:
        typer.echo("Means, of too few patients for an interval; n: cases with a Dice")
    if scores.passed_over:
        number = counted(len(scores.passed_over), "file")
        typer.echo(f"{number} passed over, no label map: {shown(scores.passed_over)}", err=True)
    for case in scores.without_reference:
        typer.echo(f"no reference for the prediction {case}", err=True)
    for case in scores.without_prediction[:_REASONS_SHOWN]:
        why = f": {scores.reasons[case]}" if case in scores.reasons else ""
        typer.echo(f"no prediction for the reference {case}: it is in no mean{why}", err=True)
    if len(scores.without_prediction) > _REASONS_SHOWN:
        more = len(scores.without_prediction) - _REASONS_SHOWN
        typer.echo(f"and {more} more without prediction; --output lists them in summary.json", err=True)


def print_warnings(warnings: Iterable[str]) -> None:
    """Print what makes the figures mean less than they seem to, to the standard error stream."""
    for warning in warnings:
        typer.secho(f"WARNING: {warning}", err=True, bold=True)


def print_files(output: Path) -> None:
    """Print the paths of the files that an evaluation writes."""
    from segpipe.report import EVALUATION_FILES

    for name in EVALUATION_FILES:
        typer.echo(output / name)


def _cell(figure: Figure, form: str) -> str:
    """Return a mean with its interval, and how many cases have no finite value."""
    own = figure.interval
    text = format(own.mean, form) if own.cases else "-"
    if own.is_known:
        text += f"\n{own.low:{form}} to {own.high:{form}}"
    return text + (f"\nand {own.infinite} infinite" if own.infinite else "")

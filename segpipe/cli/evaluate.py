"""`segpipe evaluate`: label maps against references."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from segpipe.evaluation.summary import Figure

_SHOWN = {
    "dice": ("Dice", ".3f"),
    "hd95_mm": ("HD95, mm", ".2f"),
    "surface_dice": ("surface Dice", ".3f"),
    "volume_error_percent": ("volume error, %", "+.1f"),
}


def evaluate(
    predictions: Annotated[Path, typer.Option(metavar="DIR", help="Folder of label maps.")],
    references: Annotated[Path, typer.Option(metavar="DIR", help="Folder of label maps of the same names.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="METADATA.JSON", help="A bundle's label table; default: a class for every value."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where metrics.csv, summary.json and report.html go; default: nowhere."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the scans, by the same names, for the report's pictures."
        ),
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Whose a case is, such as '{patient}_*'; default: each case is a patient of its own.",
        ),
    ] = None,
    tolerance_mm: Annotated[
        float,
        typer.Option(metavar="MM", help="How far surfaces may lie apart and agree, for the surface Dice."),
    ] = 1.0,
) -> None:
    """Score label maps, with intervals over patients; exit status 1 if a reference has no prediction."""
    from rich.console import Console
    from rich.table import Table

    from segpipe import __version__
    from segpipe.evaluation.case_scores import MEAN_OF_CLASSES, METRICS_FILE
    from segpipe.evaluation.scoring import score_folder
    from segpipe.evaluation.summary import SUMMARY_FILE, summarise, write_scores
    from segpipe.labels import load_label_table
    from segpipe.report import REPORT_FILE, write_report

    table = load_label_table(labels) if labels else None
    scores = score_folder(predictions, references, table, tolerance_mm=tolerance_mm, patient=patient)
    summary = summarise(scores)
    shown = Table(
        "class",
        *(title for title, _ in _SHOWN.values()),
        "n",
        title=f"cases: {len(scores.rows)}",
        show_lines=True,
    )
    for name, figures in {**summary.by_class, MEAN_OF_CLASSES: summary.all_classes}.items():
        cells = (_cell(figures[metric], form) for metric, (_, form) in _SHOWN.items())
        shown.add_row(name, *cells, str(figures["dice"].interval.cases))
    Console().print(shown)
    if summary.all_classes["dice"].interval.is_known:
        drawn = "patients" if scores.knows_patients else "cases, as if each were of another patient,"
        typer.echo(f"Means, and their 95 % intervals ({drawn} are drawn); n: cases with a Dice")
    else:
        typer.echo("Means, of too few patients for an interval; n: cases with a Dice")
    for case in scores.without_reference:
        typer.echo(f"no reference for the prediction {case}", err=True)
    for case in scores.without_prediction:
        typer.echo(f"no prediction for the reference {case}: it is in no mean", err=True)
    if output is not None:
        about = {
            "predictions": str(predictions),
            "references": str(references),
            "patient": patient,
            "segpipe": __version__,
        }
        write_scores(scores, summary, output, about)
        write_report(scores, summary, output, images, about)
        for name in (METRICS_FILE, SUMMARY_FILE, REPORT_FILE):
            typer.echo(output / name)
    if scores.without_prediction:
        raise typer.Exit(1)


def _cell(figure: Figure, form: str) -> str:
    """Return a mean with its interval, and how many cases have no finite value."""
    own = figure.interval
    text = format(own.mean, form) if own.cases else "-"
    if own.is_known:
        text += f"\n{own.low:{form}} to {own.high:{form}}"
    return text + (f"\nand {own.infinite} infinite" if own.infinite else "")

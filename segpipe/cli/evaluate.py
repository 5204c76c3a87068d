"""`segpipe evaluate`: label maps against references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
        Path | None, typer.Option(metavar="DIR", help="Where metrics.csv goes; default: nowhere.")
    ] = None,
) -> None:
    """Score label maps: Dice per class over the cases; exit status 1 if a reference has no prediction."""
    from rich.console import Console
    from rich.table import Table

    from segpipe.evaluation.scoring import METRICS_FILE, score_folder
    from segpipe.labels import load_label_table

    table = load_label_table(labels) if labels else None
    scores = score_folder(predictions, references, table, output)
    shown = Table("class", "mean Dice", "n", title=f"{len(scores.rows)} cases")
    for name, mean, count in scores.class_means():
        shown.add_row(name, f"{mean:.4f}", str(count))
    shown.add_row("mean of cases", f"{scores.mean:.4f}", str(len(scores.rows)))
    Console().print(shown)
    for case in scores.without_reference:
        typer.echo(f"no reference for the prediction {case}", err=True)
    for case in scores.without_prediction:
        typer.echo(f"no prediction for the reference {case}: it is in no mean", err=True)
    if output is not None:
        typer.echo(output / METRICS_FILE)
    if scores.without_prediction:
        raise typer.Exit(1)

"""`segpipe bundles`: list the bundles that have a name."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from segpipe.bundle_names import VARIABLE, searched_folders
from segpipe.cli.printed import print_table, say
from segpipe.errors import shown

_TITLES = {"mean_dice": "Dice", "macro_auroc": "AUROC", "accuracy": "accuracy"}
_MOST_CLASSES = 6


def bundles(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the bundles that every command takes by name: those in the folders of SEGPIPE_BUNDLES, and segpipe's own.

    Scores and licence are those in each bundle's metadata. SEGPIPE_BUNDLES separates folders as PATH does.
    """
    from segpipe.information import listed_bundles

    rows = listed_bundles()
    if as_json:
        typer.echo(json.dumps([row.as_plain() for row in rows], indent=2))
        return
    for folder, whose in searched_folders():
        if whose == VARIABLE and not folder.is_dir():
            say(f"segpipe: {VARIABLE}: {folder}: no such folder; correct the variable", err=True)
    cells = []
    for row in rows:
        if row.about is None:
            say(f"segpipe: {row.problem}", err=True)
            continue
        score = row.score
        figure = f"{_TITLES[score[0]]} {score[1]:.3f}" if score else "not evaluated"
        classes = shown(row.about.classes[row.about.target == "label map" :], most=_MOST_CLASSES)
        where = "segpipe" if row.shipped else str(row.folder.parent)
        cells.append([row.name, row.about.modality, classes, figure, row.about.licence or "not named", where])
    if cells:
        from rich.table import Column

        heads = ("bundle", "modality", "classes", "score", "licence of the weights", "from")
        columns = [Column(head, overflow="fold", no_wrap=head == heads[0]) for head in heads]
        print_table(columns, cells, show_lines=True)
    else:
        say(f"no bundle in {', '.join(str(folder) for folder, _ in searched_folders())}")
    say("`segpipe info NAME` says more, and what the scores were taken on.")

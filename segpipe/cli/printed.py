"""The output of commands: names pass through `segpipe.printable`, and no name is read as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from segpipe.printable import printable

if TYPE_CHECKING:
    from rich.table import Column


def say(*lines: object, err: bool = False, bold: bool = False) -> None:
    """Print lines.

    Args:
        lines: objects to print, one line each, whatever names they contain.
        err: to the standard error stream.
        bold: on a terminal.
    """
    for line in lines:
        typer.secho(printable(str(line)), err=err, bold=bold)


def print_table(
    columns: Sequence[str | Column],
    rows: Iterable[Sequence[str | Sequence[str]]],
    *,
    title: str | None = None,
    err: bool = False,
    show_lines: bool = False,
) -> None:
    """Print a table as wide as the terminal.

    Args:
        columns: heads, or rich's columns with heads that segpipe wrote.
        rows: rows of cells; a cell is a text, or a list of lines.
        title: title above the table, on the left.
        err: to the standard error stream.
        show_lines: whether lines separate rows.
    """
    from rich.console import Console
    from rich.table import Table

    heads = [printable(column) if isinstance(column, str) else column for column in columns]
    table = Table(
        *heads, title=None if title is None else printable(title), title_justify="left", show_lines=show_lines
    )
    for row in rows:
        table.add_row(*map(_cell, row))
    Console(stderr=err, markup=False, emoji=False).print(table)


def _cell(cell: str | Sequence[str]) -> str:
    return "\n".join(map(printable, [cell] if isinstance(cell, str) else cell))

r"""The CSV files that segpipe writes, and reads again: no cell runs as a formula, and none holds a hidden character.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`; before such a text stands `'`. Hidden characters are
written as escapes, see `segpipe.printable`. Reading undoes both, so that a name comes back exactly. Tables that users
make are read by `segpipe.dataset.importing.tables` as they stand.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from segpipe.printable import is_hidden, printable
from segpipe.regular_files import open_regular

Cell = str | float | None

_SIGNS = (
    "=+\\-@\uff1d\uff0b\uff0d\uff20"  # and their full-width forms, which East Asian spreadsheets take too
)
_FORMULA = re.compile(rf"'*\s*[{_SIGNS}]")
_PREFIXED = re.compile(rf"''*\s*[{_SIGNS}]")
_ESCAPE = re.compile(r"\\(?:(\\)|([nrt])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}


class NoTableError(Exception):
    """A file is no table that segpipe wrote; the text says why, as the end of a sentence that begins with the file."""


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]], number: str = ".9g") -> str:
    """Return a table as CSV, a line a row.

    Args:
        columns: names of the columns.
        rows: of as many cells. Text is protected; None and nan are empty fields; numbers stay plain numbers.
        number: format of the floats.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([protected(name) for name in columns])
    table.writerows([_field(cell, number) for cell in row] for row in rows)
    return text.getvalue()


def read_csv(path: Path, columns: Iterable[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a table that `csv_text` made: name of the column -> the text that was written.

    Args:
        path: of a file in UTF-8.
        columns: that the table must have.

    Raises:
        NoTableError: it cannot be read, is no CSV, lacks a column, has two of one name, or has a row of another length.
        SegpipeError: a pipe or a device.
    """
    try:
        # Excel puts a byte order mark in front; one that belongs to a name is written as an escape
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            head, *rows = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NoTableError(f"cannot be read: {reason}") from error
    names = [unprotected(name) for name in head]
    missing = [name for name in columns if name not in names]
    if missing:
        raise NoTableError(f"has no column {missing[0]}")
    if len(set(names)) < len(names):
        raise NoTableError("has two columns of one name")
    filled = [row for row in rows if row]  # an empty line is no row
    if any(len(row) != len(names) for row in filled):
        raise NoTableError("has rows of another length than its head")
    return [dict(zip(names, map(unprotected, row), strict=True)) for row in filled]


def protected(text: str) -> str:
    """Return a text as a cell holds it; `unprotected` gives it back."""
    # a backslash that would read as the beginning of an escape is doubled
    doubled = "".join(
        "\\\\" if character == "\\" and _reads_as_escape(text, place) else character
        for place, character in enumerate(text)
    )
    shown = printable(doubled)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def unprotected(cell: str) -> str:
    """Return the text that `protected` made a cell of; a cell that needed no protection stays as it is."""
    shown = cell[1:] if _PREFIXED.match(cell) else cell
    return _ESCAPE.sub(_character, shown)


def _reads_as_escape(text: str, place: int) -> bool:
    following = text[place + 1 : place + 2]
    return bool(following) and (is_hidden(following) or _ESCAPE.match(text, place) is not None)


def _character(escape: re.Match[str]) -> str:
    backslash, short, *codes = escape.groups()
    if backslash is not None:
        return backslash
    return _SHORT[short] if short is not None else chr(int(next(code for code in codes if code), 16))


def _field(cell: Cell, number: str) -> str:
    if isinstance(cell, str):
        return protected(cell)
    if cell is None or math.isnan(cell):
        return ""
    return str(cell) if isinstance(cell, int) else format(cell, number)

r"""CSV files that segpipe writes and reads: no cell runs as a formula, and no cell holds a hidden character.

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
    "=+\\-@\uff1d\uff0b\uff0d\uff20"  # with the full-width forms, which East Asian spreadsheets also accept
)
_FORMULA = re.compile(rf"'*\s*[{_SIGNS}]")
_PREFIXED = re.compile(rf"''*\s*[{_SIGNS}]")
_ESCAPE = re.compile(r"\\(?:(\\)|([nrt])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}


class NoTableError(Exception):
    """A file is not a table of segpipe; the text is the end of a sentence that begins with the file."""


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]], number: str = ".9g") -> str:
    """Return a table as CSV, one line per row.

    Args:
        columns: names of the columns.
        rows: one cell per column. Text is protected; None and nan become empty fields; numbers stay plain numbers.
        number: format of the floats.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([protected(name) for name in columns])
    table.writerows([_field(cell, number) for cell in row] for row in rows)
    return text.getvalue()


def read_csv(path: Path, columns: Iterable[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a table from `csv_text`: name of the column -> the text that was written.

    Args:
        path: a file in UTF-8.
        columns: columns that the table must have.

    Raises:
        NoTableError: the file cannot be read, is not CSV, lacks a column, repeats a column, or has a row of another
            length.
        SegpipeError: the path is a pipe or a device.
    """
    try:
        # Excel writes a byte order mark first; csv_text writes such a character of a name as an escape
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
    filled = [row for row in rows if row]  # without empty lines
    if any(len(row) != len(names) for row in filled):
        raise NoTableError("has rows of another length than its head")
    return [dict(zip(names, map(unprotected, row), strict=True)) for row in filled]


def protected(text: str) -> str:
    """Return a text as a cell holds it; `unprotected` reverses this."""
    # double a backslash that would read as the beginning of an escape
    doubled = "".join(
        "\\\\" if character == "\\" and _reads_as_escape(text, place) else character
        for place, character in enumerate(text)
    )
    shown = printable(doubled)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def unprotected(cell: str) -> str:
    """Return the original text of a cell from `protected`; a cell without protection stays as it is."""
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

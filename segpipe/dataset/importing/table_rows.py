"""Read the rows of a user's table, and what the names of its columns mean."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segpipe.dataset.importing.found_cases import DatasetPart, part_named
from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular

TABLE_SUFFIXES = (".csv", ".tsv")
Row = tuple[int, Sequence[str]]
"""Number of a line, and its fields."""

_PATH_WORDS = ("file", "filename", "filepath", "name", "path")
_WORKBOOKS = (
    b"PK\x03\x04",
    b"\xd0\xcf\x11\xe0",
)  # of Excel and LibreOffice: a ZIP archive, or the older format
_SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)  # Excel's own first line
_SEPARATORS = ",;\t|"


def tables_in(folder: Path) -> list[Path]:
    """Return the tables directly in a folder, by suffix, without hidden files."""
    files = [
        path for path in sorted(folder.iterdir()) if path.suffix.lower() in TABLE_SUFFIXES and path.is_file()
    ]
    return [path for path in files if not path.name.startswith(".")]


def table_text(path: Path, errors: str = "strict") -> str:
    """Return a table's text.

    Args:
        path: of a text in UTF-8 or UTF-16.
        errors: of bytes that are no text: "strict" refuses, "replace" replaces them.

    Raises:
        SegpipeError: the file cannot be read, or is no such text.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise SegpipeError(f"{path}: no table that can be read ({error.strerror}); check the path") from error
    if content.startswith(_WORKBOOKS):
        raise SegpipeError(
            f"{path}: is a workbook of a spreadsheet, no text; save it as CSV (in Excel: CSV UTF-8)"
        )
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SegpipeError(
            f"{path}: line {line} is not UTF-8 text; save the table as UTF-8 (in Excel: CSV UTF-8)"
        ) from error


def table_rows(text: str, path: Path) -> list[Row]:
    """Return line number and stripped fields of each row; the first row names the columns.

    Empty lines before the columns and Excel's line `sep=;` are left out.

    Args:
        text: with commas, semicolons, tabs or bars between fields.
        path: for messages.

    Raises:
        SegpipeError: a line is no row of a table.
    """
    lines = io.StringIO(text, newline="")
    skipped, first = 0, lines.readline()
    while first and (not first.strip() or _SEPARATOR_LINE.fullmatch(first.strip("\r\n"))):
        skipped, first = skipped + 1, lines.readline()
    reader = csv.reader(
        itertools.chain([first], lines),
        delimiter=max(_SEPARATORS, key=first.count),
        strict=True,
        skipinitialspace=True,
    )
    try:
        rows: list[Row] = []
        start = skipped + 1
        for row in reader:
            rows.append((start, [field.strip() for field in row]))
            start = skipped + reader.line_num + 1
    except csv.Error as error:
        raise SegpipeError(f"{path}: line {start} is no row of a table: {error}; mend it") from error
    return rows if first else []


def require_distinct_columns(names: Sequence[str], path: Path) -> None:
    """Refuse a table with two columns of one name."""
    repeated = [name for name, count in Counter(name.lower() for name in names if name).items() if count > 1]
    if repeated:
        raise SegpipeError(f"{path}: has the column {repeated[0]} twice; rename or remove one")


def column_words(name: str) -> list[str]:
    """Return the words of a column's name, without last words such as path or file."""
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    words = [word.lower() for word in words]
    while len(words) > 1 and words[-1] in _PATH_WORDS:
        words.pop()
    return words


def field_at(row: Sequence[str], position: int | None) -> str:
    """Return a field of a row; empty where the row is too short, or there is no such column."""
    return row[position] if position is not None and position < len(row) else ""


def part_in(text: str, where: str) -> DatasetPart:
    """Return the part that a field names.

    Raises:
        SegpipeError: the field names none.
    """
    part = part_named(text)
    if not part:
        raise SegpipeError(f"{where}: split is {text!r}, must be train, validation or test")
    return part


def require_case_id(case: str, where: str) -> None:
    """Refuse a case id that cannot be a file's name."""
    if case.startswith(".") or set("/\\") & set(case):
        raise SegpipeError(
            f"{where}: the case id {case!r} must be usable as a file name: without / and no . in front"
        )

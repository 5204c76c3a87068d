"""Cases from a CSV: one row a case, with columns recognised by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from segpipe.dataset.importing.found_cases import (
    FoundCase,
    Layout,
    is_there,
    name_of,
    part_named,
    path_below,
    require_present,
    unlisted,
    with_parts,
)
from segpipe.dataset.importing.table_rows import (
    Row,
    column_words,
    field_at,
    part_in,
    require_case_id,
    require_distinct_columns,
    table_rows,
    table_text,
    tables_in,
)
from segpipe.errors import SegpipeError, shown
from segpipe.volumes.formats import suffix_format

_IMAGE = re.compile("(image|img|scan|volume)s?")
_ROLES = {
    "label": re.compile("(label|mask|seg|segmentation|groundtruth|gt|annotation|labelmap)s?"),
    "patient": re.compile(
        "(patient|subject|participant)s?(id|identifier|no|nr|num|number|code|key|name)?|pid"
    ),
    "case": re.compile("cases?(id|identifier|no|nr|num|number|name)?"),
    "part": re.compile("(data)?(split|subset|partition)"),
}
_FILE_WORDS = ("file", "filename", "filepath")  # of the image, where the label map has another column
_UNKNOWN = frozenset(
    {"", "-", "--", "?", "n/a", "n.a.", "na", "nan", "none", "not available", "null", "unk", "unknown"}
)


@dataclass(frozen=True)
class _Columns:
    """The meaning of a table's columns, by position.

    Attributes:
        names: as in the header.
        images: position -> name of the channel.
        roles: label, patient, case and part -> position.
        others: positions of unused columns.
    """

    names: tuple[str, ...]
    images: Mapping[int, str]
    roles: Mapping[str, int]
    others: tuple[int, ...]


def table_in(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the only CSV of a folder that lists scans and label maps, or None; and notes on other tables.

    Raises:
        SegpipeError: several CSVs list scans and label maps.
    """
    files = tables_in(folder)
    tables = [path for path in files if _lists_scans(path, folder)]
    if len(tables) > 1:
        raise SegpipeError(
            f"{folder}: {shown(path.name for path in tables)} all list scans; choose one with --csv, or make them one "
            "table with a column split (train, validation, test)"
        )
    others = [path.name for path in files if path not in tables]
    notes = (
        [
            f"these tables are not read, since they have no columns image and label that name files: {shown(others)}"
        ]
        if others
        else []
    )
    return (tables[0] if tables else None), notes


def cases_of_table(folder: Path, path: Path) -> Layout:
    """Read the cases that a table lists.

    Users make such tables, so cells stay unchanged: a leading `'`, which `segpipe.csv_files` would remove, may be the
    first letter of a file's name, and `-3` is a case's name.

    Args:
        folder: of the data set; the table's paths are relative to it.
        path: of a text in UTF-8 or UTF-16, with commas, semicolons, tabs or bars between fields. The first line names
            the columns: image (or several that begin with image, one a channel), label and, if known, case, patient
            and split.

    Raises:
        SegpipeError: the table cannot be read, lacks a column or has a column twice, or a row does not fit.
    """
    rows = table_rows(table_text(path), path)
    columns = _columns(rows, folder, path)
    cases = [_case(row, columns, folder, f"{path}: line {number}") for number, row in rows[1:] if any(row)]
    if not cases:
        raise SegpipeError(f"{path}: lists no case")
    require_present((file for case in cases for file in case.files), folder, path)
    _require_no_more_scans(rows[1:], columns, path)
    cases, notes = with_parts(_with_distinct_names(cases, "case" in columns.roles), str(path))
    ignored = [columns.names[position] for position in columns.others if columns.names[position]]
    if ignored:
        notes.append(f"{path.name}: these columns are not used: {shown(ignored)}")
    notes += unlisted(folder, cases, [""], path.name)
    return Layout(f"the table {path.name}", cases, notes=notes)


def images_in_table(path: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the cases of a table of images, in the order of its lines.

    Args:
        path: as `cases_of_table`; the column label is not needed.

    Returns:
        For each line the case's name, by default the name of the first image, and for each image column the channel's
        name and the path as the table has it.

    Raises:
        SegpipeError: as `cases_of_table`; or two lines have one case.
    """
    rows = table_rows(table_text(path), path)
    columns = _columns(rows, path.parent, path, needs_label=False)
    cases: dict[str, list[tuple[str, str]]] = {}
    for number, row in rows[1:]:
        if not any(row):
            continue
        where = f"{path}: line {number}"
        _require_row(row, columns, where)
        images = [(channel, field_at(row, position)) for position, channel in columns.images.items()]
        case = field_at(row, columns.roles.get("case")) or name_of(images[0][1])
        require_case_id(case, where)
        if case in cases:
            raise SegpipeError(
                f"{where}: the case {case} is there twice; give each its own name in a column case"
            )
        cases[case] = images
    if not cases:
        raise SegpipeError(f"{path}: lists no case")
    _require_no_more_scans(rows[1:], columns, path)
    return list(cases.items())


def has_image_column(path: Path) -> bool:
    """Return whether the first line of a table names a column of images; False if it cannot be read.

    Args:
        path: of a CSV.
    """
    try:
        names = next((names for _, names in table_rows(table_text(path).partition("\n")[0], path)), [])
    except SegpipeError:
        return False
    return any(_channel(name) is not None for name in names)


def has_label_maps_column(path: Path, folder: Path) -> bool:
    """Return whether a column of label maps, by its name, has fields that name files; False for no table.

    Args:
        path: of a table.
        folder: of the data set.
    """
    try:
        rows = table_rows(table_text(path, errors="replace"), path)
    except SegpipeError:
        return False
    names = rows[0][1] if rows else []
    return any(_role(name) == "label" and _holds_scans(rows, at, folder) for at, name in enumerate(names))


def names_label_maps(rows: Sequence[Row]) -> bool:
    """Return whether the first row of a table names a column of label maps."""
    return any(_role(name) == "label" for name in (rows[0][1] if rows else ()))


def _lists_scans(path: Path, folder: Path) -> bool:
    """Return whether a table has the columns, and at least one row names a scan as image or no row can be read."""
    try:
        text = table_text(path, errors="replace")
        names = next((names for _, names in table_rows(text.partition("\n")[0], path)), [])
    except SegpipeError:
        return False
    images = [position for position, name in enumerate(names) if _channel(name) is not None]
    if not images or "label" not in map(_role, names):
        return False
    try:
        rows = table_rows(text, path)
    except SegpipeError:
        return True
    return any(_holds_scans(rows, position, folder) for position in images)


def _holds_scans(rows: Sequence[tuple[int, Sequence[str]]], position: int, folder: Path) -> bool:
    fields = (field_at(row, position) for _, row in rows[1:])
    return any(suffix_format(Path(text)) is not None or is_there(folder / text) for text in fields if text)


def _columns(
    rows: Sequence[tuple[int, Sequence[str]]], folder: Path, path: Path, *, needs_label: bool = True
) -> _Columns:
    names = rows[0][1] if rows else []
    require_distinct_columns(names, path)
    role_of = [_role(name) for name in names]
    roles = {role: position for position, role in enumerate(role_of) if role is not None}
    channel_of = {
        position: _channel(name) for position, name in enumerate(names) if role_of[position] is None
    }
    images = {position: channel for position, channel in channel_of.items() if channel is not None}
    if not images or (needs_label and "label" not in roles):
        further = "and label, and may have case, patient and split" if needs_label else "and may have case"
        raise SegpipeError(
            f"{path}: has the columns {', '.join(names) or 'none'}; must have image (or image_t1, image_flair and so "
            f"on, one a channel) {further}"
        )
    # image_id and image_width name no files; if no column names existing files, the files are missing
    is_empty = {at: not any(field_at(row, at) for _, row in rows[1:]) for at in images}
    images = {
        at: channel
        for at, channel in images.items()
        if _holds_scans(rows, at, folder) or (is_empty[at] and not needs_label)
    } or images
    what = [f"the channel {images[at]}" if at in images else role_of[at] for at in range(len(names))]
    for at, meaning in enumerate(what):
        if meaning is not None and meaning in what[:at]:
            raise SegpipeError(
                f"{path}: the columns {names[what.index(meaning)]} and {names[at]} both say {meaning.strip()}; "
                "rename or remove one"
            )
    others = [at for at in range(len(names)) if what[at] is None]
    parts = [at for at in others if _tells_parts(rows, at)]
    if "part" not in roles and len(parts) == 1:  # under any name, since a test case must not train
        others.remove(parts[0])
        roles["part"] = parts[0]
    return _Columns(tuple(names), images, roles, tuple(others))


def _tells_parts(rows: Sequence[tuple[int, Sequence[str]]], position: int) -> bool:
    """Return whether a column contains only names of parts, and at least two different ones."""
    parts = {part_named(field_at(row, position)) for _, row in rows[1:] if any(row)}
    return "" not in parts and len(parts) > 1


def _role(name: str) -> str | None:
    squashed = "".join(column_words(name))
    return next((role for role, pattern in _ROLES.items() if pattern.fullmatch(squashed)), None)


def _channel(name: str) -> str | None:
    """Return the channel of a column such as image_t1; None for a column without images."""
    words = column_words(name)
    if len(words) == 1 and words[0] in _FILE_WORDS:
        return ""
    if not words or not _IMAGE.fullmatch(words[0]) or any(map(_ROLES["label"].fullmatch, words[1:])):
        return None
    return "_".join(words[1:])


def _case(row: Sequence[str], columns: _Columns, folder: Path, where: str) -> FoundCase:
    _require_row(row, columns, where)
    images = [field_at(row, position) for position in columns.images]
    label, case, patient, part = (
        field_at(row, columns.roles.get(role)) for role in ("label", "case", "patient", "part")
    )
    require_case_id(case, where)
    return FoundCase(
        case,
        tuple(path_below(folder, image, where) for image in images),
        tuple(columns.images.values()),
        path_below(folder, label, where) if label.lower() not in _UNKNOWN else None,
        patient if patient.lower() not in _UNKNOWN else None,
        part_in(part, where) if "part" in columns.roles else "",
    )


def _require_row(row: Sequence[str], columns: _Columns, where: str) -> None:
    """Refuse a row with more fields than the header, or without an image."""
    if len(row) > len(columns.names):
        raise SegpipeError(f"{where} has more fields than the header; quote what has commas in it")
    if not all(field_at(row, position) for position in columns.images):
        raise SegpipeError(f"{where} names no image; fill it in, or remove the line")


def _with_distinct_names(cases: Sequence[FoundCase], named: bool) -> list[FoundCase]:
    """Name cases without an id after their first image, and its folders where several images have one name."""
    names = [case.case or name_of(case.images[0]) for case in cases]
    counts = Counter(name.casefold() for name in names)
    if not named and max(counts.values()) > 1:
        folders = [PurePosixPath(case.images[0]).parent.parts for case in cases]
        names = ["_".join((*parts, name)) for parts, name in zip(folders, names, strict=True)]
    return [replace(case, case=name.lstrip(".")) for name, case in zip(names, cases, strict=True)]


def _require_no_more_scans(rows: Sequence[tuple[int, Sequence[str]]], columns: _Columns, path: Path) -> None:
    """Refuse an unused column that names scans: a channel, or a second label map."""
    scans: dict[str, int] = defaultdict(int)
    for _, row in rows:
        for position in columns.others:
            scans[columns.names[position]] += suffix_format(Path(field_at(row, position))) is not None
    names = [name for name, count in scans.items() if count]
    if names:
        raise SegpipeError(
            f"{path}: the column {names[0]} names scans, too; name it image_{names[0].lower()} if it is a channel (and "
            "every channel's column so), merge label maps into one with all classes, or remove the column"
        )

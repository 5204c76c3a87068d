"""Images with classes or findings from a table: a class column, a findings column, or one column a finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from segpipe.categories import NO_FINDING, ImageTarget
from segpipe.dataset.folder_patients import folder_patients
from segpipe.dataset.importing.category_names import require_one_spelling, spelling_of
from segpipe.dataset.importing.found_cases import DatasetPart, part_of
from segpipe.dataset.importing.image_files import ImageFiles
from segpipe.dataset.importing.label_columns import BETWEEN, LabelColumns, label_columns, plain_value
from segpipe.dataset.importing.labelled_images import ImageLayout, LabelledImage
from segpipe.dataset.importing.table_rows import (
    field_at,
    part_in,
    require_case_id,
    table_rows,
    table_text,
    tables_in,
)
from segpipe.errors import SegpipeError, counted, shown

Blank = Literal["absent", "unknown"]
"""Meaning of an empty field of a finding's column."""

_NONE = {spelling_of(text) for text in (NO_FINDING, "no findings", "none")}
_NO_LABEL = frozenset({"", "-", "?", "n/a", "na", "nan", "null"})
_NO_PATIENT = frozenset({*_NO_LABEL, "unknown", "none"})
_SEPARATORS = (";", ",")


def label_tables_in(folder: Path, files: ImageFiles) -> list[Path]:
    """Return the tables directly in a folder that label some of its images; a table that cannot be read is left out."""
    found = []
    for path in tables_in(folder):
        try:
            rows = table_rows(table_text(path), path)
            columns = label_columns(rows, files, path)
        except SegpipeError:
            continue
        if columns is not None and any(files.has_name(field_at(row, columns.image)) for _, row in rows[1:]):
            found.append(path)
    return found


def images_of_table(
    path: Path, files: ImageFiles, *, target: ImageTarget | None = None, blank: Blank = "absent"
) -> ImageLayout:
    """Read the labelled images of a table.

    Args:
        path: of the table.
        files: the images below the data set's folder, in which the table's paths begin.
        target: "class" or "findings"; None for the target that the columns tell.
        blank: meaning of an empty field where each finding has a column.

    Raises:
        SegpipeError: the table cannot be read or has no column of images or labels; a row names no image, a missing
            image, an image of another row, or a value that is no label; or two spellings of one name.
    """
    rows = table_rows(table_text(path), path)
    columns = label_columns(rows, files, path)
    if columns is None:
        header = ", ".join(rows[0][1]) if rows else "none"
        raise SegpipeError(
            f"{path}: has the columns {header}; must have image, and class (one name), findings (names with | "
            "between), or one column a finding with 1, 0, -1 or nothing; and may have patient, case, split and fold"
        )
    target = target or columns.target
    _require_fitting(columns, target, path)
    lines = [(number, row) for number, row in rows[1:] if any(row)]
    if not lines:
        raise SegpipeError(f"{path}: lists no image")
    found = _found_images(lines, columns, files, path)
    images = [
        _labelled(row, columns, image, f"{path}: line {number}", target, blank, number)
        for (number, row), image in zip(lines, found, strict=True)
    ]
    _refuse_repeated(images, path)
    images, notes = _with_parts(images, path)
    images, source = _with_patients(images, columns, path)
    names = _names(images, columns)
    require_one_spelling(names, "class" if target == "class" else "finding", str(path))
    notes += _notes(lines, columns, path, blank)
    unlisted = sorted(set(files.images) - set(found))
    if unlisted:
        notes.append(f"{counted(len(unlisted), 'image')} not listed in {path.name}: {shown(unlisted)}")
    if columns.findings and target == "findings" and _one_each(images) and len(names) > 1:
        notes.append("every image has exactly one finding: if they exclude each other, give --target class")
    return ImageLayout(f"the table {path.name}", target, names, images, notes, (), source)


def _require_fitting(columns: LabelColumns, target: ImageTarget, path: Path) -> None:
    if target == "class" and columns.label is not None and columns.target == "findings":
        name = columns.names[columns.label]
        raise SegpipeError(
            f"{path}: the column {name} has several names in one field, or is of findings by its name; give --target "
            "findings, or make a column class with one name a row"
        )


def _found_images(
    lines: Sequence[tuple[int, Sequence[str]]], columns: LabelColumns, files: ImageFiles, path: Path
) -> list[str]:
    """Return the path of each row's image; refuse rows without an image and images that are missing."""
    texts = [field_at(row, columns.image) for _, row in lines]
    for (number, row), text in zip(lines, texts, strict=True):
        if len(row) > len(columns.names):
            raise SegpipeError(
                f"{path}: line {number} has more fields than the header; quote what has commas in it"
            )
        if not text:
            raise SegpipeError(f"{path}: line {number} names no image; fill it in, or remove the line")
    dropped = files.dropped_folders(texts, str(path))
    found, missing = [], []
    for (number, _), text in zip(lines, texts, strict=True):
        image = files.find(text, f"{path}: line {number}", dropped)
        found.append(image or "")
        if image is None:
            missing.append(f"{text} (line {number})")
    if missing:
        raise SegpipeError(
            f"{path}: {len(missing)} of its {len(lines)} images are not there: {shown(missing)}; its paths must begin "
            f"in {files.folder}, or be names that one image there has: fetch the images, or remove their lines"
        )
    return found


def _labelled(
    row: Sequence[str],
    columns: LabelColumns,
    image: str,
    where: str,
    target: ImageTarget,
    blank: Blank,
    number: int,
) -> LabelledImage:
    case, patient, part, fold = (
        field_at(row, columns.roles.get(role)) for role in ("case", "patient", "part", "fold")
    )
    require_case_id(case, where)
    unknown: tuple[str, ...] = ()
    classes: tuple[str, ...] | None
    if columns.label is None:
        classes, unknown = _of_values(row, columns, where, blank)
        if target == "class":
            classes = _single(classes, where)
    elif target == "class":
        text = field_at(row, columns.label)
        classes = None if text.casefold() in _NO_LABEL else (text,)
    else:
        classes = _of_names(field_at(row, columns.label), where)
    return LabelledImage(
        case,
        image,
        classes,
        unknown,
        None if patient.casefold() in _NO_PATIENT else patient,
        part_in(part, where) if "part" in columns.roles else "",
        _fold(fold, where),
        f"line {number}",
    )


def _of_names(text: str, where: str) -> tuple[str, ...]:
    """Return the findings of a field with names."""
    names = [name.strip() for name in text.split(BETWEEN)]
    if not all(names):
        raise SegpipeError(
            f"{where}: its findings are {text!r}; write names with | between, {NO_FINDING} for none, or remove the line"
        )
    found = tuple(dict.fromkeys(name for name in names if spelling_of(name) not in _NONE))
    if found and len(found) < len(set(names)):
        raise SegpipeError(f"{where}: its findings are {text!r}, both none and some; correct the line")
    odd = [name for name in found if any(between in name for between in _SEPARATORS)]
    if odd:
        raise SegpipeError(f"{where}: the finding {odd[0]!r} holds a ; or a comma; write | between findings")
    return found


def _of_values(
    row: Sequence[str], columns: LabelColumns, where: str, blank: Blank
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the findings that are present and those that are unknown, of a row with one field a finding."""
    meaning = {"1": "present", "0": "absent", "-1": "unknown", "": blank}
    said: dict[str, list[str]] = {"present": [], "absent": [], "unknown": []}
    for position, name in columns.findings.items():
        value = plain_value(field_at(row, position))
        if value not in meaning:
            raise SegpipeError(
                f"{where}: {name} is {value!r}; must be 1 (present), 0 (absent), -1 (unknown) or empty"
            )
        said[meaning[value]].append(name)
    return tuple(said["present"]), tuple(said["unknown"])


def _single(classes: tuple[str, ...], where: str) -> tuple[str, ...]:
    if len(classes) != 1:
        raise SegpipeError(
            f"{where}: has {len(classes)} classes ({', '.join(classes) or 'none'}); with target class exactly one "
            "column is 1: correct the line, or give --target findings"
        )
    return classes


def _fold(text: str, where: str) -> int | None:
    value = plain_value(text)
    if not value:
        return None
    if not re.fullmatch("[0-9]{1,6}", value):
        raise SegpipeError(f"{where}: fold is {text!r}, must be a number from 0")
    return int(value)


def _refuse_repeated(images: Sequence[LabelledImage], path: Path) -> None:
    """Refuse two rows of one image."""
    first: dict[str, LabelledImage] = {}
    for one in images:
        other = first.setdefault(one.image, one)
        if other is one:
            continue
        labels = [BETWEEN.join(image.classes or ("no label",)) for image in (other, one)]
        also = f", as {labels[0]} and as {labels[1]}" if labels[0] != labels[1] else ""
        raise SegpipeError(
            f"{path}: {other.place} and {one.place} are of one image, {one.image}{also}; make them one row"
        )


def _with_parts(images: Sequence[LabelledImage], path: Path) -> tuple[list[LabelledImage], list[str]]:
    """Return the images with parts: of the table, else of their folders, such as CheXpert's train and valid."""
    if any(one.part for one in images):
        return list(images), []
    parts: list[DatasetPart] = [part_of(one.image.split("/")[:-1]) for one in images]
    if len(set(parts)) < 2 or "train" not in parts:
        return list(images), []
    note = f"{path.name} has no column split: folders named train, valid or test give the parts"
    return [replace(one, part=part) for one, part in zip(images, parts, strict=True)], [note]


def _with_patients(
    images: Sequence[LabelledImage], columns: LabelColumns, path: Path
) -> tuple[list[LabelledImage], str]:
    """Return the images with patients: of the table, else of folders that several images share."""
    if "patient" in columns.roles:
        return list(images), f"the table {path.name}"
    of_folder = folder_patients({one.image: one.image for one in images})
    if not 1 < len(set(of_folder.values())) < len(images):
        return list(images), ""
    return [replace(one, patient=of_folder[one.image]) for one in images], "the folder of the image"


def _names(images: Sequence[LabelledImage], columns: LabelColumns) -> tuple[str, ...]:
    """Return the classes or findings: in the order of their columns, else sorted."""
    if columns.findings:
        return tuple(columns.findings.values())
    return tuple(sorted({name for one in images for name in one.classes or ()}))


def _notes(
    lines: Sequence[tuple[int, Sequence[str]]], columns: LabelColumns, path: Path, blank: Blank
) -> list[str]:
    notes = []
    if columns.others:
        notes.append(f"{path.name}: these columns are not used: {shown(columns.others)}")
    if columns.findings:
        fields = [plain_value(field_at(row, at)) for _, row in lines for at in columns.findings]
        uncertain, empty = fields.count("-1"), fields.count("")
        if uncertain:
            notes.append(
                f"{counted(uncertain, 'label')} of -1: nobody knows, so the finding is unknown there"
            )
        if empty:
            other, are = ("unknown" if blank == "absent" else "absent"), ("is" if empty == 1 else "are")
            notes.append(
                f"{counted(empty, 'label')} {are} empty, not mentioned in CheXpert: counted as {blank} "
                f"(--blank {other} counts them as {other})"
            )
    return notes


def _one_each(images: Sequence[LabelledImage]) -> bool:
    return all(len(one.classes or ()) == 1 and not one.unknown for one in images)

"""Images with classes or findings from a table: a class column, a findings column, or one column a finding."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from segpipe.categories import ImageTarget
from segpipe.dataset.folder_patients import folder_patients
from segpipe.dataset.importing.category_names import require_one_spelling, spelling_of
from segpipe.dataset.importing.field_values import (
    BETWEEN,
    NO_LABEL,
    NO_PATIENT,
    finding_value,
    findings_named,
    require_names,
    whole_number,
)
from segpipe.dataset.importing.found_cases import DatasetPart, part_of
from segpipe.dataset.importing.image_files import ImageFiles
from segpipe.dataset.importing.label_columns import (
    LabelColumns,
    label_columns,
    why_no_labels,
    with_images_of_studies,
)
from segpipe.dataset.importing.labelled_images import ImageLayout, LabelledImage
from segpipe.dataset.importing.table_remarks import (
    notes_on_columns,
    notes_on_names,
    warnings_on_folders,
    warnings_on_rows,
)
from segpipe.dataset.importing.table_rows import (
    Row,
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


@dataclass(frozen=True)
class FolderTables:
    """The tables directly in a folder, by what they say about its images.

    Attributes:
        listed: tables that label images.
        unreadable: reasons why tables cannot be read, or their labels.
        unlabelled: table without labels -> the reason.
    """

    listed: Sequence[Path] = ()
    unreadable: Sequence[str] = ()
    unlabelled: Mapping[Path, str] = field(default_factory=dict)


def label_tables_in(folder: Path, files: ImageFiles) -> FolderTables:
    """Return the tables directly in a folder that label some of its images, and why other tables do not."""
    listed, unreadable, unlabelled = [], [], {}
    for path in tables_in(folder):
        try:
            rows = rows_of_labels(path, files)
            columns = label_columns(rows, files, path)
        except SegpipeError as error:
            unreadable.append(str(error))
            continue
        if columns is None:
            unlabelled[path] = why_no_labels(rows, files, path)
        elif any(files.has_name(field_at(row, columns.image)) for _, row in rows[1:]):
            listed.append(path)
        else:
            named = next((field_at(row, columns.image) for _, row in rows[1:] if any(row)), "")
            unreadable.append(
                f"{path}: none of its images is in {folder}, such as {named!r}{_nearest(files, [named])}; correct the "
                "names, or give the folder in which the table's paths begin"
            )
    return FolderTables(listed, unreadable, unlabelled)


def rows_of_labels(path: Path, files: ImageFiles) -> list[Row]:
    """Return the rows of a table, one an image: a row of a study counts for each of its images.

    Raises:
        SegpipeError: the table cannot be read.
    """
    return with_images_of_studies(table_rows(table_text(path), path), files)


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
    rows = rows_of_labels(path, files)
    columns = label_columns(rows, files, path)
    if columns is None:
        raise SegpipeError(why_no_labels(rows, files, path))
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
    if columns.label is not None:
        named = [
            (number, name)
            for (number, _), one in zip(lines, images, strict=True)
            for name in one.classes or ()
        ]
        require_names(named, columns.names[columns.label], target, path)
        _require_two_classes(lines, images, columns, target, path)
    _refuse_repeated(images, path)
    images, notes = _with_parts(images, path)
    names = _names(images, columns)
    images, source = _with_patients(images, columns, names, path)
    if columns.findings:
        require_one_spelling(names, "class" if target == "class" else "finding", str(path))
    notes += [*notes_on_columns(lines, columns, path, blank), *notes_on_names(names, images, target, path)]
    unlisted = sorted(set(files.images) - set(found))
    if unlisted:
        notes.append(f"{counted(len(unlisted), 'image')} not listed in {path.name}: {shown(unlisted)}")
    if columns.findings and target == "findings" and _one_each(images) and len(names) > 1:
        notes.append("every image has exactly one finding: if they exclude each other, give --target class")
    warnings = [*warnings_on_folders(images, path), *warnings_on_rows(lines, columns, path)]
    return ImageLayout(f"the table {path.name}", target, names, images, notes, warnings, source)


def _require_fitting(columns: LabelColumns, target: ImageTarget, path: Path) -> None:
    if target == "class" and columns.label is not None and columns.target == "findings":
        name = columns.names[columns.label]
        raise SegpipeError(
            f"{path}: the column {name} has several names in one field, or is of findings by its name; give --target "
            "findings, or make a column class with one name a row"
        )


def _require_two_classes(
    lines: Sequence[Row],
    images: Sequence[LabelledImage],
    columns: LabelColumns,
    target: ImageTarget,
    path: Path,
) -> None:
    """Refuse a class that images have or have not, where fields without a class mean that they have it not."""
    names = {name for one in images for name in one.classes or ()}
    without = [line for (line, _), one in zip(lines, images, strict=True) if one.classes is None]
    if target == "class" and len(names) == 1 and without:
        label = columns.names[columns.label or 0]
        text = next(field_at(row, columns.label) for line, row in lines if line == without[0])
        raise SegpipeError(
            f"{path}: {label} is {names.pop()!r} in {counted(len(images) - len(without), 'row')} and {text!r} in "
            f"{len(without)}, first in line {without[0]}, which counts as no label; write a second name there, such as "
            "normal"
        )


def _found_images(
    lines: Sequence[tuple[int, Sequence[str]]], columns: LabelColumns, files: ImageFiles, path: Path
) -> list[str]:
    """Return the path of each row's image; refuse rows without an image and images that are missing."""
    texts = [field_at(row, columns.image) for _, row in lines]
    for (number, row), text in zip(lines, texts, strict=True):
        if any(row[len(columns.names) :]):
            raise SegpipeError(
                f"{path}: line {number} has more fields than the header; quote what has commas in it"
            )
        if not text:
            raise SegpipeError(f"{path}: line {number} names no image; fill it in, or remove the line")
    dropped = files.dropped_folders(
        [(number, text) for (number, _), text in zip(lines, texts, strict=True)], str(path)
    )
    found, missing = [], []
    for (number, _), text in zip(lines, texts, strict=True):
        image = files.find(text, f"{path}: line {number}", dropped)
        found.append(image or "")
        if image is None:
            missing.append(f"{text} (line {number})")
    if missing:
        raise SegpipeError(
            f"{path}: {len(missing)} of its {len(lines)} images are not there: {shown(missing)}"
            f"{_nearest(files, [text for text, image in zip(texts, found, strict=True) if not image])}; its paths must "
            f"begin in {files.folder}, or be names that one image there has: fetch the images, or remove their lines"
        )
    return found


def _nearest(files: ImageFiles, missing: Sequence[str]) -> str:
    """Return a hint at the image that has a missing image's name with another suffix; empty where none has."""
    near = next((image for image in map(files.nearest, missing) if image), "")
    return f" (is {near} meant?)" if near else ""


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
        text = whole_number(field_at(row, columns.label))
        classes = None if text.casefold() in NO_LABEL else (text,)
    else:
        classes = findings_named(field_at(row, columns.label), where)
    return LabelledImage(
        case,
        image,
        classes,
        unknown,
        None if patient.casefold() in NO_PATIENT else patient,
        part_in(part, where) if "part" in columns.roles else "",
        _fold(fold, where),
        f"line {number}",
    )


def _of_values(
    row: Sequence[str], columns: LabelColumns, where: str, blank: Blank
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the findings that are present and those that are unknown, of a row with one field a finding."""
    meaning = {"1": "present", "0": "absent", "-1": "unknown", "": blank}
    said: dict[str, list[str]] = {"present": [], "absent": [], "unknown": []}
    for position, name in columns.findings.items():
        value = finding_value(field_at(row, position))
        if value not in meaning:
            raise SegpipeError(
                f"{where}: {name} is {value!r}; must be 1 (present), 0 (absent), -1 (unknown) or empty; correct the "
                f"field, or remove the column {name} if it is no finding"
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
    value = whole_number(text) if text.casefold() not in NO_LABEL else ""
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
    images: Sequence[LabelledImage], columns: LabelColumns, names: Sequence[str], path: Path
) -> tuple[list[LabelledImage], str]:
    """Return the images with patients: of the table, else of folders that several images share and no class names."""
    if "patient" in columns.roles:
        return list(images), f"the table {path.name}"
    of_folder = folder_patients({one.image: one.image for one in images})
    spellings = set(map(spelling_of, names))
    if not 1 < len(set(of_folder.values())) < len(images) or spellings & set(
        map(spelling_of, of_folder.values())
    ):
        return list(images), ""
    return [replace(one, patient=of_folder[one.image]) for one in images], "the folder of the image"


def _names(images: Sequence[LabelledImage], columns: LabelColumns) -> tuple[str, ...]:
    """Return the classes or findings: in the order of their columns, else sorted."""
    if columns.findings:
        return tuple(columns.findings.values())
    return tuple(sorted({name for one in images for name in one.classes or ()}))


def _one_each(images: Sequence[LabelledImage]) -> bool:
    return all(len(one.classes or ()) == 1 and not one.unknown for one in images)

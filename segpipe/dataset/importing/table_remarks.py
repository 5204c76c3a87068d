"""Remarks for the user on a table that labels images: what is not used, doubtful or contradictory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segpipe.categories import ImageTarget
from segpipe.dataset.importing.category_names import spelling_of
from segpipe.dataset.importing.field_values import BETWEEN, finding_value
from segpipe.dataset.importing.label_columns import LabelColumns
from segpipe.dataset.importing.labelled_images import LabelledImage
from segpipe.dataset.importing.table_rows import Row, field_at
from segpipe.errors import counted, shown

_UNKNOWN = frozenset({"unknown", "unclear", "uncertain", "unsure", "undefined", "unspecified"})
_MANY = 8  # images, from which on a class for each is doubtful


def notes_on_columns(
    lines: Sequence[Row], columns: LabelColumns, path: Path, blank: Literal["absent", "unknown"]
) -> list[str]:
    """Return notes on unused columns, and on findings that are unknown or not mentioned."""
    notes = []
    if columns.others:
        notes.append(f"{path.name}: these columns are not used: {shown(columns.others)}")
    if columns.findings:
        fields = [finding_value(field_at(row, at)) for _, row in lines for at in columns.findings]
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


def notes_on_names(
    names: Sequence[str], images: Sequence[LabelledImage], target: ImageTarget, path: Path
) -> list[str]:
    """Return notes on names that may be no classes or findings."""
    notes = []
    unknown = [name for name in names if spelling_of(name) in _UNKNOWN]
    if unknown:
        what = "class" if target == "class" else "finding"
        notes.append(
            f"{path.name}: {unknown[0]!r} counts as a {what} of its own; if it means that nobody knows, empty the field"
        )
    labelled = sum(one.classes is not None for one in images)
    if target == "class" and labelled >= _MANY and len(names) > labelled / 2:
        notes.append(
            f"{path.name}: {len(names)} classes for {labelled} images; if the column tells images apart and not "
            "classes, rename it, and name another column class"
        )
    return notes


def warnings_on_folders(images: Sequence[LabelledImage], path: Path) -> list[str]:
    """Return a warning on images in the folder of another class, where most images lie in a folder of their class."""
    other, agreeing = [], 0
    for one in images:
        folders = set(map(spelling_of, one.image.split("/")[:-1]))
        if one.classes and folders.intersection(map(spelling_of, one.classes)):
            agreeing += 1
        elif one.classes:
            other.append(f"{one.image} is {BETWEEN.join(one.classes)} by {one.place}")
    if not 0 < len(other) < agreeing:
        return []
    return [
        f"{counted(len(other), 'image')} of {len(images)} in the folder of another class than {path.name} says: "
        f"{shown(other, '; ')}; the table counts: correct it, or move the images"
    ]


def warnings_on_rows(lines: Sequence[Row], columns: LabelColumns, path: Path) -> list[str]:
    """Return a warning on rows that say both that there is no finding, and that there is one."""
    if columns.no_finding is None:
        return []
    both = []
    for number, row in lines:
        present = [name for at, name in columns.findings.items() if finding_value(field_at(row, at)) == "1"]
        if present and finding_value(field_at(row, columns.no_finding)) == "1":
            both.append(f"line {number} ({present[0]})")
    if not both:
        return []
    none = columns.names[columns.no_finding]
    return [
        f"{path.name}: {counted(len(both), 'row')} with 1 for {none} and 1 for a finding: {shown(both)}; the finding "
        "counts: correct the rows that are wrong"
    ]

"""Recognise the columns of a table of images with classes or findings, by names and by values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.categories import ImageTarget
from segpipe.dataset.importing.field_values import BETWEEN, described, finding_value, is_number, says_finding
from segpipe.dataset.importing.found_cases import part_named
from segpipe.dataset.importing.image_files import ImageFiles
from segpipe.dataset.importing.table_rows import Row, column_words, field_at, require_distinct_columns
from segpipe.errors import SegpipeError, shown
from segpipe.volumes.formats import suffix_format

_IMAGE = re.compile("(image|img|scan|file|filename|filepath|path)s?")
_CLASS = re.compile(
    "(class|classes|classid|category|diagnosis|dx|disease|label|labels|target|grade|level|pathology|tissue)"
)
_FINDINGS = re.compile(
    "(finding|findings|findinglabels?|labels|diseases|diagnoses|conditions|pathologies|abnormalities)"
)
_ROLES = {
    "patient": re.compile("(patient|subject|participant)s?(id|identifier|no|nr|num|number|code|key)?|pid"),
    "case": re.compile("cases?(id|identifier|no|nr|num|number)?"),
    "part": re.compile("(data)?(split|subset|partition|set)"),
    "fold": re.compile("(cv)?folds?(id|no|nr|num|number)?"),
}
_NO_FINDING_COLUMN = re.compile("no(findings?)")
_OTHER_WORDS = frozenset(  # of columns whose values can be 0 and 1, or yes and no, and that are no findings
    [
        "age",
        "ap",
        "augmented",
        "female",
        "follow",
        "frontal",
        "gender",
        "gradable",
        "height",
        "id",
        "index",
        "lateral",
        "male",
        "number",
        "pa",
        "portable",
        "position",
        "series",
        "sex",
        "site",
        "smoker",
        "smoking",
        "spacing",
        "study",
        "test",
        "train",
        "unnamed",
        "usable",
        "valid",
        "validation",
        "view",
        "visit",
        "width",
        "year",
    ]
)
_STUDY = re.compile(
    "(study|exam|examination|visit|folder|directory)(id|identifier|no|nr|num|number|instanceuid)?"
)
_STUDY_FOLDER = "s"  # MIMIC-CXR's folder s50414267 of the study 50414267
_SHARE_OF_WORDS, _SMALL_NUMBER = 0.5, 3
_SHARE_OF_MISTAKES, _FEWEST_ROWS = 0.1, 4  # one mistake at least, where a table has so many rows


@dataclass(frozen=True)
class LabelColumns:
    """The meaning of a table's columns, by position.

    Attributes:
        names: as in the header.
        image: of the images.
        label: of classes or of findings by name; None where findings have columns of their own.
        findings: position -> name of the finding, where each finding has a column with 1, 0, -1 or nothing.
        no_finding: of a column that says that there is none; None where there is no such column.
        roles: patient, case, part and fold -> position.
        others: names of unused columns.
        target: by the columns.
    """

    names: tuple[str, ...]
    image: int
    label: int | None
    findings: Mapping[int, str]
    no_finding: int | None
    roles: Mapping[str, int]
    others: tuple[str, ...]
    target: ImageTarget


def label_columns(rows: Sequence[Row], files: ImageFiles, path: Path) -> LabelColumns | None:
    """Return the columns of a table that labels images; None for other tables.

    Args:
        rows: of the table; the first one names the columns.
        files: the images below the data set's folder.
        path: of the table, for messages.

    Raises:
        SegpipeError: two columns have one name or one meaning.
    """
    names = rows[0][1] if rows else []
    values = [[field_at(row, at) for _, row in rows[1:] if any(row)] for at in range(len(names))]
    image = _image_column(names, values, files, path)
    if image is None or _image_in_header(rows, files):
        return None
    require_distinct_columns(names, path)
    squashed = ["".join(column_words(name)) for name in names]
    roles = _roles(squashed, names, values, image, path)
    free = [at for at in range(len(names)) if at != image and at not in roles.values() and names[at]]
    by_name = [at for at in free if _CLASS.fullmatch(squashed[at]) or _FINDINGS.fullmatch(squashed[at])]
    by_name = [at for at in by_name if any(values[at]) and not _hold_files(values[at])]
    if len(by_name) > 1:
        by_name = [_same_column(by_name, names, [one for one in rows[1:] if any(one[1])], path)]
    findings: dict[int, str] = {}
    if not by_name:
        findings = {at: names[at] for at in free if _may_be_finding(names[at], values[at])}
    no_finding = next((at for at in findings if _NO_FINDING_COLUMN.fullmatch(squashed[at])), None)
    findings.pop(-1 if no_finding is None else no_finding, None)
    if not by_name and not findings:
        return None
    used = {image, *roles.values(), *by_name, *findings, no_finding}
    is_class = bool(by_name) and not _are_findings(squashed[by_name[0]], values[by_name[0]])
    return LabelColumns(
        tuple(names),
        image,
        by_name[0] if by_name else None,
        findings,
        no_finding,
        roles,
        tuple(names[at] for at in range(len(names)) if at not in used and names[at]),
        "class" if is_class else "findings",
    )


def why_no_labels(rows: Sequence[Row], files: ImageFiles, path: Path) -> str:
    """Return why `label_columns` finds no labels in a table: what its columns hold, and what to write.

    Args:
        rows: of the table.
        files: the images below the data set's folder.
        path: of the table.
    """
    if not rows:
        return f"{path}: is empty; write the columns image and class in the first line, and a line for each image"
    line, names = rows[0]
    image_there = _image_in_header(rows, files)
    if image_there:
        return (
            f"{path}: line {line} names the image {image_there} where the columns' names should be; write a first "
            "line, such as image,class"
        )
    if not any(any(row) for _, row in rows[1:]):
        return f"{path}: lists no image; it has only the line of the columns"
    whole = next(((number, row[0]) for number, row in rows[1:] if len(row) == 1 and row[0]), None)
    if len(names) > 1 and whole is not None:
        return (
            f"{path}: line {whole[0]} has the one field {whole[1]!r}, line {line} has {len(names)}: "
            f"{', '.join(names)}; separate the fields of all lines by the same character"
        )
    values = [[field_at(row, at) for _, row in rows[1:] if any(row)] for at in range(len(names))]
    image = _image_column(names, values, files, path)
    if image is None:
        return (
            f"{path}: no column names images of {files.folder}: it has "
            f"{_columns_described(rows, range(len(names)))}; write a column image with the name of each image's file"
        )
    others = [at for at in range(len(names)) if at != image]
    if not others:
        return f"{path}: line {line} names the one column {names[image]}; name all columns there, such as image,class"
    held = _columns_described(rows, others)
    return (
        f"{path}: {names[image]} names images, but no column says their labels: it has {held}; write a column class "
        "(one name), findings (names with | between), or one column a finding with 1 or yes, 0 or no, -1 (unknown) or "
        "nothing"
    )


def _image_in_header(rows: Sequence[Row], files: ImageFiles) -> str:
    """Return the name of an image that stands where the columns' names should; empty where none does."""
    for name in rows[0][1]:
        if name and (suffix_format(Path(name)) is not None or (name.isdigit() and files.has_name(name))):
            return name
    return ""


def with_images_of_studies(rows: Sequence[Row], files: ImageFiles) -> list[Row]:
    """Return the rows with one row an image, where a table labels whole studies, as MIMIC-CXR does; else as they are.

    Such a table names no images but has a column such as study_id, whose fields are names of folders with images; the
    letter s may stand before the number.

    Args:
        rows: of the table; the first one names the columns.
        files: the images below the data set's folder.
    """
    names = rows[0][1] if rows else []
    values = [[field_at(row, at) for _, row in rows[1:] if any(row)] for at in range(len(names))]
    if any(map(_names_image_column, names)) or any(_names_images(column, files) for column in values):
        return list(rows)
    for at, name in enumerate(names):
        folders = [_study_folder(value, files) for value in values[at]]
        if _STUDY.fullmatch("".join(column_words(name))) is None or not any(folders):
            continue
        width = len(names)
        expanded: list[Row] = [(rows[0][0], [*names, "image"])]
        for number, row in rows[1:]:
            folder = _study_folder(field_at(row, at), files)
            images = files.of_folder(folder) if folder else (field_at(row, at),)
            padded = [*row, *[""] * (width - len(row))]
            expanded += [(number, [*padded, image]) for image in images if any(row)]
        return expanded
    return list(rows)


def _study_folder(value: str, files: ImageFiles) -> str:
    """Return the name of the folder with a study's images; empty where there is none."""
    return next((name for name in (value, f"{_STUDY_FOLDER}{value}") if value and files.of_folder(name)), "")


def _columns_described(rows: Sequence[Row], positions: Iterable[int]) -> str:
    names = rows[0][1]
    fields = {at: [(line, field_at(row, at)) for line, row in rows[1:]] for at in positions}
    return shown((f"{names[at] or '(no name)'} ({described(held)})" for at, held in fields.items()), "; ")


def _same_column(positions: Sequence[int], names: Sequence[str], rows: Sequence[Row], path: Path) -> int:
    """Return the column to use of several that say the same, with names before numbers.

    Raises:
        SegpipeError: two columns do not agree; with the lines and the values.
    """
    first, *others = positions
    for other in others:
        mates: dict[tuple[int, str], tuple[str, int]] = {}
        for line, row in rows:
            for at, mate in ((first, other), (other, first)):
                value = field_at(row, at)
                known, earlier = mates.setdefault((at, value), (field_at(row, mate), line))
                if known != field_at(row, mate):
                    raise SegpipeError(
                        f"{path}: the columns {names[first]} and {names[other]} could both say the class, and do not "
                        f"agree: with {names[at]} {value!r}, {names[mate]} is {known!r} in line {earlier} and "
                        f"{field_at(row, mate)!r} in line {line}; rename or remove one"
                    )
    return next((at for at in positions if not all(is_number(field_at(row, at)) for _, row in rows)), first)


def _image_column(
    names: Sequence[str], values: Sequence[Sequence[str]], files: ImageFiles, path: Path
) -> int | None:
    """Return the column whose fields name images; a column with such a name counts also if its files are missing."""
    named = [at for at, name in enumerate(names) if _names_image_column(name)]
    holding = [at for at in range(len(names)) if _names_images(values[at], files)]
    candidates = [at for at in named if at in holding] or holding or named
    if len(candidates) > 1:
        best = [at for at in candidates if at in named] or candidates
        if len(best) > 1 and len({tuple(values[at]) for at in best}) > 1:
            raise SegpipeError(
                f"{path}: the columns {shown([names[at] for at in best], ' and ')} all name images; an image is one "
                "file: rename or remove all but one"
            )
        return best[0]
    return candidates[0] if candidates else None


def _names_image_column(name: str) -> bool:
    words = column_words(name)
    return (
        bool(words) and _IMAGE.fullmatch(words[0]) is not None and not any(map(_CLASS.fullmatch, words[1:]))
    )


def _names_images(values: Sequence[str], files: ImageFiles) -> bool:
    """Return whether fields of a column name images below the folder: by path, or each by another name."""
    given = [value for value in values if value]
    # a small number may be an age as well as the name of an image
    named = [value for value in given if files.has_name(value)]
    enough = len(named) * 2 >= len(given) or any(
        len(value) > _SMALL_NUMBER or not value.isdigit() for value in named
    )
    return bool(named) and enough and (_hold_files(given) or len(set(given)) == len(given))


def _hold_files(values: Sequence[str]) -> bool:
    return any(suffix_format(Path(value)) is not None for value in values if value)


def _roles(
    squashed: Sequence[str], names: Sequence[str], values: Sequence[Sequence[str]], image: int, path: Path
) -> dict[str, int]:
    roles: dict[str, int] = {}
    for at, name in enumerate(squashed):
        role = next((role for role, pattern in _ROLES.items() if pattern.fullmatch(name)), None)
        if role is None or at == image:
            continue
        if role in roles:
            raise SegpipeError(
                f"{path}: the columns {names[roles[role]]} and {names[at]} both say the {role}; rename or remove one"
            )
        roles[role] = at
    if "part" not in roles:
        told = [at for at in range(len(names)) if at != image and _tells_parts(values[at])]
        if len(told) == 1:  # under any name, since a test image must not train
            roles["part"] = told[0]
    return roles


def _tells_parts(values: Sequence[str]) -> bool:
    parts = {part_named(value) for value in values}
    return "" not in parts and len(parts) > 1


def _are_findings(squashed: str, values: Sequence[str]) -> bool:
    """Return whether a column of names holds findings: by its name, or since a field holds several."""
    several = any(BETWEEN in value for value in values)
    return several or (_FINDINGS.fullmatch(squashed) is not None and _CLASS.fullmatch(squashed) is None)


def _may_be_finding(name: str, values: Sequence[str]) -> bool:
    """Return whether a column holds 1, 0, -1 or nothing, but for a few mistakes, and has no name of another meaning."""
    if _OTHER_WORDS.intersection(column_words(name)):
        return False
    mistakes = [value for value in values if not says_finding(value)]
    # a column of numbers is a count or a measurement; a word among 1 and 0 is a mistake, which the row's reader refuses
    share = _SHARE_OF_MISTAKES if all(map(is_number, mistakes)) else _SHARE_OF_WORDS
    allowed = max(int(share * len(values)), int(len(values) >= _FEWEST_ROWS))
    said = any(says_finding(value) and finding_value(value) not in ("", "-1") for value in values)
    return said and len(mistakes) <= allowed

"""Recognise the columns of a table of images with classes or findings, by names and by values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.categories import ImageTarget
from segpipe.dataset.importing.found_cases import part_named
from segpipe.dataset.importing.image_files import ImageFiles
from segpipe.dataset.importing.table_rows import Row, column_words, field_at, require_distinct_columns
from segpipe.errors import SegpipeError, shown
from segpipe.volumes.formats import suffix_format

BETWEEN = "|"
"""Stands between the findings of one field."""

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
_OTHER_WORDS = frozenset(  # of columns whose values can be 0 and 1 and that are no findings
    {
        "age",
        "ap",
        "female",
        "follow",
        "frontal",
        "gender",
        "height",
        "id",
        "index",
        "lateral",
        "male",
        "number",
        "pa",
    }
    | {"position", "series", "sex", "site", "spacing", "study", "unnamed", "view", "visit", "width", "year"}
)
_VALUES = ("", "-1", "0", "1")
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
    if image is None:
        return None
    require_distinct_columns(names, path)
    squashed = ["".join(column_words(name)) for name in names]
    roles = _roles(squashed, names, values, image, path)
    free = [at for at in range(len(names)) if at != image and at not in roles.values() and names[at]]
    by_name = [at for at in free if _CLASS.fullmatch(squashed[at]) or _FINDINGS.fullmatch(squashed[at])]
    by_name = [at for at in by_name if any(values[at]) and not _hold_files(values[at])]
    if len(by_name) > 1:
        raise SegpipeError(
            f"{path}: the columns {shown([names[at] for at in by_name], ' and ')} could all say the class; rename or "
            "remove all but one"
        )
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
    named = any(map(files.has_name, given))
    return named and (_hold_files(given) or len(set(given)) == len(given))


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
    plain = [plain_value(value) for value in values]
    mistakes = sum(value not in _VALUES for value in plain)
    allowed = max(int(_SHARE_OF_MISTAKES * len(plain)), int(len(plain) >= _FEWEST_ROWS))
    return any(value in ("0", "1") for value in plain) and mistakes <= allowed


def plain_value(text: str) -> str:
    """Return a field's number without a fraction of zeros, such as 1 for 1.0; other fields as they are."""
    match = re.fullmatch(r"\+?(-?[0-9]+)(\.0*)?", text)
    if match is not None:
        return str(int(match[1]))
    return "" if text.casefold() in ("nan", "na", "n/a", "null") else text

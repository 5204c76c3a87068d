"""The meaning of the fields of a table of labels: numbers, yes or no, and names of classes and findings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from segpipe.categories import NO_FINDING, ImageTarget
from segpipe.dataset.importing.category_names import spelling_of
from segpipe.errors import SegpipeError, shown
from segpipe.names import require_name

BETWEEN = "|"
"""Stands between the findings of one field."""
NO_LABEL = frozenset({"", "-", "?", "n/a", "na", "nan", "null"})
"""Fields without a class."""
NO_PATIENT = frozenset({*NO_LABEL, "unknown", "none"})
"""Fields without a patient."""
YES_OR_NO = ("", "-1", "0", "1")
"""Values of a finding: not mentioned, unknown, absent, present."""

_WORDS = {
    **dict.fromkeys(("true", "yes", "y", "present", "positive"), "1"),
    **dict.fromkeys(("false", "no", "n", "absent", "negative"), "0"),
    **dict.fromkeys(("unknown", "uncertain"), "-1"),
    **dict.fromkeys(("nan", "na", "n/a", "null"), ""),
}
# yes and no of other languages, and marks: a column of these is of a finding, which a message asks to write plainly
_MARKS = frozenset(
    ["ja", "nein", "j", "oui", "non", "si", "sí", "da", "nej", "pos", "neg", "+", "-", "x", "✓", "✔", "√"]
)
_NONE = {spelling_of(text) for text in (NO_FINDING, "no findings", "none")}
_WHOLE = re.compile(r"\+?(-?[0-9]+)([.,]0*)?")
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?([eE][+-]?[0-9]+)?")
_FRACTION = re.compile(r"[+-]?[0-9]+[.,][0-9]*[1-9][0-9]*")
_SPREADSHEET_ERRORS = re.compile(r"#(N/A|REF!|NAME\?|VALUE!|DIV/0!|NUM!|NULL!|NV|WERT!|BEZUG!)")
_BETWEEN_NAMES = re.compile(r"[;,/+&]")
_SEPARATORS = (";", ",")
_MOST_NUMBERS = 20  # different numbers, beyond which they are measurements, not classes
_MOST_SHOWN = 3
_LONGEST = 100  # letters of a name


def whole_number(text: str) -> str:
    """Return a field's number without a fraction of zeros, such as 1 for 1.0 and 1,0; other fields as they are."""
    match = _WHOLE.fullmatch(text)
    return str(int(match[1])) if match is not None else text


def finding_value(text: str) -> str:
    """Return 1, 0, -1 or nothing for a field of a finding, such as 1 for 1.0, True and yes; other fields as they are.

    Args:
        text: the field. English words for yes and no count in upper and lower case; other languages do not.
    """
    return _WORDS.get(text.casefold(), whole_number(text))


def says_finding(text: str) -> bool:
    """Return whether a field says yes or no, in a form that is read or one that is refused with a message."""
    return finding_value(text) in YES_OR_NO or text.casefold() in _MARKS


def is_number(text: str) -> bool:
    """Return whether a field is a number, with a point or a comma."""
    return _NUMBER.fullmatch(text) is not None


def findings_named(text: str, where: str) -> tuple[str, ...]:
    """Return the findings of a field with names.

    Args:
        text: names with `|` between, or `No Finding`.
        where: the field's place, for messages.

    Raises:
        SegpipeError: the field is empty, says both none and some, or has another separator.
    """
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


def require_names(fields: Sequence[tuple[int, str]], column: str, target: ImageTarget, path: Path) -> None:
    """Refuse names of classes or findings that are no names: errors of a spreadsheet, measurements, two spellings.

    Args:
        fields: line and name, one a row; several rows a line for findings.
        column: of the names, for messages.
        target: kind of label.
        path: of the table, for messages.

    Raises:
        SegpipeError: with the lines and both values.
    """
    of_name: dict[str, list[int]] = defaultdict(list)
    for line, name in fields:
        of_name[name].append(line)
    for name, lines in of_name.items():
        where = f"{path}: line {lines[0]}: {column}"
        if _SPREADSHEET_ERRORS.fullmatch(name):
            raise SegpipeError(
                f"{where} is {name!r}, an error of the spreadsheet; correct the cell, or empty it"
            )
        require_name(name, where)
        if len(name) > _LONGEST:
            raise SegpipeError(
                f"{where} has {len(name)} letters, such as {name[:20]!r}; a name has {_LONGEST} at the most: shorten it"
            )
    numbers = {name: lines for name, lines in of_name.items() if is_number(name)}
    _refuse_measurements(numbers, column, path)
    if numbers and len(numbers) < len(of_name):
        name = next(name for name in of_name if name not in numbers)
        number = next(iter(numbers))
        raise SegpipeError(
            f"{path}: {column} is {number!r} in line {numbers[number][0]} and {name!r} in line {of_name[name][0]}; "
            "write names everywhere, or numbers everywhere"
        )
    if target == "class":
        _refuse_two_names(of_name, column, path)
    _refuse_two_spellings(of_name, "class" if target == "class" else "finding", path)


def described(fields: Sequence[tuple[int, str]]) -> str:
    """Return what a column without labels holds, for a message: its values, or the range of its numbers.

    Args:
        fields: line and field of each row.
    """
    first: dict[str, int] = {}
    for line, value in fields:
        if value:
            first.setdefault(value, line)
    if not first:
        return "nothing"
    if len(first) > _MOST_SHOWN and all(map(is_number, first)):
        numbers = sorted(first, key=_as_float)
        return f"{len(first)} numbers from {numbers[0]} to {numbers[-1]}"
    return shown((f"{value!r} in line {line}" for value, line in first.items()), most=_MOST_SHOWN)


def _as_float(text: str) -> float:
    return float(text.replace(",", "."))


def _refuse_measurements(numbers: Mapping[str, Sequence[int]], column: str, path: Path) -> None:
    fractions = [name for name in numbers if _FRACTION.fullmatch(name)]
    if not fractions and len(numbers) <= _MOST_NUMBERS:
        return
    ordered = sorted(numbers, key=_as_float)
    lowest, highest = ordered[0], ordered[-1]
    raise SegpipeError(
        f"{path}: {column} has {len(numbers)} different numbers, from {lowest} (line {numbers[lowest][0]}) to "
        f"{highest} (line {numbers[highest][0]}); measurements are no classes: write the name of a class in each row, "
        "such as of a range, or name another column class"
    )


def _refuse_two_names(of_name: Mapping[str, Sequence[int]], column: str, path: Path) -> None:
    """Refuse a class that is two other classes with a separator between."""
    for name, lines in of_name.items():
        parts = [part.strip() for part in _BETWEEN_NAMES.split(name)]
        if len(parts) > 1 and any(part in of_name for part in parts):
            other = next(part for part in parts if part in of_name)
            raise SegpipeError(
                f"{path}: line {lines[0]}: {column} is {name!r}, several names in one field, since line "
                f"{of_name[other][0]} is {other!r}; write one name, or findings with | between (--target findings)"
            )


def _refuse_two_spellings(of_name: Mapping[str, Sequence[int]], what: str, path: Path) -> None:
    first: dict[str, str] = {}
    for name in of_name:
        if is_number(name):
            continue
        other = first.setdefault(spelling_of(name), name)
        if other != name:
            places = [
                f"{one!r} (line {of_name[one][0]}; {len(of_name[one])} in all)" for one in (other, name)
            ]
            raise SegpipeError(
                f"{path}: {' and '.join(places)} are two spellings of one {what}; write one of them everywhere"
            )

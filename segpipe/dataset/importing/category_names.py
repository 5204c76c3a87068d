"""The names of classes or findings: one spelling each, in one order, and the meaning of numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from segpipe.dataset.importing.created import Ask
from segpipe.errors import SegpipeError, shown

_NUMBER = re.compile(r"-?[0-9]+(\.0+)?")
_RARE, _ALIKE = 0.05, 0.85  # share of another name's images; similarity of two names, of 1


def spelling_of(name: str) -> str:
    """Return a name without case, spaces, `_` and `-`: two names with one result are spellings of one name."""
    return re.sub(r"[\s_\-]+", "", name.casefold())


def require_one_spelling(names: Sequence[str], what: str, where: str) -> None:
    """Refuse two spellings of one name, such as Effusion and effusion.

    Args:
        names: all different.
        what: "class" or "finding".
        where: the folder or table, for messages.

    Raises:
        SegpipeError: with both spellings.
    """
    first: dict[str, str] = {}
    for name in names:
        if _NUMBER.fullmatch(name):
            continue
        other = first.setdefault(spelling_of(name), name)
        if other != name:
            raise SegpipeError(
                f"{where}: {other!r} and {name!r} are two spellings of one {what}; write one of them everywhere"
            )


def lookalikes(counts: Mapping[str, int]) -> list[str]:
    """Return a warning for each rare name that looks like a frequent one, which is often a typing mistake.

    Args:
        counts: name -> number of its images.
    """
    warnings = []
    for name, count in counts.items():
        frequent = [other for other, images in counts.items() if images and count <= _RARE * images]
        near = difflib.get_close_matches(name.casefold(), [one.casefold() for one in frequent], 1, _ALIKE)
        if near:
            other = next(one for one in frequent if one.casefold() == near[0])
            warnings.append(
                f"{name!r} ({count} of its images) looks like {other!r} ({counts[other]}): if it is a typing mistake, "
                "correct it"
            )
    return warnings


def category_names(
    found: Sequence[str], given: Mapping[int, str] | None, what: str, where: str, ask: Ask | None
) -> dict[str, str]:
    """Return name in the folder or table -> name in the manifest, in the order of the manifest.

    Args:
        found: names in the order of the folder or the table; numbers need `given` or `ask`.
        given: value -> name. Where `found` are numbers, the names of these values; else the names and their order.
        what: "class" or "finding".
        where: the folder or table, for messages.
        ask: asks the user for the names of numbers; None refuses instead.

    Raises:
        SegpipeError: two spellings of one name; a number without a name; a name that is not among the given ones, or a
            given class that no image has.
    """
    require_one_spelling(found, what, where)
    if all(map(_NUMBER.fullmatch, found)):
        return _names_of_numbers(found, given, what, where, ask)
    if given is None:
        return {name: name for name in found}
    known = {spelling_of(given[value]): given[value].strip() for value in sorted(given)}
    for name in found:
        if spelling_of(name) not in known:
            near = difflib.get_close_matches(spelling_of(name), known, 1, 0.6)
            hint = f"did you mean {known[near[0]]}? " if near else ""
            raise SegpipeError(
                f"{where}: the {what} {name!r} is not among the given ones ({', '.join(known.values())}); {hint}"
                f"correct it, or add --class {max(given) + 1}={name}"
            )
    written = {spelling_of(name): name for name in found}
    absent = [name for spelling, name in known.items() if spelling not in written]
    if absent and what == "class":
        raise SegpipeError(
            f"{where}: no image has the class {shown(absent)}; leave it out, or add its images"
        )
    return {written.get(spelling, name): name for spelling, name in known.items()}


def _names_of_numbers(
    found: Sequence[str], given: Mapping[int, str] | None, what: str, where: str, ask: Ask | None
) -> dict[str, str]:
    values = {int(float(text)): text for text in found}
    names = {value: name.strip() for value, name in (given or {}).items()}
    missing = [value for value in sorted(values) if not names.get(value)]
    if missing and ask is not None and given is None:
        names = {value: ask(f"What is the {what} {value}?", "").strip() for value in sorted(values)}
        missing = [value for value, name in names.items() if not name]
    if missing:
        options = " ".join(f"--class {value}=NAME" for value in missing)
        raise SegpipeError(
            f"{where}: does not say what its classes {shown(map(str, missing))} mean; add {options}"
        )
    return {values[value]: names[value] for value in sorted(values)}

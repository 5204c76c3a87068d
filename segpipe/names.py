"""Names from outside: of classes, channels, cases and files. A name is data: nothing may run or replace it."""

from __future__ import annotations

import re
from pathlib import Path

from segpipe.errors import SegpipeError

_MONAIS = "$@%"
# control characters, line and paragraph separators, marks that turn the direction of text, halves of characters
_HIDDEN = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_BEGINS = re.compile(rf"\s*[{_MONAIS}]")
_HOLDS = re.compile(f"[{_HIDDEN}]")


def name_problem(name: str) -> str | None:
    """Return why a name is refused, as the end of a sentence that begins with the name; None for a valid name.

    MONAI evaluates a text that begins with `$` as Python, replaces a text that begins with `@` by the value of an id,
    and a text that begins with `%` by the content of a file.

    Args:
        name: name of a class, channel, case, patient or data set.
    """
    if _BEGINS.match(name):
        first = name.lstrip()[0]
        return f"begins with {first}, which MONAI reads as an instruction (so do {', '.join(_MONAIS)}); rename it"
    return hidden_problem(name)


def path_problem(path: str) -> str | None:
    """Return why a file's path is refused, see `name_problem`; each part of the path is a name."""
    problems = (name_problem(part) for part in re.split(r"[/\\]", path))
    return next((problem for problem in problems if problem is not None), None)


def require_configurable(path: Path) -> None:
    """Refuse a path that MONAI's configurations cannot hold: MONAI replaces `#` by `::` in every text.

    Raises:
        SegpipeError: the absolute path holds `#` or `::`.
    """
    whole = path.absolute()
    part = next((part for part in whole.parts if "#" in part or "::" in part), None)
    if part is not None:
        raise SegpipeError(
            f"{whole}: MONAI turns # into ::, so {part!r} cannot stand in a path; rename it, or move its content"
        )


def text_problem(text: str) -> str | None:
    """Return why a longer text is refused, see `name_problem`; such a text may have several lines."""
    return name_problem(text.translate({ord(space): " " for space in "\t\n\r"}))


def hidden_problem(name: str) -> str | None:
    """Return that a name holds a hidden character, or one that changes how its neighbours are shown; else None."""
    hidden = _HOLDS.search(name)
    if hidden is None:
        return None
    return f"holds the control character U+{ord(hidden.group()):04X}; rename it without"


def require_name(name: str, where: str) -> None:
    """Refuse a name that MONAI would evaluate, or that holds control characters.

    Args:
        name: see `name_problem`.
        where: place of the name, for the message.

    Raises:
        SegpipeError: the message has the escaped name and the reason.
    """
    problem = name_problem(name)
    if problem is not None:
        raise SegpipeError(f"{where}: the name {name!r} {problem}")

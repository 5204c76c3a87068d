"""One mistake in a configuration, and the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ConfigFinding:
    """A mistake.

    Attributes:
        identifier: the id that it is at, with `::` between its parts; empty where it is of a whole file.
        what: the rest of a sentence that begins with the id.
        file: of the bundle, or what else says where; empty where the id tells it.
        line: in the file, from 1; 0 where that is not known.
    """

    identifier: str
    what: str
    file: str = ""
    line: int = 0

    @property
    def sentence(self) -> str:
        """What is wrong, without the place."""
        return f"{written(self.identifier)} {self.what}" if self.identifier else self.what

    def __str__(self) -> str:
        """Return the line that a user reads."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.sentence}" if place else self.sentence


def written(identifier: str) -> str:
    """Return an id as one writes it."""
    return identifier.replace("::", "#")


def nearest(name: str, among: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return what was probably meant: the most similar name, or the only one whose last part is the same."""
    others = [other for other in among if other != name]
    similar = difflib.get_close_matches(name, others, n=1, cutoff=cutoff)
    if similar:
        return similar[0]
    last = name.rpartition("::")[2]
    same = [other for other in others if other.rpartition("::")[2] == last]
    return same[0] if len(same) == 1 else None


def and_more(users: Sequence[str]) -> str:
    """Return the end of a message that stands for one of several places."""
    return f" (and {len(users) - 1} more)" if len(users) > 1 else ""


def hint(meant: str | None, otherwise: str = "") -> str:
    """Return the end of a message that says what was probably meant."""
    if meant is not None:
        return f"; did you mean {written(meant)}?"
    return f"; {otherwise}" if otherwise else ""

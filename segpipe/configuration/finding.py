"""One finding: a mistake in a configuration, and the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ConfigFinding:
    """A mistake in a configuration.

    Attributes:
        identifier: id of the mistake, with `::` between its parts; empty for a mistake of a whole file.
        what: the rest of a sentence that begins with the id.
        file: file of the bundle, or another place such as the command line; empty if the id alone is known.
        line: line in the file, from 1; 0 if it is not known.
        is_note: the run needs a setting from the user, and nothing has to be corrected.
    """

    identifier: str
    what: str
    file: str = ""
    line: int = 0
    is_note: bool = False

    @property
    def sentence(self) -> str:
        """The mistake, without its place."""
        return f"{written(self.identifier)} {self.what}" if self.identifier else self.what

    def __str__(self) -> str:
        """Return the finding as one line, with its place."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        said = f"note: {self.sentence}" if self.is_note else self.sentence
        return f"{place}: {said}" if place else said


def written(identifier: str) -> str:
    """Return an id as users write it."""
    return identifier.replace("::", "#")


def nearest(name: str, among: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the name that was probably meant: the most similar one, or the only one with the same last part."""
    others = [other for other in among if other != name]
    similar = difflib.get_close_matches(name, others, n=1, cutoff=cutoff)
    if similar:
        return similar[0]
    last = name.rpartition("::")[2]
    same = [other for other in others if other.rpartition("::")[2] == last]
    return same[0] if len(same) == 1 else None


def and_more(users: Sequence[str]) -> str:
    """Return the end of a message about one place, which says how many places have the same mistake."""
    return f" (and {len(users) - 1} more)" if len(users) > 1 else ""


def hint(meant: str | None, otherwise: str = "") -> str:
    """Return the end of a message, which suggests the name that was probably meant."""
    if meant is not None:
        return f"; did you mean {written(meant)}?"
    return f"; {otherwise}" if otherwise else ""

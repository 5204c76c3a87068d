"""What a page tells beside its figures: of data and model, of the program, and what to beware of."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import segpipe
from segpipe.monai_run import is_monai_run
from segpipe.provenance import commit, package_versions

Rows = Sequence[tuple[str, str]]
_PROGRAM = {False: ["segpipe"], True: ["python", "-m", "monai.bundle"]}  # by whether it is MONAI's run


@dataclass(frozen=True)
class ReportContext:
    """What stands around the figures.

    Attributes:
        lead: the line below the head, a sentence or two.
        warnings: what makes the figures mean less than they seem to; stands first.
        sections: head and rows, such as those of a data card.
        configurations: head and text, folded.
    """

    lead: str = "Label maps against references."
    warnings: Sequence[str] = ()
    sections: Sequence[tuple[str, Rows]] = ()
    configurations: Sequence[tuple[str, str]] = ()

    def by(self, program: Mapping[str, str]) -> ReportContext:
        """Return the same with what the page was made by."""
        return replace(self, sections=(*self.sections, ("Made by", context_rows(program.items()))))


def context_rows(rows: Iterable[tuple[str, object]]) -> Rows:
    """Return the rows that have something to say, as text."""
    return [(name, str(text)) for name, text in rows if text not in (None, "", (), [])]


def program() -> dict[str, str]:
    """Return command, time, commit and versions."""
    packages = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    return {
        "command": shlex.join([*_PROGRAM[is_monai_run()], *sys.argv[1:]]),
        "made": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "segpipe": segpipe.__version__,
        "commit": commit() or "unknown: segpipe runs from no checkout",
        "versions": f"Python {platform.python_version()}, {packages}",
    }

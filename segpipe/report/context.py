"""The texts around a page's figures: warnings, descriptions of data and model, versions of the program."""

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
_PROGRAM = {False: ["segpipe"], True: ["python", "-m", "monai.bundle"]}  # keyed by whether the run is MONAI's


@dataclass(frozen=True)
class ReportContext:
    """Texts around the figures of a page.

    Attributes:
        lead: one or two sentences below the title.
        warnings: limits of the figures' validity; the page shows them first.
        sections: title and rows of each section, such as a data card.
        configurations: title and text of each folded configuration.
    """

    lead: str = "Label maps against references."
    warnings: Sequence[str] = ()
    sections: Sequence[tuple[str, Rows]] = ()
    configurations: Sequence[tuple[str, str]] = ()

    def by(self, program: Mapping[str, str]) -> ReportContext:
        """Return the context with a section on the program that made the page."""
        return replace(self, sections=(*self.sections, ("Made by", context_rows(program.items()))))


def context_rows(rows: Iterable[tuple[str, object]]) -> Rows:
    """Return the rows with a value, as text."""
    return [(name, str(text)) for name, text in rows if text not in (None, "", (), [])]


def program() -> dict[str, str]:
    """Return the command, time, commit and versions of this run."""
    packages = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    return {
        "command": shlex.join([*_PROGRAM[is_monai_run()], *sys.argv[1:]]),
        "made": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "segpipe": segpipe.__version__,
        "commit": commit() or "unknown: segpipe runs from no checkout",
        "versions": f"Python {platform.python_version()}, {packages}",
    }

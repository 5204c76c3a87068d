"""From scores to the page on disk."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import segpipe
from segpipe.evaluation.scoring import FolderScores, files_by_name
from segpipe.evaluation.summary import Summary
from segpipe.files import write_text
from segpipe.report.cards import cards_of
from segpipe.report.page import REPORT_FILE, render_report


def write_report(
    scores: FolderScores, summary: Summary, folder: Path, images: Path | None, about: Mapping[str, str | None]
) -> None:
    """Write `report.html`.

    Args:
        scores: of a folder.
        summary: of the same.
        folder: where the page goes.
        images: folder of the scans, by the same names; None draws the label maps alone.
        about: what was scored, by name; None is left out.

    Raises:
        SegpipeError: a scan cannot be read, or lies on another grid than its label map.
    """
    found = files_by_name(images) if images is not None else {}
    cards = cards_of(scores, found)
    told = {
        **{name: text for name, text in about.items() if text},
        "classes": ", ".join(scores.table.foreground_names),
        "command": " ".join(["segpipe", *sys.argv[1:]]),
        "made": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "versions": f"segpipe {segpipe.__version__}, Python {platform.python_version()}, NumPy {np.__version__}",
    }
    page = render_report("Evaluation", scores, summary, cards, told, with_images=images is not None)
    write_text(folder / REPORT_FILE, page)

"""From scores to the page on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segpipe.evaluation.case_scores import METRICS_FILE
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.evaluation.summary import SUMMARY_FILE, Summary
from segpipe.files import require_writable_files, write_text
from segpipe.report.context import ReportContext
from segpipe.report.example_cases import example_cases
from segpipe.report.page import REPORT_FILE, render_report

EVALUATION_FILES = (METRICS_FILE, SUMMARY_FILE, REPORT_FILE)


def require_evaluation_writable(folder: Path) -> None:
    """Refuse a folder in which an evaluation's files cannot be written, before anything is scored.

    Raises:
        SegpipeError: see `segpipe.files.require_writable_files`.
    """
    require_writable_files(folder, EVALUATION_FILES)


def write_report(
    scores: ScoredCases,
    summary: Summary,
    folder: Path,
    images: Mapping[str, Path],
    told: ReportContext,
    title: str = "Evaluation",
) -> None:
    """Write `report.html`.

    Args:
        scores: of the cases.
        summary: of the same.
        folder: where the page goes.
        images: the scan of a case, by its name; of one without, the label maps are drawn alone.
        told: what stands around the figures.
        title: of the page.

    Raises:
        SegpipeError: a scan cannot be read, or lies on another grid than its label map.
    """
    cards = example_cases(scores, images)
    without_scan = [row.case for row in scores.rows if row.case not in images]
    page = render_report(title, scores, summary, cards, told, without_scan)
    write_text(folder / REPORT_FILE, page)

"""Write the report of an evaluation to disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segpipe.evaluation.case_scores import METRICS_FILE
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.evaluation.summary import SUMMARY_FILE, Summary
from segpipe.files import require_writable_files, write_text
from segpipe.report.context import ReportContext
from segpipe.report.example_cases import DrawnScan, example_cases
from segpipe.report.page import REPORT_FILE, render_report

EVALUATION_FILES = (METRICS_FILE, SUMMARY_FILE, REPORT_FILE)


def require_evaluation_writable(folder: Path) -> None:
    """Refuse a folder in which the evaluation's files cannot be written; called before the scoring.

    Raises:
        SegpipeError: see `segpipe.files.require_writable_files`.
    """
    require_writable_files(folder, EVALUATION_FILES)


def write_report(
    scores: ScoredCases,
    summary: Summary,
    folder: Path,
    images: Mapping[str, Path | DrawnScan],
    context: ReportContext,
    title: str = "Evaluation",
) -> None:
    """Write `report.html`.

    Args:
        scores: scores of the cases.
        summary: summary of the same cases.
        folder: folder of the page.
        images: case -> its scan, or the only file of it; without a scan, only the label maps are drawn.
        context: texts around the figures.
        title: title of the page.

    Raises:
        SegpipeError: a scan cannot be read, or its grid differs from the label map's.
    """
    cards = example_cases(scores, images)
    without_scan = [row.case for row in scores.rows if row.case not in images]
    page = render_report(title, scores, summary, cards, context, without_scan)
    write_text(folder / REPORT_FILE, page)

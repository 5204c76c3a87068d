"""The page of an evaluation, or of a comparison of two models, which opens in any browser."""

from segpipe.report.context import ReportContext, context_rows, program
from segpipe.report.example_cases import DrawnScan
from segpipe.report.write import EVALUATION_FILES, require_evaluation_writable, write_report

__all__ = [
    "EVALUATION_FILES",
    "DrawnScan",
    "ReportContext",
    "context_rows",
    "program",
    "require_evaluation_writable",
    "write_report",
]

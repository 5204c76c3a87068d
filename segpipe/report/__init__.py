"""An evaluation, or a comparison of two, as one page that opens in any browser."""

from segpipe.report.context import Told, program, told_rows
from segpipe.report.write import EVALUATION_FILES, require_evaluation_writable, write_report

__all__ = [
    "EVALUATION_FILES",
    "Told",
    "program",
    "require_evaluation_writable",
    "told_rows",
    "write_report",
]

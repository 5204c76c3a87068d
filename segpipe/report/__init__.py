"""An evaluation, or a comparison of two, as one page that opens in any browser."""

from segpipe.report.page import REPORT_FILE
from segpipe.report.told import Told, program, told_rows
from segpipe.report.write import write_report

__all__ = ["REPORT_FILE", "Told", "program", "told_rows", "write_report"]

"""An evaluation as one page that opens in any browser."""

from segpipe.report.page import REPORT_FILE
from segpipe.report.write import write_report

__all__ = ["REPORT_FILE", "write_report"]

"""The overview of a data set: tables, and a contact sheet of cases with their label maps."""

from segpipe.overview.output import Overview
from segpipe.overview.show import show_dataset
from segpipe.overview.summary import ClassRow, DatasetSummary, FindingRow, Range

__all__ = ["ClassRow", "DatasetSummary", "FindingRow", "Overview", "Range", "show_dataset"]

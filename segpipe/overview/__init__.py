"""The overview of a data set: tables, and a contact sheet of cases with their label maps."""

from segpipe.overview.show import Overview, show_dataset
from segpipe.overview.summary import ClassRow, DatasetSummary, Range

__all__ = ["ClassRow", "DatasetSummary", "Overview", "Range", "show_dataset"]

"""A data set at a glance: what is in it in tables, and a sheet of its cases with their label maps."""

from segpipe.overview.show import Overview, show_dataset
from segpipe.overview.summary import ClassRow, DatasetSummary, Range

__all__ = ["ClassRow", "DatasetSummary", "Overview", "Range", "show_dataset"]

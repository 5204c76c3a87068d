"""A data set at a glance: what is in it in tables, and a sheet of its cases with their label maps."""

from segpipe.overview.show import Overview, show_dataset
from segpipe.overview.summary import ClassRow, Range, Summary

__all__ = ["ClassRow", "Overview", "Range", "Summary", "show_dataset"]

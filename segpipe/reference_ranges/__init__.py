"""Whether a scan, and what a network says of it, lie within what the training cases were; no reference is needed."""

from segpipe.reference_ranges.measures import (
    Measures,
    Watched,
    image_measures,
    result_measures,
    scan_measures,
)
from segpipe.reference_ranges.ranges import LIMITS_SUFFIX, Limits, limits_path

__all__ = [
    "LIMITS_SUFFIX",
    "Limits",
    "Measures",
    "Watched",
    "image_measures",
    "limits_path",
    "result_measures",
    "scan_measures",
]

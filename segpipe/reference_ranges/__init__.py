"""Reference ranges of the training cases: is a new scan, and the network's result on it, like them?"""

from segpipe.reference_ranges.measures import (
    EntropyMeter,
    Measures,
    image_measures,
    result_measures,
    scan_measures,
)
from segpipe.reference_ranges.ranges import RANGES_SUFFIX, ReferenceRanges, present_ranges_path, ranges_path

__all__ = [
    "RANGES_SUFFIX",
    "EntropyMeter",
    "Measures",
    "ReferenceRanges",
    "image_measures",
    "present_ranges_path",
    "ranges_path",
    "result_measures",
    "scan_measures",
]

"""Reference ranges of the training cases: is a new scan, and the network's result on it, like them?"""

from segpipe.reference_ranges.measures import (
    EntropyMeter,
    Measures,
    image_measures,
    result_measures,
    scan_measures,
)
from segpipe.reference_ranges.ranges import (
    RANGES_SUFFIX,
    EarlierVersionError,
    ReferenceRanges,
    present_ranges_path,
    ranges_path,
    require_enough_patients,
)

__all__ = [
    "RANGES_SUFFIX",
    "EarlierVersionError",
    "EntropyMeter",
    "Measures",
    "ReferenceRanges",
    "image_measures",
    "present_ranges_path",
    "ranges_path",
    "require_enough_patients",
    "result_measures",
    "scan_measures",
]

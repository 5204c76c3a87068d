"""Rules 1 and 2 of a plan: 2D or 3D, the order of the axes, and the common spacing of all scans."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.planning.fingerprint import Fingerprint
from segpipe.planning.plans import PlannedValue

Array = NDArray[Any]
_THICK_TIMES, _FEW_SLICES = 8.0, 8
COARSE_TIMES = 3.0  # an axis is coarse from this many times the finest spacing


def dimensions(data: Fingerprint, asked: int | None) -> PlannedValue:
    """Return 2 or 3, the dimensions of the network (rule 1).

    Args:
        data: the fingerprint.
        asked: 2 or 3, the user's choice; None lets the data decide.

    Raises:
        SegpipeError: 3 dimensions are asked for, and the cases are 2D images.
    """
    if data.spatial_dims == 2:
        if asked == 3:
            raise SegpipeError(
                "plan: 3 dimensions are asked for, but the cases are 2D images; leave out --dims"
            )
        return PlannedValue(2, "the cases are 2D images")
    if asked is not None:
        return PlannedValue(asked, "as asked for")
    spacing, size = np.median(data.spacings_mm, axis=0), np.median(data.sizes, axis=0)
    coarse = coarsest(spacing)
    times = spacing[coarse] / spacing.min()
    if times >= _THICK_TIMES or size[coarse] < _FEW_SLICES:
        return PlannedValue(2, f"{size[coarse]:.0f} slices of {times:.1f} times a pixel")
    return PlannedValue(3, "the cases are volumes")


def axis_order(data: Fingerprint, dims: int) -> list[int]:
    """Return the order of a case's axes; for a 2D network on volumes the coarsest axis is the last."""
    if dims == data.spatial_dims:
        return list(range(dims))
    coarse = coarsest(np.median(data.spacings_mm, axis=0))
    return [axis for axis in range(3) if axis != coarse] + [coarse]


def coarsest(spacing: Array) -> int:
    """Return the coarsest axis; the last of several equal axes, so that slices are axial by default."""
    return len(spacing) - 1 - int(np.argmax(np.round(spacing[::-1], 2)))


def target_spacing(data: Fingerprint, dims: int, spacings: Array) -> PlannedValue:
    """Return the spacing in mm along each axis of a case (rule 2); None for 2D images, and for the axis of slices.

    Args:
        data: the fingerprint.
        dims: dimensions of the network, 2 or 3.
        spacings: mm, of shape (cases, axes), the axes in the order of `axis_order`.
    """
    if data.spatial_dims == 2:
        return PlannedValue(None, "2D images keep their pixels")
    median = np.median(spacings, axis=0)
    if dims == 2:
        return PlannedValue(
            [*_rounded(median[:2]), None], f"the median of {data.cases} scans; slices stay where they are"
        )
    coarse, finest = coarsest(median), median.min()
    if median[coarse] > COARSE_TIMES * finest:
        median[coarse] = np.percentile(spacings[:, coarse], 10)
        return PlannedValue(
            _rounded(median), f"the median of {data.cases} scans; of the coarse axis the 10th percentile"
        )
    return PlannedValue(_rounded(median), f"the median of {data.cases} scans")


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.4g}") for value in values]

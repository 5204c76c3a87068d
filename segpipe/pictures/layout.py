"""Which planes of a volume a picture shows, and where: three planes through a voxel, or the slices of a thin stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GAP = 4
"""Pixels between planes."""
_LONGEST_SIDE = 320  # pixels of the longest plane's longest side: small crops are enlarged, thick slabs fit
_WIDTH = 3 * _LONGEST_SIDE  # pixels of a row of slices
_THICK = 1.5  # times the smallest spacing: from here, slices lie across the thickest axis
_THIN = 3.0  # times shorter than the other two axes: slices of a slab lie across this axis
_FEW, _COARSE = (
    20,
    2.5,
)  # slices of a stack, and times the spacing within a slice; cardiac stacks: 6 to 18, 3 to 8
_MOST_SLICES, _IN_A_ROW = 12, 4


@dataclass(frozen=True)
class Panel:
    """One plane in a picture.

    Attributes:
        axis: axis across the plane: 2 axial, 1 coronal, 0 sagittal; -1 for a 2D image.
        index: index of the plane along this axis.
        top: pixels above the plane.
        left: pixels to the left of the plane.
        height: pixels of the plane.
        width: pixels of the plane.
    """

    axis: int
    index: int
    top: int
    left: int
    height: int
    width: int


def panels(size: Sequence[int], spacing_mm: Sequence[float], centre: Sequence[int]) -> list[Panel]:
    """Return the planes of a picture, all on one scale.

    Args:
        size: number of voxels along each axis, of a volume in RAS order or a 2D image.
        spacing_mm: spacing along these axes.
        centre: voxel that the planes go through; without effect for a thin stack, see `stack_axis`.

    Returns:
        The plane of a 2D image; axial, coronal and sagittal plane side by side; or the slices of a thin stack, at most
        12 evenly chosen, in rows.
    """
    if len(size) == 2:
        return [one_panel(size, spacing_mm, -1, 0)]
    axis = stack_axis(size, spacing_mm)
    if axis is None:
        return _placed([(axis, centre[axis]) for axis in (2, 1, 0)], 3, size, spacing_mm, _LONGEST_SIDE)
    shown = np.unique(np.linspace(0, size[axis] - 1, min(size[axis], _MOST_SLICES)).round().astype(int))
    columns = len(shown) if len(shown) <= _IN_A_ROW + 1 else _IN_A_ROW
    side = min(_LONGEST_SIDE, _WIDTH // columns)
    return _placed([(axis, index) for index in shown.tolist()], columns, size, spacing_mm, side)


def one_panel(size: Sequence[int], spacing_mm: Sequence[float], axis: int, index: int) -> Panel:
    """Return a picture's only plane, whose longer side has 320 pixels.

    Args:
        size: see `panels`.
        spacing_mm: see `panels`.
        axis: axis across the plane; without effect for a 2D image.
        index: index of the plane along this axis.
    """
    (panel,) = _placed([(axis if len(size) == 3 else -1, index)], 1, size, spacing_mm, _LONGEST_SIDE)
    return panel


def stack_axis(size: Sequence[int], spacing_mm: Sequence[float]) -> int | None:
    """Return the axis of a stack of few slices; None for other volumes, whose planes across other axes show something.

    A stack has at most 20 slices, which are coarse or make a thin slab, such as a short-axis stack of the heart.

    Args:
        size: number of voxels along each axis of a volume in RAS order.
        spacing_mm: spacing along these axes.
    """
    axis = slice_axis(size, spacing_mm)
    extent = np.asarray(size) * spacing_mm
    others = [other for other in range(3) if other != axis]
    coarse = spacing_mm[axis] > _COARSE * max(spacing_mm[other] for other in others)
    thin = _THIN * extent[axis] < min(extent[others])
    return axis if size[axis] <= _FEW and (coarse or thin) else None


def slice_axis(size: Sequence[int], spacing_mm: Sequence[float]) -> int:
    """Return the axis across which slices of a volume in RAS order lie.

    This is the axis along which the volume is coarse or thin, since its slices were acquired so; else the axial one.

    Args:
        size: number of voxels along each axis.
        spacing_mm: spacing along these axes.
    """
    extent = np.asarray(size) * spacing_mm
    if max(spacing_mm) > _THICK * min(spacing_mm):
        return int(np.argmax(spacing_mm))
    if np.sort(extent)[1] > _THIN * extent.min():
        return int(np.argmin(extent))
    return 2


def rows_and_columns(axis: int) -> tuple[int, int]:
    """Return the axes along the rows' order and along the columns' order of a plane across an axis."""
    if axis < 0:
        return 1, 0
    columns, rows = (other for other in range(3) if other != axis)
    return rows, columns


def _placed(
    planes: Sequence[tuple[int, int]],
    columns: int,
    size: Sequence[int],
    spacing_mm: Sequence[float],
    side: int,
) -> list[Panel]:
    """Place planes in rows; the longest side of any plane has `side` pixels."""
    shown = {along for axis, _ in planes for along in rows_and_columns(axis)}
    zoom = side / max(size[along] * spacing_mm[along] for along in shown)
    placed: list[Panel] = []
    top = left = 0
    for number, (axis, index) in enumerate(planes):
        if number and number % columns == 0:
            top, left = top + GAP + max(panel.height for panel in placed[-columns:]), 0
        height, width = (
            max(round(size[along] * (spacing_mm[along] * zoom)), 1) for along in rows_and_columns(axis)
        )
        placed.append(Panel(axis, index, top, left, height, width))
        left += width + GAP
    return placed


def picture_size(placed: Sequence[Panel]) -> tuple[int, int]:
    """Return height and width of a picture of these planes, in pixels."""
    return max(panel.top + panel.height for panel in placed), max(
        panel.left + panel.width for panel in placed
    )

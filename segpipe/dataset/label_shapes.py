"""Shapes in a label map that look like annotation mistakes: a small part far away, a slice left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

_SMALL = 0.05  # of a class's voxels: a smaller part may be a stray click
_FAR = 0.5  # of the diagonal of the class's other parts: least gap between them and a stray part
_FEW_VOXELS = 20  # smaller classes are not checked
_FULL = 0.25  # of the largest plane's area: an empty plane between two such planes was left out
_LONGEST_GAP = 2  # planes
_FEWEST_PLANES = 5


def odd_shapes(
    indices: NDArray[np.integer[Any]], names: Sequence[str], spacing: Sequence[float], unit: str = "mm"
) -> list[str]:
    """Return descriptions of suspicious shapes in a label map.

    Args:
        indices: class indices `(x, y)` or `(x, y, z)`, 0 the background.
        names: of the classes, by index.
        spacing: along the same axes, in `unit`.
        unit: "mm", or "pixels" for files without a spacing.

    Returns:
        one sentence for each suspicious shape, with its class and its position in voxels.
    """
    messages = []
    for index, box in enumerate(ndimage.find_objects(indices), start=1):
        if box is None:
            continue
        mask = indices[box] == index
        if mask.sum() < _FEW_VOXELS:
            continue
        first = [int(part.start) for part in box]
        messages += _far_parts(mask, names[index], first, np.asarray(spacing), unit)
        messages += _left_out(mask, names[index], first)
    return messages


def _far_parts(
    mask: NDArray[np.bool_], name: str, first: Sequence[int], spacing: NDArray[np.float64], unit: str
) -> list[str]:
    parts, number = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    if number == 1:
        return []
    sizes = np.bincount(parts.ravel())[1:]
    boxes = ndimage.find_objects(parts)
    ends = np.array([[(side.start, side.stop) for side in box] for box in boxes], float)  # (parts, axes, 2)
    across = _diagonals_of_others(ends, spacing)
    # a box is never farther away than its centre, so few of thousands of parts need a comparison with all others
    centres = ends.mean(axis=2) * spacing
    nearest = cKDTree(centres).query(centres, k=2)[0][:, 1]
    messages = []
    for part in np.flatnonzero((sizes <= _SMALL * sizes.sum()) & (nearest > _FAR * across)):
        others = np.delete(ends, part, axis=0)
        between = np.maximum(
            np.maximum(others[:, :, 0] - ends[part, :, 1], ends[part, :, 0] - others[:, :, 1]), 0
        )
        gap = np.linalg.norm(between * spacing, axis=1).min()
        if gap > _FAR * across[part]:
            place = tuple(int(begin + at) for begin, at in zip(first, ends[part, :, 0], strict=True))
            messages.append(
                f"{name} has a component of {sizes[part]} voxel(s) at {place}, {gap:.0f} {unit} from its other voxels, "
                f"which measure {across[part]:.0f} {unit} across; remove it if it is a stray click"
            )
    return messages


def _diagonals_of_others(ends: NDArray[np.float64], spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each part the diagonal of the box around all other parts, in mm, shape (parts,).

    Args:
        ends: first and last + 1 voxel of each part, (parts, axes, 2); two parts or more.
        spacing_mm: along the axes.
    """
    lows, highs = np.sort(ends[:, :, 0], axis=0), np.sort(ends[:, :, 1], axis=0)
    low = np.where(ends[:, :, 0] == lows[0], lows[1], lows[0])
    high = np.where(ends[:, :, 1] == highs[-1], highs[-2], highs[-1])
    diagonals: NDArray[np.float64] = np.linalg.norm((high - low) * spacing_mm, axis=1)
    return diagonals


def _left_out(mask: NDArray[np.bool_], name: str, first: Sequence[int]) -> list[str]:
    messages = []
    for axis in range(mask.ndim if mask.ndim > 2 else 0):
        areas = mask.sum(axis=tuple(other for other in range(mask.ndim) if other != axis))
        if len(areas) < _FEWEST_PLANES:
            continue
        gaps, number = ndimage.label(areas == 0)
        for (gap,) in ndimage.find_objects(gaps)[:number]:
            length = gap.stop - gap.start
            if length <= _LONGEST_GAP and min(areas[gap.start - 1], areas[gap.stop]) >= _FULL * areas.max():
                planes = " and ".join(str(first[axis] + plane) for plane in range(gap.start, gap.stop))
                messages.append(
                    f"{name} is missing in plane {planes} along {'xyz'[axis]}, and has {areas[gap.start - 1]} and "
                    f"{areas[gap.stop]} voxels in the planes beside; draw the slice if it was forgotten"
                )
    return messages

"""Contours of a mask on one slice, and the mask inside contours, in the pixel coordinates of the slice.

A pixel belongs to a contour if its centre lies inside, by the even-odd rule: a second contour inside the first one is a
hole. Contours that are written run between pixel centres, so that reading returns the same mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skimage.measure import find_contours

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


def filled(contours: Sequence[Points], size: tuple[int, int]) -> Mask:
    """Return the mask of the pixels whose centres lie inside closed contours.

    A centre on an edge belongs to the pixel's right or lower side: of two contours that share an edge, exactly one has
    the pixel. A library's polygon functions give it to both.

    Args:
        contours: each (n, 2), pixel coordinates (x, y); the last point is joined to the first. Overlapping contours
            cancel each other (even-odd rule).
        size: pixels of the slice (x, y).

    Returns:
        bool array of shape `size`; parts of contours outside it are cut off.
    """
    crossings = np.zeros((size[0] + 1, size[1]), np.int32)
    for points in contours:
        start, end = points, np.roll(points, -1, axis=0)
        # an edge crosses the rows y with low <= y < high
        low = np.ceil(np.minimum(start[:, 1], end[:, 1])).clip(0, size[1]).astype(int)
        high = np.ceil(np.maximum(start[:, 1], end[:, 1])).clip(0, size[1]).astype(int)
        edge = np.repeat(np.arange(len(points)), high - low)
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + low[edge]
        slope = (end[edge, 0] - start[edge, 0]) / (end[edge, 1] - start[edge, 1])
        columns = np.ceil(start[edge, 0] + (rows - start[edge, 1]) * slope).clip(0, size[0]).astype(int)
        np.add.at(crossings, (columns, rows), 1)
    inside: Mask = np.cumsum(crossings, axis=0)[:-1] % 2 == 1
    return inside


def contours_of(mask_xy: NDArray[Any]) -> list[Points]:
    """Return the contours of a mask, one for each piece; a hole is joined to its piece by a channel without width.

    DICOM calls such a channel a keyhole: it lets readers without the even-odd rule see the hole.

    Args:
        mask_xy: (x, y); pixels that are not 0 are inside. Pixels that share only a corner are separate pieces.

    Returns:
        for each piece its corners, (n, 2), in pixel coordinates (x, y), the first point not repeated.
    """
    padded = np.pad(mask_xy != 0, 1).astype(np.float64)
    rings = [_corners(ring[:-1] - 1) for ring in find_contours(padded, 0.5)]
    pieces = [ring for ring in rings if _area(ring) > 0]
    holes: list[list[Points]] = [[] for _ in pieces]
    lows = np.array([piece.min(axis=0) for piece in pieces]).reshape(-1, 2)
    highs = np.array([piece.max(axis=0) for piece in pieces]).reshape(-1, 2)
    areas = [_area(piece) for piece in pieces]
    for hole in (ring for ring in rings if _area(ring) < 0):
        near = np.flatnonzero(((lows < hole[0]) & (hole[0] < highs)).all(axis=1))
        around = [int(place) for place in near if _holds(pieces[place], hole[0])]
        holes[min(around, key=areas.__getitem__)].append(hole)
    return [_with_holes(piece, of_piece) for piece, of_piece in zip(pieces, holes, strict=True)]


def _corners(ring: Points) -> Points:
    """Leave out the points between two others on one line."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    is_corner = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return ring[is_corner]


def _area(ring: Points) -> float:
    """Return the signed area; find_contours turns holes the other way round than pieces."""
    x, y = ring.T
    return float(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2


def _holds(ring: Points, point: Points) -> bool:
    start, end = ring, np.roll(ring, -1, axis=0)
    crosses = (start[:, 1] <= point[1]) != (end[:, 1] <= point[1])
    start, end = start[crosses], end[crosses]
    at = start[:, 0] + (point[1] - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    return bool(np.count_nonzero(at > point[0]) % 2)


def _with_holes(piece: Points, holes: Sequence[Points]) -> Points:
    """Join each hole to the outer ring of its piece, by the shortest channel between two corners.

    A channel may cross another hole: it is passed twice, in opposite directions, so that no reader sees it.
    """
    if not holes:
        return piece
    tree = cKDTree(piece)
    channels: dict[int, list[Points]] = {}
    for hole in holes:
        distances, outer = tree.query(hole)
        inner = int(np.argmin(distances))
        channel = np.roll(hole, -inner, axis=0)
        corner = int(outer[inner])
        channels.setdefault(corner, []).append(np.concatenate([channel, channel[:1], piece[corner][None]]))
    parts = []
    start = 0
    for corner in sorted(channels):
        parts += [piece[start : corner + 1], *channels[corner]]
        start = corner + 1
    return np.concatenate([*parts, piece[start:]])

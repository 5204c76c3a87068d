"""A scan and a label map as one RGB picture, in the label table's colours, as a radiologist reads planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries
from skimage.transform import resize

_OPACITY = 0.35
_LONGEST_SIDE = 320  # pixels of the longest plane's longest side: a small crop can be seen, a thick slab fits
_GAP = 4  # pixels between planes
_MOST_SAMPLED = 2 * 10**6  # voxels that the grey window is taken from


def label_centre(label_map: NDArray[np.integer]) -> tuple[int, ...]:
    """Return the voxel of the foreground that lies nearest its centre of gravity; the middle of an empty map.

    Args:
        label_map: class indices `(x, y[, z])`, 0 the background.
    """
    sums = [
        label_map.astype(bool).sum(axis=tuple(j for j in range(label_map.ndim) if j != axis))
        for axis in range(label_map.ndim)
    ]
    total = int(sums[0].sum())
    if total == 0:
        return tuple(size // 2 for size in label_map.shape)
    centre = np.array([(np.arange(len(counts)) * counts).sum() / total for counts in sums])
    nearest, least = (0,) * label_map.ndim, np.inf
    for index in np.flatnonzero(
        sums[0]
    ):  # plane by plane: a list of all its voxels may be far larger than a map
        places = np.argwhere(label_map[index])
        distances = np.linalg.norm(places - centre[1:], axis=1)
        distance = np.hypot(distances.min(), index - centre[0])
        if distance < least:
            nearest, least = (int(index), *places[distances.argmin()].tolist()), distance
    return nearest


def grey_levels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a scan as a picture shows it, 0 at its 1st percentile and 255 at its 99th: a byte a voxel.

    Args:
        image: intensities of any shape.
    """
    low, high = _grey_window(image)
    levels = np.empty(image.shape, np.uint8)
    for place, plane in zip(levels, image, strict=True):
        place[...] = np.round(np.clip((plane - low) / ((high - low) or 1.0), 0, 1) * 255)
    return levels


def _grey_window(image: NDArray[Any]) -> tuple[float, float]:
    step = max(image.size // _MOST_SAMPLED, 1)
    low, high = np.percentile(image.flat[::step], (1, 99)).tolist()
    return low, high


def overlay_planes(
    image: NDArray[np.floating],
    label_map: NDArray[np.integer] | None,
    colors: Sequence[tuple[int, int, int]],
    centre: Sequence[int],
    spacing_mm: Sequence[float],
) -> NDArray[np.uint8]:
    """Draw a scan's planes through one voxel side by side, axial, coronal, sagittal; a 2D image as it is.

    Grey runs from the 1st to the 99th percentile of the scan. Classes are tinted, their outlines drawn full.

    Args:
        image: `(x, y[, z])`, volumes in RAS order: x grows to the patient's right, y to the front, z upwards.
        label_map: class indices of the same shape; None draws the scan alone.
        colors: RGB, 0 to 255, by class index.
        centre: the voxel the planes go through.
        spacing_mm: of the voxels; all planes are drawn to one scale.

    Returns:
        `(height, width, 3)`. Axial and coronal planes show the patient's right on the left, sagittal ones the
        front on the left.
    """
    low, high = _grey_window(image)
    zoom = _LONGEST_SIDE / max(size * step for size, step in zip(image.shape, spacing_mm, strict=False))
    pictures = [
        _draw(
            np.clip((plane - low) / ((high - low) or 1.0), 0, 1),
            label_plane,
            colors,
            np.asarray(plane_spacing) * zoom,
        )
        for plane, label_plane, plane_spacing in _planes(image, label_map, centre, spacing_mm)
    ]
    height = max(picture.shape[0] for picture in pictures)
    padded = [
        np.pad(picture, ((0, height - picture.shape[0]), (0, _GAP if i + 1 < len(pictures) else 0), (0, 0)))
        for i, picture in enumerate(pictures)
    ]
    return np.concatenate(padded, axis=1)


def _planes(
    image: NDArray[np.floating],
    label_map: NDArray[np.integer] | None,
    centre: Sequence[int],
    spacing_mm: Sequence[float],
) -> list[tuple[NDArray[np.floating], NDArray[np.integer] | None, tuple[float, float]]]:
    """Return each plane's grey values, labels and (row, column) spacing, rows first."""
    if image.ndim == 2:
        return [(image.T, None if label_map is None else label_map.T, (spacing_mm[1], spacing_mm[0]))]
    planes = []
    for fixed, rows, columns in ((2, 1, 0), (1, 2, 0), (0, 2, 1)):
        # rows run from the top: front to back, or up to down; columns from the patient's right, or front
        at = (slice(None, None, -1),) * 2
        grey_plane = np.take(image, centre[fixed], axis=fixed).T[at]
        label_plane = None if label_map is None else np.take(label_map, centre[fixed], axis=fixed).T[at]
        planes.append((grey_plane, label_plane, (spacing_mm[rows], spacing_mm[columns])))
    return planes


def _draw(
    grey: NDArray[np.floating],
    label_map: NDArray[np.integer] | None,
    colors: Sequence[tuple[int, int, int]],
    pixels: NDArray[np.floating],
) -> NDArray[np.uint8]:
    """Draw one plane whose voxels are so many pixels high and wide."""
    shape = tuple(np.round(np.asarray(grey.shape) * pixels).astype(int).clip(min=1))
    enlarged = resize(grey, shape, order=1, mode="edge", anti_aliasing=bool(pixels.min() < 1))
    rgb = np.repeat(enlarged[..., None], 3, axis=-1)
    if label_map is not None:
        classes = resize(
            label_map, shape, order=0, mode="edge", anti_aliasing=False, preserve_range=True
        ).astype(int)
        palette = np.asarray(colors, dtype=float) / 255
        inside = classes > 0
        rgb[inside] += _OPACITY * (palette[classes[inside]] - rgb[inside])
        outline = inside & find_boundaries(classes, mode="inner")
        rgb[outline] = palette[classes[outline]]
    return np.round(rgb * 255).astype(np.uint8)

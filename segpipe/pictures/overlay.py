"""RGB pictures of a scan and its label map in the label table's colours, in radiological orientation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from segpipe.pictures.layout import one_panel, panels, picture_size

_OPACITY = 0.35
_MOST_SAMPLED = 2 * 10**6  # voxels that the grey window is computed from


def in_ras_order(
    affine: NDArray[np.float64], *arrays: NDArray[Any]
) -> tuple[list[NDArray[Any]], list[float]]:
    """Reorient volumes so that x grows to the patient's right, y to the front and z upwards; 2D images stay unchanged.

    Args:
        affine: (4, 4), voxel to RAS mm; for a 2D image only the spacing is used.
        arrays: `(x, y[, z])`, all on one grid.

    Returns:
        The reoriented arrays, and the spacing along their axes, mm.
    """
    dims = arrays[0].ndim
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)[:dims]
    if dims == 2:
        return list(arrays), spacing_mm.tolist()
    turn = nibabel.io_orientation(affine)
    turned = [nibabel.orientations.apply_orientation(array, turn) for array in arrays]
    return turned, spacing_mm[np.argsort(turn[:, 0])].tolist()


def label_centre(label_map: NDArray[np.integer]) -> tuple[int, ...]:
    """Return the foreground voxel nearest the foreground's centre of gravity; the middle voxel of an empty map.

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
    ):  # plane by plane: a list of all foreground voxels may be far larger than the map
        places = np.argwhere(label_map[index])
        distances = np.linalg.norm(places - centre[1:], axis=1)
        distance = np.hypot(distances.min(), index - centre[0])
        if distance < least:
            nearest, least = (int(index), *places[distances.argmin()].tolist()), distance
    return nearest


def grey_levels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a scan as grey levels, one byte per voxel: 0 at the 1st percentile, 255 at the 99th.

    Args:
        image: intensities of any shape.
    """
    window = _grey_window(image)
    levels = np.empty(image.shape, np.uint8)
    for place, plane in zip(levels, image, strict=True):
        place[...] = np.round(_grey(plane, window) * 255)
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
    """Draw a scan's axial, coronal and sagittal plane through one voxel side by side; a 2D image as one plane.

    Of a stack of few slices, such as a short-axis stack of the heart, all slices are drawn in rows: planes across them
    would be thin stripes, see `segpipe.pictures.layout.stack_axis`.

    Grey levels span the 1st to the 99th percentile of the scan. Classes are tinted, and their outlines are opaque.

    Args:
        image: `(x, y[, z])`, volumes in RAS order: x grows to the patient's right, y to the front, z upwards.
        label_map: class indices of the same shape; None draws the scan alone.
        colors: RGB, 0 to 255, by class index.
        centre: voxel that the planes go through.
        spacing_mm: spacing of the voxels; all planes have the same scale.

    Returns:
        `(height, width, 3)`. Axial and coronal planes show the patient's right on the left, sagittal planes the
        front on the left.
    """
    (picture,) = _planes(image, (label_map,), colors, centre, spacing_mm)
    return picture


def overlay_pair(
    image: NDArray[Any],
    label_map: NDArray[np.integer],
    colors: Sequence[tuple[int, int, int]],
    centre: Sequence[int],
    spacing_mm: Sequence[float],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the planes of `overlay_planes` without and with a label map; the scan's planes are enlarged once."""
    plain, tinted = _planes(image, (None, label_map), colors, centre, spacing_mm)
    return plain, tinted


def _planes(
    image: NDArray[Any],
    label_maps: Sequence[NDArray[np.integer] | None],
    colors: Sequence[tuple[int, int, int]],
    centre: Sequence[int],
    spacing_mm: Sequence[float],
) -> list[NDArray[np.uint8]]:
    """Draw the planes side by side, once for each label map."""
    window = _grey_window(image)
    placed = panels(image.shape, spacing_mm, centre)
    pictures = [np.zeros((*picture_size(placed), 3), np.uint8) for _ in label_maps]
    for panel in placed:
        shape = (panel.height, panel.width)
        enlarged = _enlarged(_grey(_plane(image, panel.axis, panel.index), window), shape)
        for picture, label_map in zip(pictures, label_maps, strict=True):
            labels = None if label_map is None else _plane(label_map, panel.axis, panel.index)
            drawn = _draw(enlarged, labels, colors)
            picture[panel.top : panel.top + panel.height, panel.left : panel.left + panel.width] = drawn
    return pictures


def overlay_slice(
    image: NDArray[Any],
    label_map: NDArray[np.integer] | None,
    colors: Sequence[tuple[int, int, int]],
    spacing_mm: Sequence[float],
    axis: int,
    index: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Draw one plane of a volume, or a 2D image, without and with its label map, as `overlay_planes` does.

    The grey window comes from the region around the classes, or from the plane without classes: twice the range from
    the 10th to the 90th percentile, within the 1st and the 99th. So a little bone or air does not darken soft tissue.

    Args:
        image: see `overlay_planes`.
        label_map: see `overlay_planes`.
        colors: see `overlay_planes`.
        spacing_mm: spacing of the voxels, which gives the picture its aspect; the plane's longer side has 320 pixels.
        axis: axis across the plane: 2 axial, 1 coronal, 0 sagittal; without effect for a 2D image.
        index: index of the plane along this axis.

    Returns:
        Two pictures `(height, width, 3)`; the second is None without a label map.
    """
    panel = one_panel(image.shape, spacing_mm, axis, index)
    grey = _plane(image, panel.axis, index)
    labels = None if label_map is None else _plane(label_map, panel.axis, index)
    levels = _grey(grey, _narrow_window(grey if labels is None else grey[_around(labels)]))
    enlarged = _enlarged(levels, (panel.height, panel.width))
    return _draw(enlarged, None, colors), None if labels is None else _draw(enlarged, labels, colors)


def _narrow_window(plane: NDArray[Any]) -> tuple[float, float]:
    least, low, high, most = np.percentile(plane, (1, 10, 90, 99)).tolist()
    return max(least, low - (high - low) / 2), min(most, high + (high - low) / 2)


def _around(labels: NDArray[np.integer]) -> tuple[slice, ...]:
    """Return the box of the foreground with a margin of half its size, at least a third of the plane."""
    (box, *_) = ndimage.find_objects((labels > 0).astype(np.uint8)) or [None]
    if box is None:
        return (slice(None),) * labels.ndim
    grown = []
    for side, size in zip(box, labels.shape, strict=True):
        middle, half = (side.start + side.stop) / 2, max(side.stop - side.start, size / 6)
        grown.append(slice(max(int(middle - half), 0), int(np.ceil(middle + half))))
    return tuple(grown)


def largest_slice(label_map: NDArray[np.integer], axis: int) -> int:
    """Return the index of the plane across an axis with most foreground; the middle plane of an empty map."""
    areas = np.count_nonzero(label_map, axis=tuple(j for j in range(label_map.ndim) if j != axis))
    return int(areas.argmax()) if areas.any() else label_map.shape[axis] // 2


def _plane(array: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    """Return a plane of a volume, or a 2D image, rows first."""
    if array.ndim == 2:
        return array.T
    # rows go front to back, or up to down; columns start at the patient's right, or at the front
    plane: NDArray[Any] = np.take(array, index, axis=axis).T[::-1, ::-1]
    return plane


def _grey(plane: NDArray[Any], window: tuple[float, float]) -> NDArray[np.floating]:
    """Return intensities scaled from a window to 0..1."""
    low, high = window
    levels: NDArray[np.floating] = np.clip((plane - low) / ((high - low) or 1.0), 0, 1)
    return levels


def _enlarged(grey: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.floating]:
    """Return a plane's grey levels, 0 to 1, with the given height and width in pixels."""
    shrinks = any(pixels < voxels for pixels, voxels in zip(shape, grey.shape, strict=True))
    enlarged: NDArray[np.floating] = resize(grey, shape, order=1, mode="edge", anti_aliasing=shrinks)
    return enlarged


def _draw(
    enlarged: NDArray[np.floating],
    label_map: NDArray[np.integer] | None,
    colors: Sequence[tuple[int, int, int]],
) -> NDArray[np.uint8]:
    """Return one plane in RGB, its classes tinted; only the pixels of classes are computed in colour."""
    drawn = np.repeat(_as_bytes(enlarged)[..., None], 3, axis=-1)
    if label_map is not None:
        classes = resize(
            label_map, enlarged.shape, order=0, mode="edge", anti_aliasing=False, preserve_range=True
        ).astype(int)
        found = ndimage.find_objects((classes > 0).astype(np.uint8))
        if found:
            box = tuple(slice(max(span.start - 1, 0), span.stop + 1) for span in found[0])
            _tint(drawn[box], enlarged[box], classes[box], np.asarray(colors, dtype=float) / 255)
    return drawn


def _tint(
    drawn: NDArray[np.uint8],
    enlarged: NDArray[np.floating],
    classes: NDArray[np.integer],
    palette: NDArray[np.floating],
) -> None:
    """Tint the pixels of classes in place; their outlines are opaque.

    Args:
        drawn: `(height, width, 3)`, with a margin round the classes where the picture goes on.
        enlarged: grey levels, 0 to 1.
        classes: indices of the classes.
        palette: RGB, 0 to 1, by class index.
    """
    inside = classes > 0
    rgb = np.repeat(enlarged[inside][:, None], 3, axis=-1)
    rgb += _OPACITY * (palette[classes[inside]] - rgb)
    drawn[inside] = _as_bytes(rgb)
    outline = inside & find_boundaries(classes, mode="inner")
    drawn[outline] = _as_bytes(palette)[classes[outline]]


def _as_bytes(levels: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.round(levels * 255).astype(np.uint8)

"""Volume and number of pieces of each class in a label map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segpipe.inference.class_volume import ClassVolume
from segpipe.labels import LabelTable

_SLAB_VOXELS = 2**24  # voxels that are labelled at a time: 64 MB of int32


def class_volumes(
    label_map: NDArray[np.integer],
    table: LabelTable,
    spacing_mm: Sequence[float],
    frame: int | None = None,
) -> list[ClassVolume]:
    """Measure each target of a label map: each foreground class, or each region.

    Args:
        label_map: class indices `(x, y)` or `(x, y, z)`; 0 is the background.
        table: the classes and regions.
        spacing_mm: of the voxels along each axis.
        frame: number of the label map's time frame, from 1.
    """
    classes = table.num_classes
    # plane by plane: bincount needs eight bytes per voxel
    counts = np.sum([np.bincount(plane.ravel(), minlength=classes) for plane in label_map], axis=0)
    millilitres = float(np.prod(spacing_mm)) / 1000 if label_map.ndim == 3 else None
    boxes = ndimage.find_objects(label_map, classes - 1)
    volumes = []
    for target in table.targets:
        voxels = int(counts[list(target.classes)].sum())
        spans = [boxes[index - 1] for index in target.classes if boxes[index - 1] is not None]
        box = tuple(
            slice(min(span.start for span in along), max(span.stop for span in along))
            for along in zip(*spans, strict=True)
        )
        volumes.append(
            ClassVolume(
                target.name,
                voxels,
                None if millilitres is None else voxels * millilitres,
                count_components(label_map[box], target.classes) if voxels else 0,
                frame,
            )
        )
    return volumes


def count_components(label_map: NDArray[np.integer], held: Sequence[int]) -> int:
    """Count the pieces of a class or region, in memory that does not grow with the label map.

    Args:
        label_map: class indices, 2D or 3D.
        held: indices of the classes.

    Returns:
        number of pieces, in which every voxel shares a face, an edge or a corner with another voxel.
    """
    along = int(np.argmax(label_map.shape))
    planes = np.moveaxis(label_map, along, 0)
    step = max(_SLAB_VOXELS // max(planes[0].size, 1), 1)
    neighbours = np.ones((3,) * planes.ndim, int)
    pairs: list[NDArray[np.integer]] = []
    total, last = 0, np.zeros(planes.shape[1:], np.int64)
    for first in range(0, len(planes), step):
        pieces, number = ndimage.label(np.isin(planes[first : first + step], held), neighbours)
        here = np.where(pieces[0] > 0, pieces[0].astype(np.int64) + total, 0)
        pairs.append(_touching(last, here))
        last = np.where(pieces[-1] > 0, pieces[-1].astype(np.int64) + total, 0)
        total += number
    links = np.concatenate(pairs, axis=1) - 1
    graph = coo_array((np.ones(links.shape[1], np.int8), (links[0], links[1])), shape=(total, total))
    count: int = connected_components(graph, directed=False, return_labels=False) if total else 0
    return count


def _touching(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pairs of touching pieces in two neighbouring planes, int64 `(2, pairs)`."""
    padded = np.pad(second, 1)
    pairs = []
    for shift in np.ndindex((3,) * second.ndim):
        shifted = padded[tuple(slice(s, s + n) for s, n in zip(shift, second.shape, strict=True))]
        both = (first > 0) & (shifted > 0)
        pairs.append(np.stack([first[both], shifted[both]]))
    return np.unique(np.concatenate(pairs, axis=1), axis=1)

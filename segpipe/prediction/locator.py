"""Locate, crop, segment: a locator finds the region of all classes, and the network segments the box around it.

The network gets a box of the preprocessed scan, so that intensities are normalised as in training. Foreground outside
the box is lost, so the whole scan is segmented wherever the box is in doubt: the locator finds nothing, its region
touches the scan's border, or the label map reaches a face of the box inside the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.bundle.open import OpenBundle
from segpipe.bundle.open_locator import OpenLocator
from segpipe.inference.inverse_mapping import AxisMap, InverseMapping
from segpipe.inference.streaming import CannotStreamError
from segpipe.prediction.segmentation import Segmentation
from segpipe.prediction.segmenter import Box, Segmenter
from segpipe.volumes import Grid

NOTHING_FOUND = "whole scan: the locator found nothing"
AT_BORDER = "whole scan: the located region touches the scan's border"
REACHES_FACE = "whole scan: the label map reached a face of the box"
NOT_STREAMED = "whole scan: MONAI's own chain"
NOT_SMALLER = "whole scan: the box is as large"
_FEWEST_VOXELS = 4  # of a component of the locator's region; fewer are noise
_NEAR = 2  # planes of the scan at a face of the box


@dataclass(frozen=True)
class Edges:
    """A box in continuous voxel coordinates of an image, from edge to edge of its outermost voxels.

    Attributes:
        low, high: the lowest and highest coordinate along each axis.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Edges:
        """Return the box around the voxels of a mask, which has some."""
        spans = [np.flatnonzero(mask.any(axis=_others(axis, mask.ndim))) for axis in range(mask.ndim)]
        return cls(np.array([span[0] for span in spans]) - 0.5, np.array([span[-1] for span in spans]) + 0.5)

    def grown(self, voxels: NDArray[np.float64]) -> Edges:
        """Return the box with a margin on both sides of each axis, in voxels."""
        return Edges(self.low - voxels, self.high + voxels)

    def on(self, affine: NDArray[np.float64], target: NDArray[np.float64]) -> Edges:
        """Return the smallest box that holds this one in the voxels of another image.

        Args:
            affine: of this box's image, (4, 4), voxel to RAS mm.
            target: of the other image.
        """
        corners = np.array([[*corner, 1.0] for corner in product(*zip(self.low, self.high, strict=True))]).T
        there = np.linalg.solve(target, affine @ corners)[:-1]
        return Edges(there.min(axis=1), there.max(axis=1))


class Locator:
    """Finds the region of all classes in scans, one after the other.

    Args:
        opened: from `with_locator`.
    """

    def __init__(self, opened: OpenLocator) -> None:
        self.margin_mm = np.array(opened.margin.margin_mm)
        self._finder = RegionFinder(opened.bundle)

    @classmethod
    def of(cls, bundle: OpenBundle) -> Locator | None:
        """Return the locator of an open bundle; None if it has none."""
        return None if bundle.locator is None else cls(bundle.locator)

    def prepare(self, loaded: MetaTensor) -> MetaTensor:
        """Return a scan `(C, x, y, z)` as the locator takes it, a small image; `loaded` stays as it is."""
        return self._finder.prepare(loaded)

    def box(self, coarse: MetaTensor, image: MetaTensor, window: Sequence[int]) -> Box | str:
        """Return the box to segment, in voxels of an image; or why the whole scan is to be segmented.

        Args:
            coarse: from `prepare`.
            image: the same scan as the network takes it.
            window: voxels of a window; the box is at least as large, if the image is.
        """
        found = self._finder.found(coarse)
        if isinstance(found, str):
            return found
        affine = np.asarray(coarse.affine, float)
        grown = found.grown(self.margin_mm / spacing_of(affine)).on(affine, np.asarray(image.affine, float))
        size = tuple(image.shape[1:])
        spans = [_span(*one) for one in zip(grown.low, grown.high, size, window, strict=True)]
        if all(stop - start == length for (start, stop), length in zip(spans, size, strict=True)):
            return NOT_SMALLER
        first, second, third = (slice(start, stop) for start, stop in spans)
        return first, second, third


class RegionFinder:
    """Runs a locator's network.

    Args:
        bundle: the locator's own bundle.
    """

    def __init__(self, bundle: OpenBundle) -> None:
        self._segmenter = Segmenter(bundle, "float32")

    def prepare(self, loaded: MetaTensor) -> MetaTensor:
        """Return a scan `(C, x, y, z)` as the locator takes it; `loaded` stays as it is."""
        return self._segmenter.prepare(loaded.clone())

    def found(self, coarse: MetaTensor) -> Edges | str:
        """Return the box around all components of the found region but the smallest; or why there is none.

        Args:
            coarse: from `prepare`.
        """
        plain = MetaTensor(coarse.as_tensor(), affine=coarse.affine)
        grid = Grid.from_affine(plain.shape[1:], np.asarray(coarse.affine, float))
        region = self._segmenter.segment(plain, grid).labels > 0
        parts, _ = ndimage.label(region, np.ones((3,) * region.ndim))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        kept = (sizes >= _FEWEST_VOXELS)[parts]
        if not kept.any():
            return NOTHING_FOUND
        edges = Edges.of(kept)
        if (edges.low < 0).any() or (edges.high > np.array(region.shape) - 1).any():
            return AT_BORDER
        return edges


def segment_located(
    segmenter: Segmenter,
    locator: Locator | None,
    image: MetaTensor,
    grid: Grid,
    coarse: MetaTensor | None,
    *,
    entropy: bool = False,
    probabilities: NDArray[np.float16] | None = None,
    uncertainty: bool = False,
    features: bool = False,
) -> Segmentation:
    """Segment the box that the locator finds, or the whole scan; without a locator the whole scan.

    Args:
        segmenter: of the run.
        locator: of the run; None without one.
        image: from `Segmenter.prepare`.
        grid: of the scan as read.
        coarse: from `Locator.prepare`.
        entropy: see `Segmenter.segment`; outside the box the background is certain.
        probabilities: see `Segmenter.segment`.
        uncertainty: see `Segmenter.segment`.
        features: see `Segmenter.segment`.

    Raises:
        SegpipeError: see `Segmenter.segment`.
    """

    def segmented(box: Box | None, located: str) -> Segmentation:
        done = segmenter.segment(
            image,
            grid,
            entropy=entropy,
            probabilities=probabilities,
            uncertainty=uncertainty,
            features=features,
            box=box,
        )
        return replace(done, located=NOT_STREAMED if done.fallback and located else located)

    if locator is None or coarse is None:
        return segmented(None, "")
    try:
        with torch.inference_mode():
            box = locator.box(coarse, image, segmenter.window_size(image))
    except CannotStreamError:
        box = NOT_STREAMED
    if isinstance(box, str):
        return segmented(None, box)
    share = np.prod([span.stop - span.start for span in box]) / np.prod(image.shape[1:])
    result = segmented(box, f"box: {share:.0%} of the scan")
    if result.fallback is None and reaches_face(
        result.labels, InverseMapping.of(image, grid.size, grid.affine), box
    ):
        return segmented(None, REACHES_FACE)
    return result


def reaches_face(labels: NDArray[np.integer], mapping: InverseMapping, box: Box) -> bool:
    """Return whether foreground lies at a face of the box that is not the scan's border.

    Args:
        labels: class indices `(x, y, z)` on the scan's grid.
        mapping: of the whole image.
        box: of the image.
    """
    if not labels.any():
        return False
    for axis, (whole, part) in enumerate(zip(mapping.axes, mapping.within(box).axes, strict=True)):
        planes = np.flatnonzero((labels > 0).any(axis=_others(axis, labels.ndim)))
        (first, last), (begin, end) = _reach(part), _reach(whole)
        if (first > begin and planes[0] < first + _NEAR) or (last < end and planes[-1] > last - _NEAR):
            return True
    return False


def spacing_of(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the spacing along each axis, mm."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def _others(axis: int, dims: int) -> tuple[int, ...]:
    return tuple(other for other in range(dims) if other != axis)


def _reach(axis: AxisMap) -> tuple[int, int]:
    """Return the first and the last plane of a scan that a mapping covers."""
    covered = np.flatnonzero(axis.lower_weight + axis.upper_weight > 0)
    return int(covered[0]), int(covered[-1])


def _span(low: float, high: float, length: int, window: int) -> tuple[int, int]:
    """Return whole voxels from `start` to before `stop`, at least a window of them where the image has as many."""
    start, stop = max(int(np.floor(low + 0.5)), 0), min(int(np.ceil(high + 0.5)), length)
    missing = min(window, length) - (stop - start)
    if missing > 0:
        start = min(max(start - missing // 2, 0), length - min(window, length))
        stop = start + min(window, length)
    return start, stop

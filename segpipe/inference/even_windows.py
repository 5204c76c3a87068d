"""Sliding windows as nnU-Net places and weighs them: evenly spread, with a Gaussian of numbers in half precision.

MONAI lays windows at a fixed step and the last one at the end of the scan. Its Gaussian is centred between the two
middle voxels of an even window, where nnU-Net's is centred on the second of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.utils import convert_to_dst_type, ensure_tuple_rep
from scipy import ndimage
from torch.nn import functional

from segpipe.errors import SegpipeError
from segpipe.inference.inferers import SliceInferer
from segpipe.inference.streaming import SlidingWindow

_SIGMA = 1 / 8  # of the Gaussian along each axis, as a share of the window
_PEAK = 10  # the largest weight; the smallest ones would be 0 in half precision


def even_starts(length: int, window: int, overlap: float) -> list[int]:
    """Return the first voxels of the fewest windows along one axis whose step is small enough, evenly spread.

    Args:
        length: voxels of the axis, at least those of a window.
        window: voxels of a window.
        overlap: least overlap of neighbouring windows, as a share of the window, 0 to below 1.

    Source: Isensee et al., Nature Methods 2021; `compute_steps_for_sliding_window` of nnU-Net 2.
    """
    count = math.ceil((length - window) / max(window * (1 - overlap), 1)) + 1
    step = (length - window) / max(count - 1, 1)
    return [round(step * place) for place in range(count)]


@lru_cache(maxsize=2)
def importance_map(roi_size: tuple[int, ...]) -> torch.Tensor:
    """Return the weight of each voxel of a window, float32 of shape `roi_size`, at most 10 and nowhere 0.

    The window's voxel at half its length has the largest weight. Weights are rounded to half precision, and those that
    become 0 get the smallest of the others, as in nnU-Net.

    Source: `compute_gaussian` of nnU-Net 2.
    """
    weights = np.zeros(roi_size)
    weights[tuple(length // 2 for length in roi_size)] = 1
    ndimage.gaussian_filter(
        weights, [length * _SIGMA for length in roi_size], mode="constant", output=weights
    )
    halved = (weights * (_PEAK / weights.max())).astype(np.float16)
    halved[halved == 0] = halved[halved > 0].min()
    return torch.from_numpy(halved.astype(np.float32))


class EvenWindow(SlidingWindow):
    """Windows of `even_starts` with the weights of `importance_map`."""

    def starts(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the first voxel of each window in a padded image."""
        axes = zip(size, self.roi_size, self.overlap, strict=True)
        return list(itertools.product(*(even_starts(*axis) for axis in axes)))

    def weights(self) -> torch.Tensor:
        """Return the weight of each voxel of a window."""
        return importance_map(tuple(self.roi_size))

    def box(self, start: Sequence[int]) -> tuple[slice, ...]:
        """Return the voxels of the window at a start."""
        return tuple(slice(begin, begin + roi) for begin, roi in zip(start, self.roi_size, strict=True))


class EvenWindowInferer(SlidingWindowInferer):  # type: ignore[misc]  # MONAI is untyped
    """A sliding window as nnU-Net's, for images of the network's own dimensions.

    Args:
        roi_size: voxels of a window along each axis; smaller images are padded with zeros.
        sw_batch_size: windows per batch.
        overlap: least overlap of neighbouring windows, as a share of the window.

    Raises:
        SegpipeError: a length of the window is below 1.
    """

    def __init__(self, roi_size: Sequence[int], sw_batch_size: int = 1, overlap: float = 0.5) -> None:
        if min(roi_size) < 1:
            raise SegpipeError(f"window_size is {list(roi_size)}, must be at least 1 voxel along each axis")
        super().__init__(tuple(roi_size), sw_batch_size, overlap, "gaussian")

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """Return scores `(B, C, *spatial)` of `network` for images with the same axes."""
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        scores = [self._scores(image, lambda windows: network(windows, *args, **kwargs)) for image in plain]
        return convert_to_dst_type(torch.stack(scores), inputs)[0]

    def _scores(self, image: torch.Tensor, network: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        size, roi = tuple(image.shape[1:]), tuple(self.roi_size)
        missing = [max(length - have, 0) for length, have in zip(roi, size, strict=True)]
        padded = functional.pad(image, [side for m in reversed(missing) for side in (m // 2, m - m // 2)])
        window = EvenWindow(roi, overlap=ensure_tuple_rep(self.overlap, len(roi)))
        weights = window.weights().to(image.device)
        boxes = [window.box(start) for start in window.starts(padded.shape[1:])]
        counts = torch.zeros(padded.shape[1:], device=image.device)
        sums: torch.Tensor | None = None
        for first in range(0, len(boxes), self.sw_batch_size):
            batch = boxes[first : first + self.sw_batch_size]
            answer = network(torch.stack([padded[(slice(None), *box)] for box in batch]))
            if sums is None:
                sums = torch.zeros((answer.shape[1], *counts.shape), device=image.device)
            for box, scores in zip(batch, answer, strict=True):
                sums[(slice(None), *box)] += scores * weights
                counts[box] += weights
        if sums is None:
            raise SegpipeError(f"an image of {size} voxels has no window; give a larger image")
        inside = (slice(m // 2, m // 2 + have) for m, have in zip(missing, size, strict=True))
        return (sums / counts)[(slice(None), *inside)]


class EvenSliceInferer(SliceInferer):
    """Windows as nnU-Net's for a 2D network, over slices, and over volumes slice by slice along the last axis.

    Args:
        roi_size: the window's two sides; smaller slices are padded with zeros.
        sw_batch_size: windows per batch; in a volume, a batch takes windows of neighbouring slices.
        overlap: least overlap of neighbouring windows, as a share of the window.
    """

    def __init__(self, roi_size: Sequence[int], sw_batch_size: int = 1, overlap: float = 0.5) -> None:
        super().__init__(roi_size, sw_batch_size, overlap)
        self.on_slices = EvenWindowInferer(roi_size, sw_batch_size, overlap)
        self.on_volumes = _SlicesOfVolumes((*roi_size, 1), sw_batch_size, overlap)


class _SlicesOfVolumes(EvenWindowInferer):
    """Gives a 2D network the slices of a volume along its last axis."""

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """Return scores `(B, C, x, y, z)` of `network` for volumes with the same axes."""

        def of_slices(windows: torch.Tensor) -> torch.Tensor:
            return network(windows.squeeze(-1), *args, **kwargs).unsqueeze(-1)

        return super().__call__(inputs, of_slices)

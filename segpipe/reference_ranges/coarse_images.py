"""Coarse images of scans, and their likeness to a mean coarse image: as stored, mirrored and turned."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from segpipe.reference_ranges.measure_kinds import FACING, LIKENESS

_BLOCKS = {2: 12, 3: 6}  # blocks along each axis, by number of spatial dimensions
_AXES = "xyz"


def coarse_image(image: torch.Tensor) -> NDArray[np.float32]:
    """Return the coarse image of a scan: block means, after uniform planes at the ends, such as padding, are cut off.

    Args:
        image: float `(C, x, y[, z])`.

    Returns:
        `(C, 12, 12)` or `(C, 6, 6, 6)`, each channel with mean 0 and norm 1.
    """
    for axis in range(1, image.ndim):
        planes = image.movedim(axis, 0).flatten(1)
        varied = torch.nonzero(planes.amax(dim=1) > planes.amin(dim=1)).flatten()
        if len(varied):
            first, last = int(varied[0]), int(varied[-1])
            image = image.narrow(axis, first, last - first + 1)
    dims = image.ndim - 1
    pool = functional.adaptive_avg_pool3d if dims == 3 else functional.adaptive_avg_pool2d
    blocks = pool(image[None], _BLOCKS[dims])[0]
    blocks = blocks - blocks.flatten(1).mean(dim=1).reshape(-1, *[1] * dims)
    norms = blocks.flatten(1).norm(dim=1).clamp_min(1e-6).reshape(-1, *[1] * dims)
    coarse: NDArray[np.float32] = (blocks / norms).numpy()
    return coarse


def require_coarse_image(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a mean coarse image from its JSON form, after checking it.

    Raises:
        ValueError: it does not have the form of a mean coarse image.
    """
    dims = coarse.ndim - 1
    sizes = (_BLOCKS.get(dims, 0),) * dims
    if not sizes or coarse.shape[1:] != sizes or not coarse.size or not np.isfinite(coarse).all():
        raise ValueError("its coarse image is not one")
    return coarse


def compared(coarse_images: NDArray[np.float32], mean: NDArray[np.float32]) -> dict[str, float]:
    """Compare coarse images with the mean coarse image of other scans.

    Args:
        coarse_images: `(n, C, ...)` of `coarse_image`; for several, such as slices, the median is returned.
        mean: `(C, ...)`, the mean coarse image.

    Returns:
        the likeness, a correlation from -1 to 1; and for each axis and each pair of axes, the likeness minus that of
        the image mirrored along the axis, or turned by a quarter in the plane of the pair.
    """
    likeness = _likeness(coarse_images, mean)
    axes = range(2, coarse_images.ndim)
    values = {LIKENESS: likeness}
    for axis in axes:
        values[f"{FACING}/mirrored along {_AXES[axis - 2]}"] = likeness - _likeness(
            np.flip(coarse_images, axis), mean
        )
    for pair in itertools.combinations(axes, 2):
        turned = [_likeness(np.rot90(coarse_images, times, pair), mean) for times in (1, 3)]
        names = " and ".join(_AXES[axis - 2] for axis in pair)
        values[f"{FACING}/turned in {names}"] = likeness - np.maximum(*turned)
    return {name: float(np.median(value)) for name, value in values.items()}


def _likeness(coarse_images: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the correlation of each coarse image with the mean, `(n,)`, averaged over the channels."""
    axes = tuple(range(1, mean.ndim))
    centred = mean - mean.mean(axis=axes, keepdims=True)
    norms = np.sqrt(np.square(centred).sum(axis=axes, keepdims=True))
    products = (coarse_images * centred / np.maximum(norms, 1e-6)).sum(
        axis=tuple(range(2, coarse_images.ndim))
    )
    return np.asarray(products.mean(axis=1), np.float64)

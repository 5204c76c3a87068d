"""A scan in coarse blocks, and how like those of others it is: as it lies, mirrored and turned."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from segpipe.reference_ranges.measure_kinds import FACING, LIKENESS

_BLOCKS = {2: 12, 3: 6}  # along each axis, by spatial dimensions
_AXES = "xyz"


def coarse_picture(image: torch.Tensor) -> NDArray[np.float32]:
    """Return an image in coarse blocks, without the planes at its ends in which nothing varies, such as padding.

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
    picture: NDArray[np.float32] = (blocks / norms).numpy()
    return picture


def require_picture(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a mean of pictures.

    Raises:
        ValueError: it is none.
    """
    dims = picture.ndim - 1
    sizes = (_BLOCKS.get(dims, 0),) * dims
    if not sizes or picture.shape[1:] != sizes or not picture.size or not np.isfinite(picture).all():
        raise ValueError("its picture is none")
    return picture


def compared(pictures: NDArray[np.float32], mean: NDArray[np.float32]) -> dict[str, float]:
    """Compare pictures with the mean of others.

    Args:
        pictures: `(n, C, ...)` of `coarse_picture`; of several, such as slices, the median counts.
        mean: `(C, ...)`.

    Returns:
        the likeness, a correlation from -1 to 1, and for each axis and pair of axes how much that is more than
        the likeness of the picture mirrored along the one, or turned by a quarter in the other.
    """
    own = _likeness(pictures, mean)
    axes = range(2, pictures.ndim)
    values = {LIKENESS: own}
    for axis in axes:
        values[f"{FACING}/mirrored along {_AXES[axis - 2]}"] = own - _likeness(np.flip(pictures, axis), mean)
    for pair in itertools.combinations(axes, 2):
        turned = [_likeness(np.rot90(pictures, times, pair), mean) for times in (1, 3)]
        names = " and ".join(_AXES[axis - 2] for axis in pair)
        values[f"{FACING}/turned in {names}"] = own - np.maximum(*turned)
    return {name: float(np.median(own)) for name, own in values.items()}


def _likeness(pictures: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the correlation of each picture with the mean, `(n,)`, averaged over the channels."""
    axes = tuple(range(1, mean.ndim))
    centred = mean - mean.mean(axis=axes, keepdims=True)
    norms = np.sqrt(np.square(centred).sum(axis=axes, keepdims=True))
    products = (pictures * centred / np.maximum(norms, 1e-6)).sum(axis=tuple(range(2, pictures.ndim)))
    return np.asarray(products.mean(axis=1), np.float64)

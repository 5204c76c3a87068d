"""Smooth noise of a given scale, the texture of all phantoms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def smooth_noise(
    random: np.random.Generator,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    scale_mm: float,
) -> NDArray[np.float64]:
    """Return noise of mean 0 and standard deviation 1 that changes over about `scale_mm`; it is periodic.

    Args:
        random: the source of randomness.
        shape: of the array, any number of axes.
        spacing_mm: between voxels along each axis.
        scale_mm: standard deviation of the Gaussian that white noise is smoothed with.
    """
    spectrum = np.fft.rfftn(random.normal(size=tuple(shape)))
    for axis, step in enumerate(spacing_mm):
        frequencies = np.fft.rfftfreq if axis == len(shape) - 1 else np.fft.fftfreq
        falloff = np.exp(-2 * (np.pi * scale_mm * frequencies(shape[axis], step)) ** 2)
        spectrum *= falloff.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    noise: NDArray[np.float64] = np.fft.irfftn(spectrum, s=tuple(shape), axes=range(len(shape)))
    return np.asarray((noise - noise.mean()) / noise.std())

"""The smoothed image whose label map is compared with the image's own: where they differ, the image says little."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

_SIGMA = 0.8  # voxels


def smoothed(image: torch.Tensor) -> torch.Tensor:
    """Return an image after a Gaussian of 0.8 voxels, with the mean and standard deviation of each channel as before.

    Args:
        image: the network's input, `(channels, x, y[, z])`.
    """
    values = image.detach().cpu().float().numpy()
    made = np.empty_like(values)
    for before, after in zip(values, made, strict=True):
        soft = ndimage.gaussian_filter(before, _SIGMA, mode="nearest")
        spread = soft.std()
        scale = before.std() / spread if spread > 0 else 1.0
        after[:] = (soft - soft.mean()) * scale + before.mean()
    return torch.from_numpy(made).to(image)

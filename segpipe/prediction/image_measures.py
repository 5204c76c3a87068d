"""Measures of an image that is classified, to compare it with the training cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.reference_ranges import Measures, image_measures, scan_measures
from segpipe.volumes import Grid

_FLAT = np.diag([-1.0, -1.0, 1.0, 1.0])


def measured_image(image: torch.Tensor, probabilities: NDArray[np.float64], *, exclusive: bool) -> Measures:
    """Return the measures of an image and of its classification.

    The image is measured as the network gets it: the mean of its channels. Its normalisation has fixed numbers, so that
    brightness counts.

    Args:
        image: `(C, rows, columns)`, the network's input.
        probabilities: `(names,)`, calibrated, 0 to 1.
        exclusive: exactly one name is true, so that the probabilities sum to 1.
    """
    grey = image.detach().float().cpu().mean(0, keepdim=True)
    pixels = grey.numpy()
    grid = Grid.from_affine(pixels.shape[1:], _FLAT)
    measured = image_measures(grey, by_slices=True)
    values = {**measured.values, **scan_measures(pixels, grid, by_slices=True)}
    values["doubt"] = _doubt(probabilities, exclusive=exclusive)
    return replace(measured, values=values)


def _doubt(probabilities: NDArray[np.float64], *, exclusive: bool) -> float:
    """Return the entropy of the classes, or the mean entropy of the findings: 0 certain, 1 uniform."""
    known = np.clip(probabilities, 1e-12, 1.0)
    if exclusive:
        return float(-(known * np.log(known)).sum() / np.log(len(known)))
    other = np.clip(1 - probabilities, 1e-12, 1.0)
    return float(-((known * np.log(known) + other * np.log(other)) / np.log(2)).mean())

"""The temperature that brings the probabilities of voxels closer to the observed shares, and its fit.

The temperature acts on probabilities as it would on logits: each is raised to the power of one over the temperature,
and all are divided by their sum. Labels stay as they are.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

_COLDEST, _HOTTEST = 0.2, 10.0  # temperatures outside say that the cases are too few
_LEAST = 3e-8  # probabilities are kept in half precision, whose smallest number is twice as large


def tempered(probabilities: torch.Tensor, temperature: float, *, exclusive: bool) -> torch.Tensor:
    """Return probabilities at a temperature.

    Args:
        probabilities: `(outputs, ...)`; all 0 outside the image, where they stay 0.
        temperature: above 0; 1 changes nothing.
        exclusive: the outputs are classes that exclude each other, not regions.
    """
    if temperature == 1:
        return probabilities
    raised = probabilities ** (1 / temperature)
    if exclusive:
        total = raised.sum(dim=0)
        return torch.where(total > 0, raised / total, torch.zeros_like(total))
    return raised / (raised + (1 - probabilities) ** (1 / temperature))


def fitted_temperature(
    probabilities: Sequence[NDArray[np.floating]], present: Sequence[NDArray[np.bool_]], *, exclusive: bool
) -> float:
    """Return the temperature with the smallest mean negative log-likelihood; every case counts the same.

    Args:
        probabilities: of the voxels of each case, `(outputs, voxels)`.
        present: whether the output is true of the voxel, of the same shapes.
        exclusive: see `tempered`.

    Returns:
        0.2 to 10; 1 if there is no voxel.
    """
    cases = [
        (torch.from_numpy(values.astype(np.float64)).clamp(_LEAST, 1), torch.from_numpy(true))
        for values, true in zip(probabilities, present, strict=True)
        if values.size
    ]
    if not cases:
        return 1.0

    def loss(log_temperature: float) -> float:
        losses = []
        for values, true in cases:
            likely = tempered(values, math.exp(log_temperature), exclusive=exclusive)
            likely = likely[true] if exclusive else torch.where(true, likely, 1 - likely)
            losses.append(float(-likely.clamp_min(_LEAST).log().mean()))
        return sum(losses) / len(losses)

    found = minimize_scalar(loss, bounds=(math.log(_COLDEST), math.log(_HOTTEST)), method="bounded")
    return round(math.exp(float(found.x)), 4)

"""The expected calibration error, its floor, and the bins of a reliability diagram.

Source: Naeini et al., AAAI 2015; Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BINS = 15
"""Number of bins of equal width."""
_SIMULATIONS = 1000
_SIMULATED_AT_ONCE = 2**18  # images, over several simulations


@dataclass(frozen=True)
class Floor:
    """The expected calibration error that perfectly calibrated probabilities show on so few images.

    Attributes:
        mean: mean over simulations.
        high: the 95 % of the simulations below; a larger error is a sign of wrong probabilities.
    """

    mean: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """The bins of a reliability diagram that have an image.

    Attributes:
        confidence: mean probability in each bin.
        share: share of the images in each bin of which the statement is true.
        images: number of images in each bin.
    """

    confidence: Array
    share: Array
    images: NDArray[np.int64]


def calibration_errors(confidence: Array, correct: Array, weights: Array) -> Array:
    """Return the expected calibration error of each weighting: the mean over images of the bins' differences.

    A bin's difference is the distance between its mean probability and its share of true statements.

    Args:
        confidence: `(N,)`, 0..1: probability of a statement about each image.
        correct: `(N,)`, 1 where the statement is true, else 0.
        weights: `(B, N)`, 0 or more.

    Returns:
        `(B,)`, 0..1; nan where a weighting has no image.
    """
    members = _members(confidence)
    differences = np.abs(weights @ (members * (correct - confidence)[:, None])).sum(axis=1)
    total = weights.sum(axis=1)
    errors: Array = np.divide(differences, total, out=np.full(len(total), np.nan), where=total > 0)
    return errors


def calibration_floor(confidence: Array, *, simulations: int = _SIMULATIONS, seed: int = 0) -> Floor:
    """Return the calibration error of perfect calibration: statements are drawn true with their own probability.

    Args:
        confidence: `(N,)`, 0..1.
        simulations: number of drawings.
        seed: seed of the drawing.

    Returns:
        The floor; nan without an image.
    """
    if not confidence.size:
        return Floor(float("nan"), float("nan"))
    random = np.random.default_rng(seed)
    used, members = np.unique(_bins(confidence), return_inverse=True)
    errors = []
    rows = max(_SIMULATED_AT_ONCE // confidence.size, 1)
    for first in range(0, simulations, rows):
        true = random.random((min(rows, simulations - first), confidence.size)) < confidence
        differences = (true - confidence) @ np.eye(len(used))[members]
        errors.append(np.abs(differences).sum(axis=1) / confidence.size)
    drawn = np.concatenate(errors)
    return Floor(float(drawn.mean()), float(np.quantile(drawn, 0.95)))


def reliability(confidence: Array, correct: Array) -> Reliability:
    """Return the bins of a reliability diagram.

    Args:
        confidence: `(N,)`, 0..1.
        correct: `(N,)`, 1 where the statement is true, else 0.
    """
    members = _members(confidence)
    images = members.sum(axis=0)
    used = images > 0
    totals = np.stack([confidence, correct]) @ members
    means = totals[:, used] / images[used]
    return Reliability(means[0], means[1], images[used].astype(np.int64))


def _bins(confidence: Array) -> NDArray[np.intp]:
    """Return the bin of each probability: above its lower end, up to its upper end; the first bin has 0, too."""
    bins: NDArray[np.intp] = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(np.intp)
    return bins


def _members(confidence: Array) -> Array:
    members: Array = np.eye(BINS)[_bins(confidence)]
    return members

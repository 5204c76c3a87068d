"""Paired tests of two classifications of the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binom, rankdata

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DeLong:
    """The difference of two AUROCs on the same images.

    Attributes:
        difference: first AUROC minus second.
        standard_error: of the difference, 0 or more.
        p_value: two-sided; 1 where the two never order a pair of images differently.
    """

    difference: float
    standard_error: float
    p_value: float


def delong_test(first: Array, second: Array, present: NDArray[np.bool_]) -> DeLong:
    """Return DeLong's test of two AUROCs; the test takes images as independent, so one image a patient.

    Args:
        first: `(N,)`, probabilities of the first model.
        second: of the second model for the same images.
        present: `(N,)`, with at least two images of either kind.

    Source: DeLong et al., Biometrics 44:837, 1988; by ranks: Sun & Xu, IEEE Signal Processing Letters 21:1389, 2014.
    """
    of_positives, of_negatives = zip(
        *(_placements(scores, present) for scores in (first, second)), strict=True
    )
    difference = float(of_positives[0].mean() - of_positives[1].mean())
    variance = sum(
        float(np.var(values[0] - values[1], ddof=1)) / len(values[0])
        for values in (of_positives, of_negatives)
    )
    error = float(np.sqrt(variance))
    p_value = 2 * float(ndtr(-abs(difference) / error)) if error > 0 else float(difference == 0)
    return DeLong(difference, error, p_value)


def mcnemar_test(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the exact two-sided p-value of McNemar's test: are as many images right in the first model alone?

    Args:
        first: `(N,)`, whether the first model is right.
        second: of the second model for the same images.

    Source: McNemar, Psychometrika 12:153, 1947.
    """
    alone = sorted((int((first & ~second).sum()), int((second & ~first).sum())))
    return float(min(1.0, 2 * binom.cdf(alone[0], sum(alone), 0.5)))


def bootstrap_p_value(differences: Array) -> float:
    """Return the two-sided p-value of bootstrap differences: twice the smaller share on one side of 0.

    Args:
        differences: `(B,)`, difference in each bootstrap sample; nan is left out.

    Returns:
        0..1, at least 2 / (B + 1).
    """
    finite = differences[np.isfinite(differences)]
    sides = [int((finite <= 0).sum()), int((finite >= 0).sum())]
    return min(1.0, 2 * (min(sides) + 1) / (finite.size + 1))


def _placements(scores: Array, present: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return for each positive the share of negatives below it, and for each negative the share of positives above."""
    positives, negatives = scores[present], scores[~present]
    ranks = rankdata(np.concatenate([positives, negatives]))
    above = (ranks[: len(positives)] - rankdata(positives)) / len(negatives)
    below = 1 - (ranks[len(positives) :] - rankdata(negatives)) / len(positives)
    return above, below

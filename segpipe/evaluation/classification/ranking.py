"""AUROC, average precision and their curves, for many weightings of the images at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Ranking:
    """Images in the order of their probability of one class or finding; images of equal probability form a step.

    Args:
        probabilities: `(N,)`, finite.
        present: `(N,)`, whether the class or finding is true of the image.
    """

    def __init__(self, probabilities: Array, present: NDArray[np.bool_]) -> None:
        self._order = np.argsort(-probabilities, kind="stable")
        ranked = probabilities[self._order]
        self._steps = (
            np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True)) if len(ranked) else self._order
        )
        self._present = present[self._order].astype(np.float64)

    def counts(self, weights: Array) -> tuple[Array, Array]:
        """Return the weight of the true and of the false positives at each step, the most probable images first.

        Args:
            weights: `(B, N)`, 0 or more: how often each image counts, in B weightings.

        Returns:
            two arrays `(B, 1 + steps)`; the first entries are 0.
        """
        ordered = weights.T[self._order]  # rows of images: fast for the layout of `drawn_weights`
        both = np.cumsum(ordered, axis=0)[self._steps]
        ordered[self._present == 0] = 0.0
        hits = np.cumsum(ordered, axis=0)[self._steps]
        true, false = (np.pad(counts, ((1, 0), (0, 0))).T for counts in (hits, both - hits))
        return true, false

    def scores(self, weights: Array) -> tuple[Array, Array]:
        """Return AUROC and average precision of each weighting.

        The AUROC is the share of the pairs of a positive and a negative image in which the positive image has the
        larger probability; a tie counts one half. Average precision is the sum over the steps of precision times the
        gain in recall, without interpolation.

        Args:
            weights: `(B, N)`, see `counts`.

        Returns:
            two arrays `(B,)`, each 0..1; nan where the weighting has no positive image, and for the AUROC also where
            it has no negative image.
        """
        true, false = self.counts(weights)
        positives, negatives = true[:, -1], false[:, -1]
        gained = np.diff(true, axis=1)
        area = (np.diff(false, axis=1) * (true[:, 1:] + true[:, :-1]) / 2).sum(axis=1)
        precision = _ratio(true[:, 1:], true[:, 1:] + false[:, 1:], 0.0)
        return _ratio(area, positives * negatives), _ratio((gained * precision).sum(axis=1), positives)

    def roc(self, weights: Array, false_positive_rates: Array) -> Array:
        """Return the sensitivity at given false positive rates, `(B, points)`; straight between the steps.

        Args:
            weights: `(B, N)`, see `counts`; weightings without a positive or a negative image are left out.
            false_positive_rates: `(points,)`, 0..1 in ascending order.
        """
        true, false = self.counts(weights)
        rows = [
            np.interp(false_positive_rates, misses / misses[-1], hits / hits[-1])
            for hits, misses in zip(true, false, strict=True)
            if hits[-1] > 0 and misses[-1] > 0
        ]
        return np.array(rows).reshape(-1, len(false_positive_rates))

    def precision_recall(self, weights: Array, recalls: Array) -> Array:
        """Return the precision at the first step that reaches given recalls, `(B, points)`.

        Args:
            weights: `(B, N)`, see `counts`; weightings without a positive image are left out.
            recalls: `(points,)`, above 0, up to 1, in ascending order.
        """
        rows = []
        for hits, misses in zip(*self.counts(weights), strict=True):
            if hits[-1] > 0:
                at = np.searchsorted(hits, recalls * hits[-1] - 1e-9)
                rows.append(hits[at] / (hits[at] + misses[at]))
        return np.array(rows).reshape(-1, len(recalls))


def _ratio(numerator: Array, denominator: Array, empty: float = np.nan) -> Array:
    """Return a quotient; `empty` where the denominator is 0."""
    result: Array = np.divide(
        numerator, denominator, out=np.full(np.shape(numerator), empty), where=denominator > 0
    )
    return result

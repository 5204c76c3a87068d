"""ROC and precision-recall curves with their bootstrap bands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.classification.images import ClassifiedImages
from segpipe.evaluation.classification.ranking import Ranking
from segpipe.evaluation.classification.statistics import FEWEST_IMAGES, drawn_weights
from segpipe.evaluation.summary import CONFIDENCE

Array = NDArray[np.float64]
_POINTS = 101
_RESAMPLES = 1000


@dataclass(frozen=True)
class Curve:
    """A curve with its band.

    Attributes:
        across: `(points,)`: false positive rates, or recalls.
        value: `(points,)`: sensitivities, or precisions.
        low, high: ends of the 95 % band at each point; empty where there is none.
        chance: value of guessing: the diagonal of a ROC (nan), or the share of positives.
    """

    across: Array
    value: Array
    low: Array
    high: Array
    chance: float


def name_curves(images: ClassifiedImages, place: int, seed: int = 0) -> tuple[Curve, Curve] | None:
    """Return the ROC and the precision-recall curve of a class or finding; None without an image of either kind.

    Args:
        images: the images.
        place: index of the name.
        seed: seed of the bootstrap over patients.
    """
    known = images.known[:, place]
    present = images.present[known, place] > 0
    if present.all() or not present.any():
        return None
    ranking = Ranking(images.probabilities[known, place], present)
    rates, recalls = np.linspace(0, 1, _POINTS), np.linspace(0, 1, _POINTS)[1:]
    once = np.ones((1, len(present)))
    values = ranking.roc(once, rates)[0], ranking.precision_recall(once, recalls)[0]
    bands = [(np.empty(0), np.empty(0))] * 2
    if min(present.sum(), (~present).sum()) >= FEWEST_IMAGES and len(set(images.drawn)) > 1:
        drawn = [
            (ranking.roc(weights[:, known], rates), ranking.precision_recall(weights[:, known], recalls))
            for weights in drawn_weights(images.drawn, _RESAMPLES, seed)
        ]
        bands = [_band(np.concatenate([part[which] for part in drawn])) for which in (0, 1)]
    return (
        Curve(rates, values[0], *bands[0], float("nan")),
        Curve(recalls, values[1], *bands[1], float(present.mean())),
    )


def _band(drawn: Array) -> tuple[Array, Array]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail), axis=0)
    return low, high

"""All scores of classified images, for many weightings of the images at a time.

A weighting says how often each image counts: once in the scores themselves, as often as its patient was drawn in a
bootstrap sample. Two models with the same images and the same weightings have paired scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.classification.calibration_error import calibration_errors
from segpipe.evaluation.classification.images import ClassifiedImages
from segpipe.evaluation.classification.ranking import Ranking
from segpipe.evaluation.intervals import patient_draws

Array = NDArray[np.float64]

FEWEST_IMAGES = 10
"""A name with fewer images of either kind, present or absent, gets no intervals and is in no mean over names."""
RESAMPLES = 2000
_WEIGHTS_AT_ONCE = 2**18  # small enough for the processor's cache

NAME_METRICS = (
    "auroc",
    "auprc",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "brier",
    "ece",
    "ece_before",
)
"""Scores of one class against all others, or of one finding."""
OVERALL_METRICS = (
    "accuracy",
    "exact_match",
    "balanced_accuracy",
    "macro_auroc",
    "macro_auprc",
    "brier",
    "ece",
    "ece_before",
)
"""Scores over all classes, or over all findings; `exact_match` is of findings only."""
LOWER_IS_BETTER = ("brier", "ece", "ece_before")


@dataclass(frozen=True)
class Statistics:
    """Scores of B weightings of the images.

    Attributes:
        overall: metric in `OVERALL_METRICS` -> `(B,)`; nan where a weighting has no value.
        by_name: class or finding -> metric in `NAME_METRICS` -> `(B,)`.
    """

    overall: Mapping[str, Array]
    by_name: Mapping[str, Mapping[str, Array]]


def statistics(images: ClassifiedImages, weights: Array) -> Statistics:
    """Return all scores of each weighting.

    Args:
        images: the images.
        weights: `(B, N)`, 0 or more.
    """
    by_name = {name: _of_name(images, place, weights) for place, name in enumerate(images.categories.names)}
    means = {
        f"macro_{metric}": _mean(np.stack([by_name[name][metric] for name in averaged_names(images)]))
        for metric in ("auroc", "auprc")
    }
    of_task = _of_classes if images.categories.exclusive else _of_findings
    scores = {**of_task(images, by_name, weights), **means}
    return Statistics({metric: scores[metric] for metric in OVERALL_METRICS if metric in scores}, by_name)


def averaged_names(images: ClassifiedImages) -> tuple[str, ...]:
    """Return the names over which AUROC and AUPRC are averaged.

    These are the names with at least `FEWEST_IMAGES` images of either kind; all names where there is no such name.
    """
    names = images.categories.names
    enough = (fewest_of_a_kind(images) >= FEWEST_IMAGES).tolist()
    return tuple(name for name, is_enough in zip(names, enough, strict=True) if is_enough) or names


def fewest_of_a_kind(images: ClassifiedImages) -> NDArray[np.int64]:
    """Return for each name the number of images with it or without it, whichever is smaller, `(C,)`."""
    counts: NDArray[np.int64] = np.minimum(
        (images.present == 1).sum(axis=0), (images.present == 0).sum(axis=0)
    )
    return counts


def drawn_weights(units: tuple[str, ...], resamples: int = RESAMPLES, seed: int = 0) -> Iterator[Array]:
    """Yield bootstrap weightings of the images, `(some resamples, N)`: patients are drawn with all their images.

    Args:
        units: patient of each image.
        resamples: number of bootstrap samples.
        seed: seed of the drawing; equal seeds give equal weightings.
    """
    names, patient_of_image = np.unique(np.asarray(units, str), return_inverse=True)
    rows = max(_WEIGHTS_AT_ONCE // len(units), 1)
    for times in patient_draws(len(names), resamples, np.random.default_rng(seed)):
        for first in range(0, len(times), rows):
            yield times[first : first + rows].T[patient_of_image].T  # images are rows in memory


def joined(parts: list[Statistics]) -> Statistics:
    """Return the scores of several sets of weightings as one."""
    first = parts[0]
    return Statistics(
        {metric: np.concatenate([part.overall[metric] for part in parts]) for metric in first.overall},
        {
            name: {
                metric: np.concatenate([part.by_name[name][metric] for part in parts]) for metric in of_name
            }
            for name, of_name in first.by_name.items()
        },
    )


def _of_name(images: ClassifiedImages, place: int, weights: Array) -> dict[str, Array]:
    """Return the scores of one class against all others, or of one finding, over the images where it is known."""
    known = images.known[:, place]
    weights = weights if known.all() else weights.T[known].T
    present, decided = images.present[known, place], images.decided[known, place].astype(np.float64)
    probabilities = images.probabilities[known, place]
    auroc, auprc = Ranking(probabilities, present > 0).scores(weights)
    columns = np.stack([present * decided, present, decided, (1 - present) * (1 - decided)])
    hits, true, positive, absent_found = columns @ weights.T
    total = weights.sum(axis=1)
    scores = {
        "auroc": auroc,
        "auprc": auprc,
        "sensitivity": _ratio(hits, true),
        "specificity": _ratio(absent_found, total - true),
        "ppv": _ratio(hits, positive),
        "npv": _ratio(absent_found, total - positive),
        "brier": _ratio(weights @ (probabilities - present) ** 2, total),
        "ece": calibration_errors(probabilities, present, weights),
    }
    if images.before is not None:
        scores["ece_before"] = calibration_errors(images.before[known, place], present, weights)
    return scores


def _of_classes(
    images: ClassifiedImages, _: Mapping[str, Mapping[str, Array]], weights: Array
) -> dict[str, Array]:
    """Return the scores of the decision for one class: the most probable class counts, not the thresholds."""
    correct, total = images.correct.astype(np.float64), weights.sum(axis=1)
    of_class = weights @ images.present
    recalls = _ratio(weights @ (images.present * correct[:, None]), of_class)
    scores = {
        "accuracy": _ratio(weights @ correct, total),
        "balanced_accuracy": _mean(recalls.T),
        "brier": _ratio(weights @ ((images.probabilities - images.present) ** 2).sum(axis=1), total),
        "ece": calibration_errors(images.confidence, correct, weights),
    }
    before = images.confidence_before
    if before is not None:
        scores["ece_before"] = calibration_errors(before, correct, weights)
    return scores


def _of_findings(
    images: ClassifiedImages, by_name: Mapping[str, Mapping[str, Array]], weights: Array
) -> dict[str, Array]:
    """Return the scores of the decisions for all findings: means over the findings that count, see `averaged_names`."""
    known = images.known
    right = (images.decided == (images.present > 0)) & known
    chosen = [by_name[name] for name in averaged_names(images)]
    scores = {
        "accuracy": _ratio(weights @ right.sum(axis=1), weights @ known.sum(axis=1)),
        "exact_match": _ratio(weights @ images.correct, weights.sum(axis=1)),
        "balanced_accuracy": _mean(
            np.stack([(of_name["sensitivity"] + of_name["specificity"]) / 2 for of_name in chosen])
        ),
    }
    for metric in ("brier", "ece", "ece_before"):
        if metric in chosen[0]:
            scores[metric] = _mean(np.stack([of_name[metric] for of_name in chosen]))
    return scores


def _mean(rows: Array) -> Array:
    """Return the mean over the rows of the values that are known, `(B,)`; nan without a value."""
    known = ~np.isnan(rows)
    return _ratio(np.where(known, rows, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Return a quotient; nan where the denominator is 0."""
    result: Array = np.divide(
        numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0
    )
    return result

"""The scores of classified images with their intervals, and the files `metrics.csv` and `summary.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.confusion import confusion_matrix
from segpipe.evaluation.case_scores import METRICS_FILE
from segpipe.evaluation.classification.calibration_error import Floor, calibration_floor
from segpipe.evaluation.classification.cautions import cautions
from segpipe.evaluation.classification.image_table import metrics_csv
from segpipe.evaluation.classification.images import ClassifiedImages
from segpipe.evaluation.classification.score import Score
from segpipe.evaluation.classification.statistics import (
    FEWEST_IMAGES,
    RESAMPLES,
    Statistics,
    averaged_names,
    drawn_weights,
    joined,
    statistics,
)
from segpipe.evaluation.summary import CONFIDENCE, SUMMARY_FILE
from segpipe.files import write_json, write_text
from segpipe.labels import class_color

Array = NDArray[np.float64]
TASK = "classification"


@dataclass(frozen=True)
class NameSummary:
    """Scores of one class against all others, or of one finding.

    Attributes:
        scores: metric in `NAME_METRICS` -> score.
        images: number of images for which the truth is known.
        positives: number of images of which the name is true.
        floor: calibration error of perfect probabilities on these images.
        why_no_interval: why the scores have no intervals; empty where they have.
    """

    scores: Mapping[str, Score]
    images: int
    positives: int
    floor: Floor
    why_no_interval: str = ""


@dataclass(frozen=True)
class ClassificationSummary:
    """Scores of classified images.

    Attributes:
        overall: metric in `OVERALL_METRICS` -> score.
        by_name: class or finding -> its scores.
        averaged: names over which AUROC and AUPRC are averaged.
        floor: calibration error of perfect probabilities, as `overall["ece"]`.
        confusion: `(C, C)`, images of each true class (row) and decided class (column); None for findings.
        patients: number of patients; None where no patient is known.
        cautions: limits of the scores' validity, a sentence each.
    """

    overall: Mapping[str, Score]
    by_name: Mapping[str, NameSummary]
    averaged: tuple[str, ...]
    floor: Floor
    confusion: NDArray[np.int64] | None
    patients: int | None
    cautions: tuple[str, ...]


def summarise_images(
    images: ClassifiedImages, *, resamples: int = RESAMPLES, seed: int = 0
) -> ClassificationSummary:
    """Return all scores with their bootstrap intervals over patients.

    The interval spans the middle 95 % of the bootstrap samples, which draw whole patients. A proportion that is 0 or 1
    in every sample gets the exact interval of as many patients (Clopper & Pearson, Biometrika 26:404, 1934).

    Args:
        images: the images.
        resamples: number of bootstrap samples.
        seed: seed of the drawing.
    """
    once = statistics(images, np.ones((1, len(images.cases))))
    units = images.drawn
    several = len(set(units)) > 1
    drawn = (
        joined([statistics(images, weights) for weights in drawn_weights(units, resamples, seed)])
        if several
        else once
    )
    by_name = {
        name: _name_summary(images, place, once, drawn, several=several)
        for place, name in enumerate(images.categories.names)
    }
    averaged = averaged_names(images)
    has_intervals = several and not any(by_name[name].why_no_interval for name in averaged)
    overall = {}
    for metric, value in once.overall.items():
        is_known = several if metric in ("accuracy", "exact_match") else has_intervals
        if images.categories.exclusive and not metric.startswith("macro"):
            is_known = several
        draws = drawn.overall[metric] if is_known else None
        group = np.ones(len(units), bool) if metric in ("accuracy", "exact_match") else None
        overall[metric] = _score(float(value[0]), draws, _patients_of(units, group))
    confusion = None
    if images.chosen is not None:
        confusion = confusion_matrix(images.chosen, images.targets, images.categories.num)
    floors = [by_name[name].floor for name in averaged if by_name[name].images]
    floor = (
        calibration_floor(images.confidence)
        if images.chosen is not None
        else Floor(*np.mean([[one.mean, one.high] for one in floors], axis=0).tolist())
    )
    patients = len(set(images.patients)) if images.patients else None
    sentences = cautions(images, overall, {name: one.scores for name, one in by_name.items()})
    return ClassificationSummary(overall, by_name, averaged, floor, confusion, patients, tuple(sentences))


def _name_summary(
    images: ClassifiedImages, place: int, once: Statistics, drawn: Statistics, *, several: bool
) -> NameSummary:
    name = images.categories.names[place]
    present, decided = images.present[:, place], images.decided[:, place]
    known = ~np.isnan(present)
    positives = int((present == 1).sum())
    why = _why_no_interval(positives, int((present == 0).sum()), several)
    groups = {
        "sensitivity": present == 1,
        "specificity": present == 0,
        "ppv": decided & known,
        "npv": ~decided & known,
    }
    scores = {
        metric: _score(
            float(value[0]),
            None if why else drawn.by_name[name][metric],
            _patients_of(images.drawn, groups.get(metric)),
        )
        for metric, value in once.by_name[name].items()
    }
    floor = calibration_floor(images.probabilities[known, place])
    return NameSummary(scores, int(known.sum()), positives, floor, why)


def _why_no_interval(positives: int, negatives: int, several: bool) -> str:
    if not several:
        return "one patient: no interval"
    for number, what in ((positives, "positive"), (negatives, "negative")):
        if number < FEWEST_IMAGES:
            return f"{number} {what}{'' if number == 1 else 's'}: too few for an interval"
    return ""


def _patients_of(units: tuple[str, ...], group: NDArray[np.bool_] | None) -> int | None:
    """Return the number of patients that have an image of the group; None without a group: no proportion."""
    if group is None:
        return None
    return len({units[row] for row in np.flatnonzero(group)})


def _score(value: float, draws: Array | None, patients: int | None) -> Score:
    """Return a score with its interval.

    Args:
        value: the score of all images.
        draws: score of each bootstrap sample; None: no interval.
        patients: number of patients that a proportion is of; None for other scores.
    """
    finite = np.empty(0) if draws is None else draws[np.isfinite(draws)]
    if math.isnan(value) or 2 * finite.size < (0 if draws is None else draws.size) or not finite.size:
        return Score(value)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(finite, (tail, 1 - tail)).tolist()
    if patients and value in (0.0, 1.0) and low == high:
        farthest = tail ** (1 / patients)
        return Score(value, *((farthest, 1.0) if value else (0.0, 1 - farthest)))
    return Score(value, low, high)


def write_classification(
    images: ClassifiedImages,
    summary: ClassificationSummary,
    folder: Path,
    about: Mapping[str, Any],
    *,
    reasons: Mapping[str, str] | None = None,
    without_reference: tuple[str, ...] = (),
) -> None:
    """Write `metrics.csv`, see `image_table`, and `summary.json`.

    Args:
        images: the scored images.
        summary: their scores.
        folder: folder of the two files.
        about: what was scored and by what, in plain types.
        reasons: case -> why it has no score, for the other cases.
        without_reference: predictions without a known truth.
    """
    write_text(folder / METRICS_FILE, metrics_csv(images))
    write_json(
        folder / SUMMARY_FILE,
        {
            "task": TASK,
            "target": images.categories.target,
            "about": dict(about),
            "images": len(images.cases),
            "patients": summary.patients,
            "confidence": CONFIDENCE,
            "fewest_images_for_an_interval": FEWEST_IMAGES,
            "thresholds": None
            if images.thresholds is None
            else dict(zip(images.categories.names, images.thresholds, strict=True)),
            "overall": {
                **{metric: score.as_plain() for metric, score in summary.overall.items()},
                "ece_floor": _floor_plain(summary.floor),
            },
            "averaged_names": list(summary.averaged),
            "names": {
                name: {
                    "images": one.images,
                    "positives": one.positives,
                    "why_no_interval": one.why_no_interval or None,
                    **{metric: score.as_plain() for metric, score in one.scores.items()},
                    "ece_floor": _floor_plain(one.floor),
                }
                for name, one in summary.by_name.items()
            },
            "confusion": None if summary.confusion is None else summary.confusion.tolist(),
            "without_prediction": sorted(reasons or ()),
            "reasons": dict(sorted((reasons or {}).items())),
            "without_reference": list(without_reference),
            "colors": {
                name: list(class_color(place + 1)) for place, name in enumerate(images.categories.names)
            },
        },
    )


def _floor_plain(floor: Floor) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in vars(floor).items()}

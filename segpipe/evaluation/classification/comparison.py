"""The paired comparison of two classifications of the same images, with intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segpipe.errors import SegpipeError, counted, shown
from segpipe.evaluation.classification.images import Array, ClassifiedImages
from segpipe.evaluation.classification.paired import bootstrap_p_value, delong_test, mcnemar_test
from segpipe.evaluation.classification.score import Score
from segpipe.evaluation.classification.statistics import (
    FEWEST_IMAGES,
    LOWER_IS_BETTER,
    NAME_METRICS,
    OVERALL_METRICS,
    RESAMPLES,
    Statistics,
    drawn_weights,
    fewest_of_a_kind,
    joined,
    statistics,
)
from segpipe.evaluation.intervals import sign_flip_p_values
from segpipe.evaluation.summary import CONFIDENCE

OVERALL = "all together"
"""Key of the scores over all names; the row of no class or finding."""
BOOTSTRAP, DELONG, MCNEMAR, SIGN_FLIP = "bootstrap", "DeLong", "McNemar, exact", "sign flips by patient"
TITLES = {
    "accuracy": "accuracy",
    "exact_match": "all findings right",
    "balanced_accuracy": "balanced accuracy",
    "macro_auroc": "mean AUROC",
    "macro_auprc": "mean AUPRC",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "brier": "Brier score",
    "ece": "calibration error",
    "ece_before": "calibration error before temperature",
}
"""Name of each metric in tables and sentences."""
_LEVEL = 0.05  # of significance
_Z = 1.959963984540054  # 97.5 % of the normal distribution


@dataclass(frozen=True)
class PairedScore:
    """A metric of two models on the same images.

    Attributes:
        metric: name in `NAME_METRICS` or `OVERALL_METRICS`.
        name: class or finding, or `OVERALL`.
        scores: of the first and of the second model.
        difference: first minus second, with its interval.
        p_value: of the test; nan without a test.
        test: name of the test; empty without a test.
        images: number of images that count.
    """

    metric: str
    name: str
    scores: tuple[Score, Score]
    difference: Score
    p_value: float
    test: str
    images: int

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference is known and leaves out 0."""
        return self.difference.is_known and not self.difference.low <= 0 <= self.difference.high

    @property
    def better(self) -> int | None:
        """0 if the first model is better, 1 if the second model is; None where the images do not decide.

        A model is better if the interval leaves out 0, and the test agrees.
        """
        if not self.differs or not self.p_value <= _LEVEL:
            return None
        return int((self.difference.value > 0) == (self.metric in LOWER_IS_BETTER))

    @property
    def direction(self) -> str:
        """The first model against the second: "better", "worse", "no clear difference"; empty without a value."""
        if np.isnan(self.difference.value):
            return ""
        return {0: "better", 1: "worse", None: "no clear difference"}[self.better]

    def in_words(self, names: Sequence[str]) -> str:
        """Return a sentence.

        Args:
            names: of the two models.
        """
        what = f"{TITLES[self.metric]}, {self.name}"
        value, low, high = self.difference.value, self.difference.low, self.difference.high
        if np.isnan(value):
            return f"{what}: one of the two models has no value."
        higher, lower = names if value >= 0 else tuple(names)[::-1]
        ends = (low, high) if value >= 0 else (-high, -low)
        span = f"95 % interval {ends[0]:.3g} to {ends[1]:.3g}, " if self.difference.is_known else ""
        tested = f", {self.test}: p = {self.p_value:.2g}" if self.test else ""
        start = f"{what}: {higher} is {abs(value):.3g} above {lower} ({span}{counted(self.images, 'image')}{tested}): "
        if self.better is not None:
            return f"{start}{names[self.better]} is better."
        return f"{start}these images do not show which model is better."


@dataclass(frozen=True)
class ClassificationComparison:
    """Two models.

    Attributes:
        scores: class or finding, at first `OVERALL` -> metric -> the two models' scores.
        images: images of each model, in the same order, with the names in the same order.
        patients: number of patients; None where no patient is known.
        clustered: whether any patient has several images, so that the tests draw or flip whole patients.
    """

    scores: Mapping[str, Mapping[str, PairedScore]]
    images: tuple[ClassifiedImages, ClassifiedImages]
    patients: int | None
    clustered: bool


def compare_images(
    first: ClassifiedImages, second: ClassifiedImages, *, resamples: int = RESAMPLES, seed: int = 0
) -> ClassificationComparison:
    """Compare two models on the same images.

    DeLong's test and McNemar's test take images as independent. Where a patient has several images, differences of
    AUROC come from the bootstrap over patients, and the test of the accuracy flips the models of whole patients.

    Args:
        first: images of the first model.
        second: images of the second model.
        resamples: number of bootstrap samples.
        seed: seed of the drawing.

    Raises:
        SegpipeError: the kinds of target, the names, the cases, the patients or the true classes differ.
    """
    second = _matched(first, second)
    units = first.drawn if first.patients or not second.patients else second.drawn
    clustered = len(set(units)) < len(units)
    once = [statistics(images, np.ones((1, len(units)))) for images in (first, second)]
    drawn = once
    if len(set(units)) > 1:
        parts = [
            (statistics(first, weights), statistics(second, weights))
            for weights in drawn_weights(units, resamples, seed)
        ]
        drawn = [joined([part[which] for part in parts]) for which in (0, 1)]
    pair = (first, second)
    scores = {OVERALL: _overall(pair, once, drawn, units, clustered=clustered)}
    for place, name in enumerate(first.categories.names):
        scores[name] = _of_name(pair, place, once, drawn, clustered=clustered)
    known = first.patients is not None or second.patients is not None
    return ClassificationComparison(scores, pair, len(set(units)) if known else None, clustered)


def _overall(
    pair: tuple[ClassifiedImages, ClassifiedImages],
    once: Sequence[Statistics],
    drawn: Sequence[Statistics],
    units: Sequence[str],
    *,
    clustered: bool,
) -> dict[str, PairedScore]:
    scores = {}
    right = [images.correct for images in pair]
    by_image = "accuracy" if pair[0].categories.exclusive else "exact_match"
    for metric in OVERALL_METRICS:
        if not all(metric in one.overall for one in once):
            continue
        values = [float(one.overall[metric][0]) for one in once]
        score = _bootstrapped(metric, OVERALL, values, [one.overall[metric] for one in drawn], len(units))
        if metric == by_image and score.test:
            if clustered:
                ours, theirs = (one.astype(float)[:, None] for one in right)
                (p_value,) = sign_flip_p_values(ours, theirs, units)
                score = replace(score, p_value=p_value, test=SIGN_FLIP)
            else:
                score = replace(score, p_value=mcnemar_test(*right), test=MCNEMAR)
        scores[metric] = score
    return scores


def _of_name(
    pair: tuple[ClassifiedImages, ClassifiedImages],
    place: int,
    once: Sequence[Statistics],
    drawn: Sequence[Statistics],
    *,
    clustered: bool,
) -> dict[str, PairedScore]:
    name = pair[0].categories.names[place]
    known = pair[0].known[:, place]
    enough = int(fewest_of_a_kind(pair[0])[place]) >= FEWEST_IMAGES
    scores = {}
    for metric in NAME_METRICS:
        if not all(metric in one.by_name[name] for one in once):
            continue
        values = [float(one.by_name[name][metric][0]) for one in once]
        draws = [one.by_name[name][metric] for one in drawn] if enough else [np.empty(0)] * 2
        score = _bootstrapped(metric, name, values, draws, int(known.sum()))
        if metric == "auroc" and score.test and not clustered:
            ours, theirs = (images.probabilities[known, place] for images in pair)
            tested = delong_test(ours, theirs, pair[0].present[known, place] > 0)
            reach = _Z * tested.standard_error
            difference = Score(tested.difference, tested.difference - reach, tested.difference + reach)
            score = replace(score, difference=difference, p_value=tested.p_value, test=DELONG)
        scores[metric] = score
    return scores


def _bootstrapped(
    metric: str, name: str, values: Sequence[float], draws: Sequence[Array], images: int
) -> PairedScore:
    """Return the two scores with the intervals of the bootstrap; one sample or none gives no intervals."""
    first, second = (_score(value, of_model) for value, of_model in zip(values, draws, strict=True))
    between = draws[0] - draws[1]
    difference = _score(values[0] - values[1], between)
    if not difference.is_known:
        return PairedScore(metric, name, (first, second), difference, float("nan"), "", images)
    p_value = bootstrap_p_value(between)
    return PairedScore(metric, name, (first, second), difference, p_value, BOOTSTRAP, images)


def _score(value: float, draws: Array) -> Score:
    finite = draws[np.isfinite(draws)]
    if finite.size < 2 or 2 * finite.size < draws.size or np.isnan(value):
        return Score(value)
    tail = (1 - CONFIDENCE) / 2
    return Score(value, *np.quantile(finite, (tail, 1 - tail)).tolist())


def _matched(first: ClassifiedImages, second: ClassifiedImages) -> ClassifiedImages:
    """Return the second model's images in the order of the first model's images and names."""
    names, others = first.categories, second.categories
    if names.target != others.target:
        raise SegpipeError(
            f"comparison: one model was scored on one class an image, the other on findings ({names.target} and "
            f"{others.target}); compare two evaluations of one kind"
        )
    if {name.casefold() for name in names.names} != {name.casefold() for name in others.names}:
        raise SegpipeError(
            f"comparison: the names are {', '.join(names.names)} of one model and {', '.join(others.names)} of the "
            "other; must be the same: evaluate both on one manifest"
        )
    alone = [
        sorted(set(ours.cases) - set(theirs.cases)) for ours, theirs in ((first, second), (second, first))
    ]
    if any(alone):
        texts = [
            f"{counted(len(cases), 'image')} of the {which} model alone ({shown(cases, most=3)})"
            for which, cases in zip(("first", "second"), alone, strict=True)
            if cases
        ]
        raise SegpipeError(
            f"comparison: the images differ: {' and '.join(texts)}; evaluate both on the same cases"
        )
    place = {case: row for row, case in enumerate(second.cases)}
    rows = [place[case] for case in first.cases]
    columns = [others.index(name) for name in names.names]
    arranged = _arranged(second, rows, columns, first)
    unlike = ~np.isclose(first.present, arranged.present, equal_nan=True).all(axis=1)
    _refuse_unlike(first, arranged, np.flatnonzero(unlike).tolist(), "truths", "against the same references")
    if first.patients and arranged.patients:
        other = [
            row for row, (a, b) in enumerate(zip(first.patients, arranged.patients, strict=True)) if a != b
        ]
        _refuse_unlike(first, arranged, other, "patients", "with the same patients")
    return arranged


def _arranged(
    images: ClassifiedImages, rows: Sequence[int], columns: Sequence[int], like: ClassifiedImages
) -> ClassifiedImages:
    grid = np.ix_(rows, columns)
    chosen = images.chosen
    return replace(
        images,
        cases=like.cases,
        patients=None if images.patients is None else tuple(images.patients[row] for row in rows),
        categories=like.categories,
        probabilities=images.probabilities[grid],
        present=images.present[grid],
        decided=images.decided[grid],
        chosen=None if chosen is None else np.array([columns.index(int(chosen[row])) for row in rows]),
        before=None if images.before is None else images.before[grid],
        thresholds=None if images.thresholds is None else tuple(images.thresholds[one] for one in columns),
        files=tuple(images.files[row] for row in rows) if images.files else (),
        warnings=tuple(images.warnings[row] for row in rows) if images.warnings else (),
    )


def _refuse_unlike(
    first: ClassifiedImages, second: ClassifiedImages, rows: Sequence[int], what: str, remedy: str
) -> None:
    if rows:
        row = rows[0]
        of_both = (
            f" ({first.truth_in_words(row)} and {second.truth_in_words(row)})" if what == "truths" else ""
        )
        raise SegpipeError(
            f"comparison: {first.cases[row]} has different {what} in the two evaluations{of_both}, as have "
            f"{len(rows) - 1} other images; evaluate both {remedy}"
        )

"""The paired comparison of two models on the same cases, with intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError, counted, shown
from segpipe.evaluation.case_scores import MEAN_OF_CLASSES, CaseScores
from segpipe.evaluation.intervals import Interval, mean_intervals, paired_differences, sign_flip_p_values
from segpipe.evaluation.metrics import METRICS

T = TypeVar("T")
_LOWER_IS_BETTER = ("hd95_mm", "asd_mm", "volume_error_ml", "volume_error_percent")
_OF_ITS_SIZE = ("volume_error_ml", "volume_error_percent")  # compared by absolute value
_LEVEL = 0.05  # of significance
_UNITS = {"hd95_mm": " mm", "asd_mm": " mm", "volume_error_ml": " ml", "volume_error_percent": " %"}


@dataclass(frozen=True)
class Difference:
    """A metric of one class, first model minus second model, over the cases in which both have a finite value.

    Attributes:
        metric: name in `METRICS`; volume errors are compared by absolute value.
        class_name: the class, or `MEAN_OF_CLASSES`.
        interval: mean difference with its interval.
        p_value: see `sign_flip_p_values`.
        failed: for each model, the number of cases in which this model failed and the other model has a value. A
            failure is an infinite distance, or the precision of an empty prediction.
    """

    metric: str
    class_name: str
    interval: Interval
    p_value: float
    failed: tuple[int, int] = (0, 0)

    @property
    def ahead(self) -> int:
        """0 if the first model has the better mean, 1 if the second model has."""
        return int((self.interval.mean > 0) == (self.metric in _LOWER_IS_BETTER))

    @property
    def better(self) -> int | None:
        """0 if the first model is better, 1 if the second model is; None where the cases do not decide.

        A model is better if the interval leaves out 0, the sign-flip test agrees, and `failed` of this model is 0.
        """
        if not self.differs or self.p_value > _LEVEL or self.failed[self.ahead]:
            return None
        return self.ahead

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference is known and leaves out 0."""
        interval = self.interval
        return interval.is_known and not interval.low <= 0 <= interval.high

    @property
    def direction(self) -> str:
        """The first model against the second: "better", "worse", "no clear difference"; empty without a case."""
        if not self.interval.cases:
            return ""
        return {0: "better", 1: "worse", None: "no clear difference"}[self.better]

    def in_words(self, names: Sequence[str]) -> str:
        """Return a sentence.

        Args:
            names: of the two models.
        """
        interval, unit = self.interval, _UNITS.get(self.metric, "")
        what = f"{_title(self.metric)}, {self.class_name}"
        if not interval.cases:
            return f"{what}: no case has a value for both models."
        whose = counted(interval.cases, "case")
        if interval.patients < interval.cases:
            whose += f" of {counted(interval.patients, 'patient')}"
        if not interval.is_known:
            return f"{what}: {interval.mean:+.3g}{unit} for {names[0]} in {whose}: too few patients for an interval."
        if interval.low == interval.high == 0:
            return f"{what}: no difference in {whose}."
        size = f"{abs(interval.mean):.3g}{unit}"
        ends = sorted(
            (interval.low, interval.high) if interval.mean >= 0 else (-interval.high, -interval.low)
        )
        span = f"95 % interval {ends[0]:.3g} to {ends[1]:.3g}, {whose}"
        higher, lower = names if interval.mean >= 0 else tuple(names)[::-1]
        start = f"{what}: {higher} is {size} above {lower} ({span}): "
        if self.better is not None:
            return f"{start}{names[self.better]} is better."
        failed = self.failed[self.ahead]
        if failed:
            return (
                f"{start}this leaves out {counted(failed, 'case')} in which {names[self.ahead]} has no value, "
                "because it missed the structure or predicted one that the reference lacks: neither is called "
                "better."
            )
        unsure = ""
        if self.differs:
            unsure = f"the interval leaves out 0, but a sign-flip test says p = {self.p_value:.2g}: "
        return f"{start}{unsure}these cases do not show which model is better."


@dataclass(frozen=True)
class Comparison:
    """Two models.

    Attributes:
        differences: class -> metric -> difference; `MEAN_OF_CLASSES` is the last class.
        means: for each model, class -> metric -> mean over the shared cases for which the model has a value.
        values: for each model, `(cases, metrics, classes)`; the mean of classes is last, volume errors are absolute.
        cases: cases that have scores of both models.
        patients: patient of each case; None where the patient is not known.
        only_first: cases that only the first model has scores for.
        only_second: cases that only the second model has scores for.
    """

    differences: Mapping[str, Mapping[str, Difference]]
    means: tuple[Mapping[str, Mapping[str, Interval]], ...]
    values: tuple[NDArray[np.float64], ...]
    cases: tuple[str, ...]
    patients: tuple[str, ...] | None
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare(first: CaseScores, second: CaseScores) -> Comparison:
    """Compare two models' scores case by case.

    Args:
        first: scores of the first model.
        second: scores of the second model, for the same classes.

    Raises:
        SegpipeError: the classes differ, no case has scores of both models, or the patients of a case differ.
    """
    if set(first.class_names) != set(second.class_names):
        raise SegpipeError(
            f"comparison: the classes are {', '.join(first.class_names)} of one model and "
            f"{', '.join(second.class_names)} of the other; must be the same: score both with one --labels, "
            "or give both the same values (--prediction-value and --reference-value of `segpipe evaluate`)"
        )
    of_both = set(first.cases) & set(second.cases)
    cases = tuple(case for case in first.cases if case in of_both)
    if not cases:
        raise SegpipeError(
            f"comparison: no case was scored for both models: {shown(first.cases, most=3)} against "
            f"{shown(second.cases, most=3)}"
        )
    (ours, patients), (theirs, others) = (
        _chosen(scores, cases, first.class_names) for scores in (first, second)
    )
    if first.patients and second.patients and patients != others:
        case = next(case for case, a, b in zip(cases, patients, others, strict=True) if a != b)
        raise SegpipeError(
            f"comparison: {case} has different patients in the two evaluations; score both with one --patient"
        )
    drawn = patients if first.patients else others
    names = (*first.class_names, MEAN_OF_CLASSES)
    differences = _by_class(paired_differences(ours, theirs, drawn), names)
    p_values = _by_class(sign_flip_p_values(ours, theirs, drawn), names)
    failures = [
        _by_class(_failures(scores, other, len(names)), names)
        for scores, other in ((ours, theirs), (theirs, ours))
    ]
    return Comparison(
        {
            name: {
                metric: Difference(
                    metric,
                    name,
                    interval,
                    p_values[name][metric],
                    (failures[0][name][metric], failures[1][name][metric]),
                )
                for metric, interval in of_class.items()
            }
            for name, of_class in differences.items()
        },
        means=tuple(_by_class(mean_intervals(scores, drawn), names) for scores in (ours, theirs)),
        values=tuple(scores.reshape(len(cases), len(METRICS), len(names)) for scores in (ours, theirs)),
        cases=cases,
        patients=drawn if first.patients or second.patients else None,
        only_first=tuple(case for case in first.cases if case not in of_both),
        only_second=tuple(case for case in second.cases if case not in of_both),
    )


def _failures(scores: NDArray[np.float64], other_scores: NDArray[np.float64], classes: int) -> list[int]:
    """Return for each column the number of cases in which the first model failed and the other model has a value."""
    precision = np.repeat([metric == "precision" for metric in METRICS], classes)
    failed = np.isinf(scores) | (np.isnan(scores) & precision)
    return list(map(int, (failed & np.isfinite(other_scores)).sum(axis=0)))


def _by_class(columns: Sequence[T], names: Sequence[str]) -> dict[str, dict[str, T]]:
    """Return class -> metric -> the element of `columns`, which are in the order of `_chosen`."""
    elements = iter(columns)
    by_metric = {metric: {name: next(elements) for name in names} for metric in METRICS}
    return {name: {metric: by_metric[metric][name] for metric in METRICS} for name in names}


def _chosen(
    scores: CaseScores, cases: Sequence[str], class_names: Sequence[str]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the scores of the cases, one column per metric and class, and the units that the bootstrap draws.

    The mean of classes is the last class. Volume errors are absolute values.
    """
    place = {case: row for row, case in enumerate(scores.cases)}
    rows = [place[case] for case in cases]
    values = scores.values[rows][:, :, [scores.class_names.index(name) for name in class_names]]
    sizes = [METRICS.index(name) for name in _OF_ITS_SIZE]
    values[:, sizes] = np.abs(values[:, sizes])
    chosen = CaseScores(tuple(cases), None, tuple(class_names), values)
    columns = np.concatenate([values, chosen.class_means[:, :, None]], axis=2)
    return columns.reshape(len(cases), -1), tuple(scores.drawn[row] for row in rows)


def _title(metric: str) -> str:
    return {
        "hd95_mm": "HD95",
        "asd_mm": "average surface distance",
        "iou": "IoU",
        "dice": "Dice",
        "volume_error_ml": "size of the volume error",
        "volume_error_percent": "size of the volume error",
        "lesion_f1": "lesion-wise F1",
        "surface_dice": "surface Dice",
    }.get(metric, metric)

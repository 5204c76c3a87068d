"""Bootstrap intervals of means over patients, and the paired difference of two models on the same cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from segpipe.errors import SegpipeError

Array = NDArray[np.float64]
_DRAWN_AT_ONCE = 2**22  # patients, over several resamples
_MOST_ENUMERATED = 13  # patients for which the test takes all combinations of signs
FEW_PATIENTS = 10
"""With fewer patients, bootstrap intervals are too narrow: at most nine in ten contain the true mean."""


@dataclass(frozen=True)
class Interval:
    """A mean over cases with its bootstrap interval over patients.

    Attributes:
        mean: mean over the cases that have a finite value; nan without such a case.
        low, high: ends of the interval; nan where fewer than two patients have a value.
        cases: number of cases that have a finite value.
        patients: number of patients of these cases.
        infinite: number of cases that have an infinite value, such as the surface distance of a missed structure. The
            mean leaves these cases out: report their number beside the mean.
    """

    mean: float
    low: float
    high: float
    cases: int
    patients: int
    infinite: int = 0

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        return not np.isnan(self.low)

    @property
    def is_narrow(self) -> bool:
        """Whether the interval is known, but too narrow because it has so few patients."""
        return self.is_known and self.patients < FEW_PATIENTS


def mean_intervals(
    values: ArrayLike,
    patients: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> list[Interval]:
    """Return the mean of each column over the cases with its bootstrap interval.

    The bootstrap draws whole patients with all their cases: cases of one patient are alike, and single cases would make
    the interval too narrow. The interval is bias-corrected and accelerated (BCa).

    Args:
        values: `(cases, columns)`; nan is a missing value.
        patients: patient of each case.
        confidence: confidence of the interval, 0..1.
        resamples: number of bootstrap samples.
        seed: seed of the drawing; equal seeds give equal intervals.

    Returns:
        One interval per column.

    Raises:
        SegpipeError: the numbers of cases differ.

    Source: Efron, Journal of the American Statistical Association 82:171, 1987.
    """
    table = np.array(values, np.float64, ndmin=2)
    if len(table) != len(patients):
        raise SegpipeError(
            f"interval: {len(table)} cases and {len(patients)} patients; must be a patient for each case"
        )
    _, patient_of_case = np.unique(np.asarray(patients, str), return_inverse=True)
    finite = np.isfinite(table)
    counts, sums = (
        np.stack([np.bincount(patient_of_case, column) for column in addends.T], axis=1).astype(np.float64)
        for addends in (finite, np.where(finite, table, 0.0))
    )
    low, high = np.full((2, table.shape[1]), np.nan)
    for having, columns in _alike(counts > 0):
        if having.sum() > 1:
            chosen = np.ix_(np.flatnonzero(having), columns)
            low[columns], high[columns] = _bca(sums[chosen], counts[chosen], confidence, resamples, seed)
    cases = finite.sum(axis=0)
    means = np.divide(sums.sum(axis=0), cases, out=np.full(len(cases), np.nan), where=cases > 0)
    return [
        Interval(
            mean=float(means[column]),
            low=float(low[column]),
            high=float(high[column]),
            cases=int(cases[column]),
            patients=int((counts[:, column] > 0).sum()),
            infinite=int(np.isinf(table[:, column]).sum()),
        )
        for column in range(len(cases))
    ]


def paired_differences(
    first: ArrayLike, second: ArrayLike, patients: Sequence[str], *, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Return the mean of first minus second over the cases in which both have a finite value, with its interval.

    Args:
        first: `(cases, columns)`, values of the first model.
        second: values of the second model for the same cases.
        patients: patient of each case.
        confidence: confidence of the interval, 0..1.
        seed: seed of the drawing.

    Returns:
        One interval per column.

    Raises:
        SegpipeError: the numbers of cases differ.
    """
    return mean_intervals(_differences(first, second), patients, confidence=confidence, seed=seed)


def sign_flip_p_values(
    first: ArrayLike, second: ArrayLike, patients: Sequence[str], *, resamples: int = 9999, seed: int = 0
) -> list[float]:
    """Return two-sided p-values of a sign-flip test: neither of two models is better.

    The test flips the sign of each patient's differences at random; with few patients it takes all combinations of
    signs. The test keeps its level with few patients, where bootstrap intervals leave out 0 too often.

    Args:
        first: `(cases, columns)`, values of the first model.
        second: values of the second model for the same cases.
        patients: patient of each case.
        resamples: number of random flips, where the test does not take all combinations.
        seed: seed of the flips.

    Returns:
        One p-value per column, over the cases in which both models have a finite value; 1 without such a case.

    Raises:
        SegpipeError: the numbers of cases differ.

    Source: Fisher, The Design of Experiments, 1935; Pitman, Biometrika 29:322, 1938.
    """
    differences = np.nan_to_num(_differences(first, second))
    _, patient_of_case = np.unique(np.asarray(patients, str), return_inverse=True)
    sums = np.stack([np.bincount(patient_of_case, column) for column in differences.T], axis=1)
    observed = np.abs(sums.sum(axis=0)) - 1e-9 * np.abs(sums).sum(
        axis=0
    )  # the order of a sum must not decide
    as_far, drawn = np.zeros(sums.shape[1]), 0
    for signs in _signs(len(sums), resamples, np.random.default_rng(seed)):
        as_far += (np.abs(signs @ sums) >= observed).sum(axis=0)
        drawn += len(signs)
    itself = 0 if len(sums) <= _MOST_ENUMERATED else 1
    return list(map(float, (as_far + itself) / (drawn + itself)))


def _differences(first: ArrayLike, second: ArrayLike) -> Array:
    """Return the first model's values minus the second's; nan where a model has no finite value."""
    ours, theirs = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if ours.shape != theirs.shape:
        raise SegpipeError(
            f"comparison: {len(ours)} cases of one model and {len(theirs)} of the other; must be the same cases"
        )
    both = np.isfinite(ours) & np.isfinite(theirs)
    differences: Array = np.subtract(ours, theirs, out=np.full(ours.shape, np.nan), where=both)
    return differences


def _signs(patients: int, resamples: int, random: np.random.Generator) -> Iterator[Array]:
    """Yield the sign 1 or -1 of each patient, `(some resamples, patients)`."""
    if patients <= _MOST_ENUMERATED:
        turned = np.arange(2**patients)[:, None] >> np.arange(patients) & 1
        yield 1 - 2 * turned.astype(np.float64)
        return
    rows = max(_DRAWN_AT_ONCE // patients, 1)
    for first in range(0, resamples, rows):
        turned = random.integers(2, size=(min(rows, resamples - first), patients))
        yield 1 - 2 * turned.astype(np.float64)


def _alike(having: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Yield groups of columns in which the same patients have a value: the patients, then the columns."""
    patterns, which = np.unique(having, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        yield pattern, np.flatnonzero(which.ravel() == number)


def _bca(sums: Array, counts: Array, confidence: float, resamples: int, seed: int) -> tuple[Array, Array]:
    """Return both ends of each column's interval.

    Args:
        sums: `(patients, columns)`, sum of each patient's values.
        counts: number of values in each sum, each above 0.
        confidence: confidence of the interval, 0..1.
        resamples: number of bootstrap samples.
        seed: seed of the drawing.
    """
    drawn = np.concatenate(
        [
            times @ sums / (times @ counts)
            for times in patient_draws(len(sums), resamples, np.random.default_rng(seed))
        ]
    )
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    without = (sums.sum(axis=0) - sums) / (counts.sum(axis=0) - counts)
    apart = without.mean(axis=0) - without
    spread = (apart**2).sum(axis=0) ** 1.5
    skewness = np.divide((apart**3).sum(axis=0), 6 * spread, out=np.zeros_like(spread), where=spread > 0)
    equal = np.isclose(drawn, mean, rtol=1e-9, atol=0)  # nearly equal: the order of a sum must not decide
    bias = ndtri(((drawn < mean) & ~equal).mean(axis=0) + equal.mean(axis=0) / 2)
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        shifted = bias + ndtri(tail)
        share = np.where(np.isfinite(bias), ndtr(bias + shifted / (1 - skewness * shifted)), tail)
        ends.append(np.array([np.quantile(column, q) for column, q in zip(drawn.T, share, strict=True)]))
    return ends[0], ends[1]


def patient_draws(patients: int, resamples: int, random: np.random.Generator) -> Iterator[Array]:
    """Yield how often each patient is drawn in bootstrap samples, `(some resamples, patients)`.

    Args:
        patients: number of patients, 1 or more.
        resamples: number of bootstrap samples.
        random: generator of the drawing.
    """
    rows = max(_DRAWN_AT_ONCE // patients, 1)
    for first in range(0, resamples, rows):
        number = min(rows, resamples - first)
        drawn = random.integers(patients, size=(number, patients)) + patients * np.arange(number)[:, None]
        yield (
            np.bincount(drawn.ravel(), minlength=number * patients)
            .reshape(number, patients)
            .astype(np.float64)
        )

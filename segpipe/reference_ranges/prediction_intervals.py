"""Prediction intervals: where the measures of a new patient's scan are expected, given those of some patients.

The interval of one measure is that of a normal distribution whose mean and standard deviation are estimated, by
Student's t with one degree of freedom less than there are patients (Hahn & Meeker, Statistical Intervals, 1991, section
4.6). The chance of a value outside is shared by all measures (Bonferroni). Measures are not quite normal, so the
intervals are then widened until patients who are left out one by one lie inside as often as a new patient should, as in
the jackknife+ (Barber et al., Ann. Stat. 49, 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FEWEST_PATIENTS = 5
_LEFT_OUT = 200  # patients that are left out in turn


@dataclass(frozen=True)
class PredictionIntervals:
    """Prediction intervals of several measures.

    Attributes:
        centre: `(measures,)`, mean over the patients; NaN for a measure that fewer than `FEWEST_PATIENTS` have.
        half_width: `(measures,)`, of the interval on either side of the centre.
    """

    centre: NDArray[np.float64]
    half_width: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        table: NDArray[np.float64],
        patients: Sequence[str],
        chance: float,
        least: NDArray[np.float64],
    ) -> PredictionIntervals:
        """Estimate the intervals; every patient counts the same, however many scans there are of it.

        Args:
            table: `(scans, measures)`; NaN: not known.
            patients: patient of each scan.
            chance: chance that at least one measure of a new patient's scan lies outside, if measures are normal.
            least: `(measures,)`, half the width that an interval has for many patients whose values are all equal.
        """
        _, patient_of = np.unique(np.asarray(list(patients)), return_inverse=True)
        known = ~np.isnan(table)
        scans_of = np.stack(
            [np.bincount(patient_of, weights=column) for column in known.T.astype(float)], axis=1
        )
        weights = np.where(known, 1 / np.maximum(scans_of[patient_of], 1), 0)  # each patient's sum is 1, or 0
        number = (scans_of > 0).sum(axis=0)
        enough = number >= FEWEST_PATIENTS
        values = np.where(known, table, 0)
        centre = (weights * values).sum(axis=0) / np.maximum(number, 1)
        squares = (weights * np.where(known, values - centre, 0) ** 2).sum(axis=0)
        spread = np.sqrt(squares / np.maximum(number - 1, 1))
        share = chance / max(int(enough.sum()), 1)
        many = float(stats.norm.isf(share / 2))
        few = stats.t.isf(share / 2, np.maximum(number - 1, 1)) * np.sqrt(1 + 1 / np.maximum(number, 1))
        half_width = few * np.maximum(spread, least / many)
        return cls(np.where(enough, centre, np.nan), np.where(enough, half_width, np.nan))

    def beyond(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far values `(..., measures)` lie from the centre, in half widths; 0 where not known."""
        return np.nan_to_num((table - self.centre) / self.half_width)


def widening(
    table: NDArray[np.float64],
    patients: Sequence[str],
    chance: float,
    least: NDArray[np.float64],
    sides: NDArray[np.bool_],
) -> float:
    """Return the factor by which intervals have to be widened so that left-out patients lie inside often enough.

    Args:
        table: see `PredictionIntervals.of`.
        patients: see there.
        chance: see there.
        least: see there.
        sides: `(2, measures)`, whether values below and above the interval count.

    Returns:
        at least 1. With fewer than `1 / chance` patients no patient may lie outside.
    """
    names = np.asarray(list(patients))
    farthest = []
    unique = np.unique(names)
    places = np.linspace(0, len(unique) - 1, min(len(unique), _LEFT_OUT)).round().astype(int)
    for patient in unique[places]:
        others = names != patient
        if len(np.unique(names[others])) < FEWEST_PATIENTS:
            return 1.0
        rest = PredictionIntervals.of(table[others], names[others].tolist(), chance, least)
        beyond = rest.beyond(table[~others])
        below, above = (np.where(side, part, 0) for side, part in zip(sides, (-beyond, beyond), strict=True))
        farthest.append(float(np.maximum(below, above).max()))
    rank = min(math.ceil((1 - chance) * (len(farthest) + 1)), len(farthest))
    return max(sorted(farthest)[rank - 1], 1.0)

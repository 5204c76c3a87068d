"""Median regression on features, of which most have a known direction, by linear programming."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MedianRegression:
    """A linear function that never falls where a feature of known direction rises.

    Attributes:
        intercept: value at the features' centres.
        slopes: `(features,)`, per unit of a feature; 0 or above where the direction is known.
        centres: `(features,)`, the features' medians in the fitted cases.
    """

    intercept: float
    slopes: tuple[float, ...]
    centres: tuple[float, ...]

    @classmethod
    def of(
        cls, features: Array, values: Array, weights: Array, rising: Sequence[bool] | None = None
    ) -> MedianRegression:
        """Fit the function with the smallest weighted sum of absolute errors.

        A penalty on the slopes, the square root of the number of patients for each standard deviation, removes features
        that say no more than noise would. The penalty needs no tuning.

        Args:
            features: `(cases, features)`, finite.
            values: `(cases,)`, finite.
            weights: `(cases,)`, above 0; the cases of a patient sum to 1.
            rising: whether a larger value of each feature speaks for a larger result; None: of all. Other slopes may
                have either sign.

        Source: Belloni & Chernozhukov, Annals of Statistics 39:82, 2011; Wang, Li & Jiang, Journal of Business &
        Economic Statistics 25:347, 2007.
        """
        cases, number = features.shape
        centres = np.median(features, axis=0)
        spread = features.std(axis=0)
        usable = spread > 1e-9 * np.maximum(np.abs(centres), 1)
        scaled = (features[:, usable] - centres[usable]) / spread[usable]
        used = int(usable.sum())
        either = np.zeros(number, bool) if rising is None else ~np.asarray(rising, bool)
        falls = [(0, None if may_fall else 0) for may_fall in either[usable]]
        penalty = math.sqrt(float(weights.sum()))
        found = linprog(
            np.concatenate([[0.0], np.full(2 * used, penalty), weights, weights]),
            A_eq=np.hstack([np.ones((cases, 1)), scaled, -scaled, np.eye(cases), -np.eye(cases)]),
            b_eq=values,
            bounds=[(None, None)] + [(0, None)] * used + falls + [(0, None)] * (2 * cases),
            method="highs",
        )
        slopes = np.zeros(number)
        rises, falls_by = np.maximum(found.x[1 : 1 + 2 * used], 0).reshape(2, used)
        slopes[usable] = (rises - falls_by) / spread[usable]
        return cls(float(found.x[0]), tuple(slopes.tolist()), tuple(centres.tolist()))

    def __call__(self, features: Array) -> Array:
        """Return the function's values at features `(..., features)`."""
        offsets: Array = (np.asarray(features, np.float64) - np.asarray(self.centres)) @ np.asarray(
            self.slopes
        )
        return self.intercept + offsets

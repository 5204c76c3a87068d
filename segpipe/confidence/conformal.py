"""Quantiles of errors that hold for a new patient: split conformal prediction with patients as the units."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def patient_weights(patients: Sequence[str]) -> Array:
    """Return the weight of each case, one over the number of its patient's cases: a patient's cases sum to 1."""
    _, place, counts = np.unique(np.asarray(list(patients)), return_inverse=True, return_counts=True)
    weights: Array = 1 / counts[place]
    return weights


def conformal_quantile(errors: Array, weights: Array, coverage: float) -> float:
    """Return the error that a new patient's case stays below with a chance of at least `coverage`.

    The new patient counts as one more patient, whose error may be of any size.

    Args:
        errors: `(cases,)`, 0 or above, of cases that the prediction was not fitted on.
        weights: `(cases,)`, see `patient_weights`.
        coverage: 0 to 1.

    Returns:
        One of the errors; infinite where there are too few patients, below 9 for a coverage of 0.9.

    Source: Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005; Tibshirani et al., NeurIPS 2019
    (weights).
    """
    order = np.argsort(errors, kind="stable")
    reached = np.cumsum(weights[order])
    needed = coverage * (float(weights.sum()) + 1)
    place = int(np.searchsorted(reached, needed - 1e-9))
    return float(errors[order[place]]) if place < len(order) else math.inf

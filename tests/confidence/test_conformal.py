"""Quantiles of errors for a new patient."""

import math

import numpy as np

from segpipe.confidence.conformal import conformal_quantile, patient_weights


def test_nine_patients_are_the_fewest_for_nine_in_ten():
    errors = np.arange(1.0, 10.0)

    assert conformal_quantile(errors, np.ones(9), 0.9) == 9
    assert conformal_quantile(errors[:8], np.ones(8), 0.9) == math.inf


def test_ninety_nine_patients_lose_nine():
    """ceil(0.9 * 100) = 90: the ninetieth error of 99."""
    assert conformal_quantile(np.arange(1.0, 100.0)[::-1], np.ones(99), 0.9) == 90


def test_many_cases_of_one_patient_count_as_one():
    patients = ["a"] * 50 + list("bcdefghijkl")
    errors = np.concatenate([np.full(50, 9.0), np.arange(11.0) / 10])

    # 12 patients: 0.9 * 13 = 11.7 of them; the largest error is patient a's, whose cases fill it up
    assert conformal_quantile(errors, patient_weights(patients), 0.9) == 9
    # 0.5 * 13 = 6.5: the seventh of the others
    assert conformal_quantile(errors, patient_weights(patients), 0.5) == 0.6


def test_weights_of_a_patients_cases_sum_to_one():
    np.testing.assert_allclose(patient_weights(["a", "b", "a", "a"]), [1 / 3, 1, 1 / 3, 1 / 3])

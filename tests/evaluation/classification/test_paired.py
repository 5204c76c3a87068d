"""Paired tests equal independent implementations and known values."""

from math import comb

import numpy as np
import pytest
from scipy.stats import norm

from segpipe.evaluation.classification.paired import bootstrap_p_value, delong_test, mcnemar_test


def delong_by_pairs(first, second, present):
    """Return difference and standard error from the kernel of every pair, with its covariance matrices."""
    values, tens, ones = [], [], []
    for scores in (first, second):
        kernel = (scores[present][:, None] > scores[~present]) + 0.5 * (
            scores[present][:, None] == scores[~present]
        )
        values.append(kernel.mean())
        tens.append(kernel.mean(axis=1))
        ones.append(kernel.mean(axis=0))
    covariance = np.cov(tens) / present.sum() + np.cov(ones) / (~present).sum()
    contrast = np.array([1, -1])
    return values[0] - values[1], np.sqrt(contrast @ covariance @ contrast)


@pytest.mark.parametrize("seed", range(3))
def test_delong_as_by_pairs(seed):
    random = np.random.default_rng(seed)
    present = random.random(80) < 0.3
    first = np.round(present + random.normal(0, 1, 80), 1)  # with ties
    second = np.round(0.5 * present + random.normal(0, 1, 80), 1)

    tested = delong_test(first, second, present)

    difference, error = delong_by_pairs(first, second, present)
    assert tested.difference == pytest.approx(difference)
    assert tested.standard_error == pytest.approx(error)
    assert tested.p_value == pytest.approx(2 * norm.sf(abs(difference) / error))


def test_equal_order_is_no_difference():
    scores, present = np.linspace(0, 1, 20), np.arange(20) % 2 > 0

    tested = delong_test(scores, scores**2, present)

    assert (tested.difference, tested.standard_error, tested.p_value) == (0, 0, 1)


def test_mcnemar_by_hand():
    """Nine images right in the first model alone, two in the second alone: twice the lower tail of 11 fair coins."""
    first = np.array([True] * 9 + [False] * 2 + [True] * 5)
    second = np.array([False] * 9 + [True] * 2 + [True] * 5)

    assert mcnemar_test(first, second) == pytest.approx(2 * sum(comb(11, k) for k in range(3)) / 2**11)
    assert mcnemar_test(first, first) == 1


def test_bootstrap_p_values():
    assert bootstrap_p_value(np.ones(999)) == pytest.approx(2 / 1000)
    assert bootstrap_p_value(np.zeros(999)) == 1
    assert bootstrap_p_value(np.r_[np.ones(950), -np.ones(49), np.nan]) == pytest.approx(2 * 50 / 1000)

"""Median regression with known directions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.confidence.median_regression import MedianRegression


def test_without_features_that_vary_the_median_remains():
    values = np.array([0.1, 0.7, 0.8, 0.9, 5.0])

    fitted = MedianRegression.of(np.ones((5, 1)), values, np.ones(5))

    assert fitted(np.array([1.0])) == pytest.approx(0.8)
    assert fitted.slopes == (0.0,)


def test_weights_move_the_median():
    values = np.array([0.1, 0.8, 0.9])

    fitted = MedianRegression.of(np.zeros((3, 1)), values, np.array([3.0, 1.0, 1.0]))

    assert fitted.intercept == pytest.approx(0.1)


def test_outliers_do_not_turn_the_line():
    feature = np.linspace(0, 1, 101)[:, None]
    values = 0.5 + 0.4 * feature[:, 0]
    values[[10, 50, 90]] = 0

    fitted = MedianRegression.of(feature, values, np.ones(101))

    np.testing.assert_allclose(fitted(np.array([[0.2], [0.8]])), [0.58, 0.82], atol=1e-6)


def test_a_feature_of_the_wrong_direction_is_left_out():
    feature = np.linspace(0, 1, 50)[:, None]

    fitted = MedianRegression.of(feature, 1 - feature[:, 0], np.ones(50))

    assert fitted.slopes == (0.0,)


def test_a_feature_without_a_known_direction_may_fall():
    feature = np.linspace(0, 1, 50)[:, None]
    both = np.hstack([feature, feature])

    fitted = MedianRegression.of(both, 1 - 0.5 * feature[:, 0], np.ones(50), [True, False])

    assert fitted.slopes[0] == 0
    assert fitted.slopes[1] == pytest.approx(-0.5, abs=0.02)


def test_noise_has_no_slope_and_a_true_feature_has_one():
    random = np.random.default_rng(1)
    features = random.normal(size=(200, 3))

    fitted = MedianRegression.of(features, features[:, 1] + 0.1 * random.normal(size=200), np.ones(200))

    assert fitted.slopes[1] == pytest.approx(1, abs=0.05)
    assert max(fitted.slopes[0], fitted.slopes[2]) < 0.02


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_a_larger_feature_never_gives_a_smaller_value(seed, number):
    random = np.random.default_rng(seed)
    features, values = random.normal(size=(30, number)), random.normal(size=30)

    fitted = MedianRegression.of(features, values, np.ones(30))

    more = features + random.uniform(0, 2, size=features.shape)
    assert (fitted(more) >= fitted(features) - 1e-9).all()

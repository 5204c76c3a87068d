"""The calibration error: by hand, for perfect probabilities, and its floor on few images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from segpipe.evaluation.classification.calibration_error import (
    BINS,
    calibration_errors,
    calibration_floor,
    reliability,
)


def error(confidence, correct, weights=None):
    weights = np.ones((1, len(confidence))) if weights is None else weights
    return calibration_errors(np.array(confidence, float), np.array(correct, float), weights).tolist()


def counted(confidence, correct):
    """Return the error bin by bin, with explicit ends, in plain Python."""
    total = 0.0
    for number in range(BINS):
        inside = [
            (p, hit)
            for p, hit in zip(confidence, correct, strict=True)
            if (number / BINS < p <= (number + 1) / BINS) or (number == 0 and p == 0)
        ]
        if inside:
            mean = sum(p for p, _ in inside) / len(inside)
            share = sum(hit for _, hit in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(mean - share)
    return total


def test_two_bins_by_hand():
    """.9 and .92 with one hit: |.91 - .5| = .41; .3 without a hit: .3; weights 2/3 and 1/3."""
    assert error([0.9, 0.92, 0.3], [1, 0, 0]) == pytest.approx([2 / 3 * 0.41 + 1 / 3 * 0.3])


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=60))
def test_as_counted_bin_by_bin(rows):
    confidence = [(value + 0.37) / 1001 for value, _ in rows]  # no value on the end of a bin
    correct = [hit for _, hit in rows]

    assert error(confidence, correct) == pytest.approx([counted(confidence, correct)])


def test_perfect_probabilities_have_no_error():
    """Of five images at .2 one statement is true, of four at .75 three."""
    assert error([0.2] * 5 + [0.75] * 4, [1, 0, 0, 0, 0, 1, 1, 1, 0]) == pytest.approx([0])


def test_weights_are_repetitions():
    assert error([0.9, 0.3], [1, 1], np.array([[3.0, 1.0]])) == pytest.approx(
        error([0.9, 0.9, 0.9, 0.3], [1] * 4)
    )


def test_no_image_has_no_error():
    assert np.isnan(error([0.5], [1], np.zeros((1, 1)))).all()


def test_the_floor_at_383_images_of_a_good_network():
    """Four classes, mean confidence .97: perfect calibration shows about .016, and less with ten times as many."""
    random = np.random.default_rng(0)
    logits = 10 * np.eye(4)[random.integers(4, size=383)] + random.normal(0, 3, (383, 4))
    confidence = softmax(logits, axis=1).max(axis=1)

    floor = calibration_floor(confidence)

    assert confidence.mean() == pytest.approx(0.97, abs=0.01)
    assert floor.mean == pytest.approx(0.016, abs=0.003)
    assert floor.high > floor.mean
    assert calibration_floor(np.repeat(confidence, 10)).mean == pytest.approx(
        floor.mean / np.sqrt(10), rel=0.15
    )


def test_the_floor_of_one_bin_has_a_closed_form():
    """The mean deviation of n coins from p is near sqrt(2 p (1 - p) / (pi n))."""
    floor = calibration_floor(np.full(400, 0.5), simulations=4000)

    assert floor.mean == pytest.approx(np.sqrt(2 * 0.25 / (np.pi * 400)), rel=0.05)


def test_certain_probabilities_have_no_floor():
    assert calibration_floor(np.ones(20)).high == 0
    assert np.isnan(calibration_floor(np.empty(0)).mean)


def test_bins_of_the_diagram():
    bins = reliability(np.array([0.02, 0.04, 0.9]), np.array([0.0, 1.0, 1.0]))

    np.testing.assert_allclose(bins.confidence, [0.03, 0.9])
    np.testing.assert_allclose(bins.share, [0.5, 1.0])
    assert bins.images.tolist() == [2, 1]

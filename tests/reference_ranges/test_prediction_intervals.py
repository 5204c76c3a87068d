"""Prediction intervals of few values, counted by hand, and how they widen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.reference_ranges.prediction_intervals import PredictionIntervals, widening

T_OF_4 = 2.776445  # 97.5th percentile of Student's t with four degrees of freedom, from a printed table
NONE = np.zeros(1)
BOTH = np.ones((2, 1), bool)


def interval(values, patients=None, chance=0.05, least=0.0):
    table = np.array(values, float)[:, None]
    whose = list(map(str, range(len(values)))) if patients is None else list(patients)
    made = PredictionIntervals.of(table, whose, chance, np.full(1, least))
    return float(made.centre[0]), float(made.half_width[0])


def test_five_patients_by_hand():
    """Mean 3, variance 10 / 4 = 2.5, and 1 + 1/5 for the error of the mean."""
    centre, half = interval([1, 2, 3, 4, 5])

    assert centre == 3
    assert half == pytest.approx(T_OF_4 * np.sqrt(2.5 * 1.2), rel=1e-6)


def test_two_scans_of_a_patient_count_as_one_patient():
    """Patient a has 0 and 2, half each: (9 + 1) / 2 about the mean of 3; the others have 1, 0, 1 and 4: 11 / 4."""
    centre, half = interval([0, 2, 2, 3, 4, 5], "aabcde")

    assert centre == 3
    assert half == pytest.approx(T_OF_4 * np.sqrt(11 / 4 * 1.2), rel=1e-6)


def test_the_chance_is_shared_by_the_measures():
    column = np.arange(5.0)
    alone = PredictionIntervals.of(column[:, None], "abcde", 0.05, NONE)
    of_two = PredictionIntervals.of(np.stack([column, column], 1), "abcde", 0.1, np.zeros(2))

    assert of_two.half_width == pytest.approx(alone.half_width[[0, 0]])


def test_a_measure_of_fewer_than_five_patients_has_no_interval():
    table = np.array([[1, np.nan], [2, 1], [3, 2], [4, 3], [5, 4]])

    made = PredictionIntervals.of(table, "abcde", 0.05, np.zeros(2))

    assert np.isnan(made.centre).tolist() == [False, True]
    assert np.isnan(made.half_width).tolist() == [False, True]
    assert made.beyond(table)[:, 1].tolist() == [0] * 5


def test_equal_values_of_many_patients_leave_the_least_width():
    _, many = interval([7.0] * 3000, least=0.2)
    _, few = interval([7.0] * 5, least=0.2)

    assert many == pytest.approx(0.2, rel=1e-3)
    assert few > 1.5 * many


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-100, 100), min_size=5, max_size=12),
    st.integers(2, 5),
    st.floats(0.0, 1.0),
)
def test_fewer_patients_widen_the_interval(values, times, least):
    """The same values, of as many patients or of several times as many; and the same scans of fewer patients."""
    few = interval(values, least=least)
    many = interval(values * times, least=least)
    of_few = interval(values * times, [str(number) for number in range(len(values))] * times, least=least)

    assert many[0] == pytest.approx(few[0], abs=1e-9)
    assert many[1] <= few[1] + 1e-9
    assert of_few == pytest.approx(few, abs=1e-9)


def test_normal_values_lie_outside_as_often_as_stated():
    """Of 4000 sets of six patients, a seventh lies outside in 5 %, with a standard error of 0.35 %."""
    random = np.random.default_rng(0)
    table = random.normal(size=(6, 4000))
    made = PredictionIntervals.of(table, "abcdef", 0.05 * 4000, np.zeros(4000))

    outside = np.abs(made.beyond(random.normal(size=4000))) > 1

    assert outside.mean() == pytest.approx(0.05, abs=0.011)


def test_a_left_out_patient_widens_the_intervals():
    """Without it the values are 1 to 6; it lies (20 - 3.5) / half width away, and nobody may lie outside."""
    values = [1, 2, 3, 4, 5, 6, 20]
    _, half = interval(values[:6])

    assert widening(np.array(values, float)[:, None], "abcdefg", 0.05, NONE, BOTH) == pytest.approx(
        (20 - 3.5) / half
    )


def test_a_side_that_does_not_count_widens_nothing():
    table = np.array([[1, 2, 3, 4, 5, 6, 20]], float).T

    assert widening(table, "abcdefg", 0.05, NONE, np.array([[True], [False]])) == 1


def test_of_a_hundred_patients_four_may_lie_outside():
    """The 96th of 100 distances decides: ceil(0.95 * 101)."""
    table = np.concatenate([np.random.default_rng(0).uniform(-1, 1, 96), [50, -60, 70, -80]])[:, None]

    assert widening(table, list(map(str, range(100))), 0.05, NONE, BOTH) == 1


def test_with_five_patients_nothing_can_be_left_out():
    assert widening(np.array([[1, 1, 1, 1, 9]], float).T, "abcde", 0.05, NONE, BOTH) == 1

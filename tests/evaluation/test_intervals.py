"""Bootstrap intervals agree with SciPy's, are drawn by patient, and are empty without values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, permutation_test

from segpipe.errors import SegpipeError
from segpipe.evaluation.intervals import mean_intervals, paired_differences, sign_flip_p_values


def one(values, patients=None, **options):
    (interval,) = mean_intervals(
        np.array(values, float)[:, None], patients or list(map(str, range(len(values)))), **options
    )
    return interval


def difference(first, second, patients):
    (interval,) = paired_differences(
        *(np.array(values, float)[:, None] for values in (first, second)), patients
    )
    return interval


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("cases", [8, 60])
def test_agrees_with_scipy(cases, confidence):
    values = np.random.default_rng(1).beta(8, 2, cases)  # Dice: skewed
    expected = bootstrap(
        (values,), np.mean, confidence_level=confidence, n_resamples=20_000, random_state=2, vectorized=True
    ).confidence_interval

    result = one(values, confidence=confidence, resamples=20_000)

    width = expected.high - expected.low
    assert result.mean == pytest.approx(values.mean())
    assert (result.low, result.high) == pytest.approx(tuple(expected), abs=0.05 * width)


def test_agrees_with_scipy_by_patient():
    """A draw takes all one to five cases of a patient."""
    random = np.random.default_rng(3)
    sizes = random.integers(1, 6, 30)
    patients = np.repeat(np.arange(30), sizes)
    values = np.repeat(random.normal(0.8, 0.1, 30), sizes) + random.normal(0, 0.01, sizes.sum())
    sums = np.bincount(patients, values)
    expected = bootstrap(
        (sums, sizes.astype(float)),
        lambda total, number, axis: total.sum(axis=axis) / number.sum(axis=axis),
        paired=True,
        n_resamples=20_000,
        random_state=2,
        vectorized=True,
    ).confidence_interval

    result = one(values, list(map(str, patients)), resamples=20_000)

    assert (result.cases, result.patients) == (sizes.sum(), 30)
    width = expected.high - expected.low
    assert (result.low, result.high) == pytest.approx(tuple(expected), abs=0.05 * width)
    assert one(values).high - one(values).low < 0.8 * width  # as if all cases were of other patients


def test_ninety_five_of_a_hundred_intervals_have_the_truth():
    random = np.random.default_rng(5)
    samples = random.normal(0.7, 0.1, (300, 40))
    hits = [
        interval.low <= 0.7 <= interval.high
        for interval in mean_intervals(samples.T, list(map(str, range(40))))
    ]

    assert 0.91 <= np.mean(hits) <= 0.98


def test_one_seed_one_interval():
    values = np.random.default_rng(4).random(12)

    assert one(values) == one(values)
    assert one(values, seed=1) != one(values)


def test_columns_do_not_disturb_each_other():
    random = np.random.default_rng(7)
    values = random.random((12, 3))
    values[2, 1] = np.nan
    patients = list("aabbccddeeff")

    together = mean_intervals(values, patients)

    for interval, column in zip(together, values.T, strict=True):
        assert vars(interval) == pytest.approx(vars(one(column, patients)))


def test_nan_is_no_case_and_infinity_is_counted_beside():
    result = one([0.5, np.nan, np.inf, 0.7])

    assert result.mean == pytest.approx(0.6)
    assert (result.cases, result.patients, result.infinite) == (2, 2, 1)


@pytest.mark.parametrize(
    ("values", "patients", "cases"),
    [([0.5, 0.7], "aa", 2), ([0.5, np.nan], "ab", 1), ([np.nan, np.nan], "ab", 0)],
    ids=["one-patient", "one-with-a-value", "nobody"],
)
def test_without_two_patients_there_is_no_interval(values, patients, cases):
    result = one(values, list(patients))

    assert not result.is_known
    assert np.isnan(result.high)
    assert result.cases == cases
    np.testing.assert_allclose(result.mean, np.nanmean(values) if cases else np.nan)


def test_values_that_are_all_alike_have_an_interval_of_no_width():
    result = one([0.5] * 5)

    assert (result.low, result.mean, result.high) == (0.5, 0.5, 0.5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_an_interval_lies_among_the_values(values):
    result = one(values, resamples=500)

    assert min(values) - 1e-9 <= result.low <= result.high <= max(values) + 1e-9


def test_many_cases():
    values = np.random.default_rng(0).random((10_000, 4))
    result = mean_intervals(values, list(map(str, range(10_000))), resamples=500)

    # 0.5 +- 1.96 * 0.2887 / 100
    for interval in result:
        assert (interval.high - interval.low) / 2 == pytest.approx(0.00566, rel=0.2)


def test_a_paired_difference_is_narrower_than_two_intervals():
    random = np.random.default_rng(9)
    hard = random.normal(0.7, 0.15, 40)  # cases differ more than models do
    first, second = hard + 0.02 + random.normal(0, 0.01, 40), hard
    patients = list(map(str, range(40)))

    result = difference(first, second, patients)

    assert result.mean == pytest.approx((first - second).mean())
    assert 0.015 < result.low < result.high < 0.026
    assert one(first).low < one(second).high  # which by themselves say nothing


def test_a_case_that_one_model_has_no_value_for_is_left_out():
    result = difference([0.9, np.inf, 0.8, np.nan], [0.8, 0.5, 0.6, 0.1], list("abcd"))

    assert result.cases == 2
    assert result.mean == pytest.approx(0.15)


def test_other_cases_are_refused():
    with pytest.raises(SegpipeError, match="2 cases and 1 patients"):
        one([1, 2], ["a"])
    with pytest.raises(SegpipeError, match="2 cases of one model and 3 of the other"):
        difference([1, 2], [1, 2, 3], list("ab"))


@pytest.mark.parametrize("cases", [3, 9, 40], ids=["all", "all-of-more", "drawn"])
def test_sign_flips_agree_with_scipy(cases):
    random = np.random.default_rng(cases)
    first, second = random.normal(0.7, 0.1, (2, cases, 1))

    (result,) = sign_flip_p_values(first, second, list(map(str, range(cases))))

    expected = permutation_test(
        ((first - second).ravel(),), np.mean, permutation_type="samples", n_resamples=9999, rng=1
    ).pvalue
    assert result == pytest.approx(expected, abs=1e-12 if cases < 13 else 0.02)


def test_sign_flips_turn_whole_patients():
    first, second = np.full((12, 1), 0.8), np.full((12, 1), 0.7)

    assert sign_flip_p_values(first, second, list("aaaabbbbcccc")) == [2 / 2**3]
    assert sign_flip_p_values(first, second, list("abcdefghijkl")) == [2 / 2**12]


def test_sign_flips_of_no_difference_and_of_nothing():
    first = np.array([[0.5, np.nan, 0.2], [0.5, 0.4, np.inf], [0.5, np.nan, 0.1]])
    second = np.array([[0.5, 0.1, np.nan], [0.5, np.nan, 0.3], [0.5, 0.2, np.nan]])

    assert sign_flip_p_values(first, second, list("abc")) == [1, 1, 1]


@pytest.mark.parametrize("patients", [6, 10, 20])
def test_chance_alone_is_told_five_times_in_a_hundred_at_most(patients):
    random = np.random.default_rng(patients)
    first, second = random.normal(0.7, 0.1, (2, patients, 600))

    result = np.array(sign_flip_p_values(first, second, list(map(str, range(patients)))))

    assert (result <= 0.05).mean() <= 0.07

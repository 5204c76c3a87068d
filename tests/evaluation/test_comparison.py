"""A comparison of two models on the same cases states in words which model is better."""

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.evaluation.case_scores import MEAN_OF_CLASSES, CaseScores
from segpipe.evaluation.comparison import compare
from segpipe.evaluation.metrics import METRICS

CASES = tuple(f"c{number}" for number in range(20))
NAMES = ("U-Net", "SegNet")


def scores(metric, values, cases=CASES, patients=None, class_names=("tumour",)):
    """Return scores with one known metric: one row a class, or a single row."""
    table = np.full((len(cases), len(METRICS), len(class_names)), np.nan)
    table[:, METRICS.index(metric)] = np.reshape(values, (len(class_names), len(cases))).T
    return CaseScores(tuple(cases), patients, class_names, table)


@pytest.fixture
def hard():
    return np.random.default_rng(0).uniform(0.4, 0.9, 20)


def in_words(metric, first, second, **options):
    result = compare(scores(metric, first, **options), scores(metric, second, **options))
    return result.differences["tumour"][metric].in_words(NAMES)


def test_a_difference_that_shows(hard):
    words = in_words("dice", hard + 0.03, hard)

    assert words == (
        "Dice, tumour: U-Net is 0.03 above SegNet (95 % interval 0.03 to 0.03, 20 cases): U-Net is better."
    )


def test_the_other_way_round(hard):
    random = np.random.default_rng(1)
    words = in_words("dice", hard - 0.03 + random.normal(0, 0.01, 20), hard)

    assert "SegNet is 0.0296" in words
    assert "above U-Net" in words
    assert words.endswith("SegNet is better.")


@pytest.mark.parametrize("metric", ["hd95_mm", "asd_mm"])
def test_less_distance_is_better(hard, metric):
    words = in_words(metric, 10 * hard, 10 * hard + 2)

    assert "SegNet is 2 mm above U-Net" in words
    assert words.endswith("U-Net is better.")


def test_too_much_volume_is_as_bad_as_too_little():
    random = np.random.default_rng(2)
    words = in_words("volume_error_percent", random.normal(-10, 1, 20), random.normal(5, 1, 20))

    assert words.startswith("size of the volume error, tumour: U-Net is ")
    assert words.endswith("SegNet is better.")


def test_a_difference_that_chance_would_make(hard):
    random = np.random.default_rng(3)
    words = in_words("dice", hard + random.normal(0.001, 0.05, 20), hard)

    assert words.endswith("these cases do not show which model is better.")


def test_no_difference(hard):
    assert in_words("dice", hard, hard) == "Dice, tumour: no difference in 20 cases."


def test_patients_are_drawn_with_their_cases(hard):
    options = {"patients": tuple(name for name in "abcd" for _ in range(5))}
    first = scores("dice", hard + np.repeat([0.1, 0.0, 0.05, -0.1], 5), **options)
    result = compare(first, scores("dice", hard, **options)).differences["tumour"]["dice"]

    assert result.interval.patients == 4
    assert "20 cases of 4 patients" in result.in_words(NAMES)
    assert result.better is None


def test_one_patient_gives_no_interval(hard):
    words = in_words("dice", hard + 0.1, hard, patients=("a",) * 20)

    assert words == (
        "Dice, tumour: +0.1 for U-Net in 20 cases of 1 patient: too few patients for an interval."
    )


def test_a_class_that_both_have_nowhere(hard):
    assert in_words("dice", [np.nan] * 20, hard) == "Dice, tumour: no case has a value for both models."


def test_classes_go_by_name_and_cases_too():
    first = scores("dice", [[1.0, 0.5], [0.2, 0.4]], cases=("x", "y"), class_names=("a", "b"))
    second = scores("dice", [[0.1, 0.3, 0.9], [0.4, 0.9, 0.9]], cases=("y", "x", "z"), class_names=("b", "a"))

    result = compare(first, second)

    means = {name: by_metric["dice"].interval.mean for name, by_metric in result.differences.items()}
    # a: 1.0 - 0.9 and 0.5 - 0.4; b: 0.2 - 0.3 and 0.4 - 0.1
    assert means == pytest.approx({"a": 0.1, "b": 0.1, MEAN_OF_CLASSES: 0.1})
    assert result.differences["b"]["dice"].interval.low < 0
    assert (result.cases, result.only_first, result.only_second) == (("x", "y"), (), ("z",))


def test_a_missed_structure_is_in_no_mean_distance(hard):
    far = hard.copy()
    far[:5] = np.inf

    result = compare(scores("hd95_mm", far), scores("hd95_mm", hard))

    difference = result.differences["tumour"]["hd95_mm"]
    assert (difference.interval.cases, difference.failed) == (15, (5, 0))


@pytest.mark.parametrize("metric", ["hd95_mm", "asd_mm", "precision"])
def test_who_failed_in_other_cases_is_not_called_better(hard, metric):
    """The model's values are better in all cases that have values."""
    better = hard + 1 if metric == "precision" else hard - 0.2
    better[:3] = np.nan if metric == "precision" else np.inf

    words = in_words(metric, better, hard)
    other = in_words(metric, hard, better)

    assert "this leaves out 3 cases in which U-Net has no value" in words
    assert "this leaves out 3 cases in which SegNet has no value" in other
    assert words.endswith(": neither is called better.")
    assert in_words(metric, better[3:], hard[3:], cases=CASES[3:]).endswith("U-Net is better.")


def test_who_failed_may_be_called_worse(hard):
    worse = hard + 1
    worse[:3] = np.inf

    assert in_words("hd95_mm", worse, hard).endswith("SegNet is better.")


def test_few_patients_cannot_tell_two_models_apart(hard):
    """Of five patients, chance gives all differences one sign in one of sixteen comparisons."""
    few = [in_words("dice", hard[:n] + 0.1, hard[:n], cases=CASES[:n]) for n in (2, 5, 6)]

    assert [words.rpartition(": ")[2] for words in few] == [
        "these cases do not show which model is better.",
        "these cases do not show which model is better.",
        "U-Net is better.",
    ]
    assert "the interval leaves out 0, but a sign-flip test says p = 0.5" in few[0]


def test_what_cannot_be_compared(hard):
    with pytest.raises(SegpipeError, match="classes are tumour of one model and liver of the other"):
        compare(scores("dice", hard), scores("dice", hard, class_names=("liver",)))
    with pytest.raises(
        SegpipeError, match="no case was scored for both models: c0, c1, c2 and 17 more against d0"
    ):
        compare(scores("dice", hard), scores("dice", [1.0], cases=("d0",)))
    with pytest.raises(SegpipeError, match="c1 has different patients in the two"):
        compare(
            scores("dice", hard, patients=CASES),
            scores("dice", hard, patients=("c0", "other", *CASES[2:])),
        )

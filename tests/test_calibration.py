import numpy as np
import pytest

from segpipe.calibration import Calibration, fitted_calibration, youden_threshold
from segpipe.categories import Categories
from segpipe.errors import SegpipeError

TWO = Categories(("healthy", "ill"), "class")
FINDINGS = Categories(("mass", "nodule"), "findings")


def test_an_overconfident_network_gets_the_temperature_that_made_it_so():
    """Labels drawn from softmax(logits), then shown logits of three times the size: the temperature is 3."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 2))
    is_second = generator.random(4000) < 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))

    made = fitted_calibration(3 * logits, is_second.astype(int), TWO)

    assert made.temperature[0] == pytest.approx(3.0, rel=0.08)
    assert made.shift == (0.0,)


def test_a_shifted_finding_is_shifted_back():
    """A balanced loss adds log-odds of 2 to a rare finding; the fit takes them off again."""
    generator = np.random.default_rng(1)
    logits = generator.normal(-2.0, 1.5, size=(6000, 2))
    present = (generator.random((6000, 2)) < 1 / (1 + np.exp(-logits))).astype(float)

    made = fitted_calibration(logits + np.array([2.0, 0.0]), present, FINDINGS)

    assert made.temperature == pytest.approx((1.0, 1.0), abs=0.1)
    assert made.shift == pytest.approx((-2.0, 0.0), abs=0.15)
    assert made.probabilities(logits + np.array([2.0, 0.0])).mean(0) == pytest.approx(
        present.mean(0), abs=0.01
    )


def test_unknown_findings_do_not_count():
    """Of the nodule one case is known: temperature 1, and a mean probability of 1.5 / 2."""
    present = np.array([[1, np.nan], [1, np.nan], [0, np.nan], [0, 1.0]])

    made = fitted_calibration(np.array([[2.0, 1], [1.0, 1], [-1.0, 1], [-2.0, 1]]), present, FINDINGS)

    assert (made.temperature[1], made.thresholds[1]) == (1.0, 0.5)
    assert made.probabilities(np.array([[0.0, 1.0]]))[0, 1] == pytest.approx(0.75)
    assert made.shift[0] == pytest.approx(0.0, abs=1e-3)


def test_a_finding_that_no_validation_case_has_gets_a_low_probability():
    """A balanced loss answers one half for a rare finding; none of nine cases has the finding: 0.5 / 10."""
    present = np.array([[1, 0]] * 4 + [[0, 0]] * 5, float)

    made = fitted_calibration(np.zeros((9, 2)), present, FINDINGS)

    assert made.probabilities(np.zeros((1, 2)))[0, 1] == pytest.approx(0.05)


def test_threshold_of_the_largest_sensitivity_plus_specificity():
    """At .6 both ill of .9 and .7 are found and no healthy one: half-way to .5."""
    probabilities, present = np.array([0.9, 0.7, 0.5, 0.2]), np.array([1.0, 1.0, 0.0, 0.0])

    assert youden_threshold(probabilities, present) == pytest.approx(0.6)


def test_equal_probabilities_are_never_divided():
    """.4 holds a case of either kind, so the threshold lies above it or below it."""
    assert youden_threshold(np.array([0.4, 0.4, 0.1]), np.array([1.0, 0.0, 0.0])) == pytest.approx(0.25)


def test_decisions():
    of_class = Calibration.none(TWO)
    of_findings = Calibration.none(FINDINGS)

    assert of_class.decision(np.array([0.3, 0.7])) == "ill"
    assert of_findings.decision(np.array([0.6, 0.7])) == "mass|nodule"
    assert of_findings.decision(np.array([0.4, 0.1])) == "No Finding"


def test_it_is_read_as_it_was_written(tmp_path):
    made = Calibration(
        FINDINGS.names, "findings", (2.0, 1.5), (0.5, -1.0), (0.3, 0.2), {"cases": 7, "fold": 0}, ("ab",)
    )

    made.write(tmp_path / "model_calibration.json")

    assert Calibration.read(tmp_path / "model_calibration.json") == made


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": [0.0, 1.0]},
        {"temperature": [float("nan"), 1.0]},
        {"shift": [0.0]},
        {"version": 2},
        {"names": ["mass", "Mass"]},
        {"extra": 1},
    ],
    ids=str,
)
def test_another_file_is_refused(tmp_path, change):
    import json

    path = tmp_path / "model_calibration.json"
    Calibration.none(FINDINGS).write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(SegpipeError):
        Calibration.read(path)


def test_no_cases_and_infinite_logits_are_refused():
    with pytest.raises(SegpipeError, match="at least one case"):
        fitted_calibration(np.empty((0, 2)), np.empty(0), TWO)
    with pytest.raises(SegpipeError, match="1 with NaN or infinite"):
        fitted_calibration(np.array([[np.inf, 0.0], [0.0, 1.0]]), np.array([0, 1]), TWO)

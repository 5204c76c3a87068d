"""Scores worked out by hand, intervals over patients, and the files of an evaluation."""

import json

import numpy as np
import pytest

from segpipe.calibration import Calibration
from segpipe.errors import SegpipeError
from segpipe.evaluation.classification import ClassifiedImages, summarise_images, write_classification
from segpipe.evaluation.classification.image_table import read_images
from segpipe.evaluation.summary import read_summary

NAN = float("nan")
FOUR = [[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]
TRUE = [0, 1, 1, 2]  # the third image is taken for CNV


def many(of_classes, number=300, patients=None, seed=0):
    random = np.random.default_rng(seed)
    targets = random.integers(3, size=number)
    logits = 1.5 * np.eye(3)[targets] + random.normal(0, 1, (number, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return of_classes(probabilities, targets, patients)


def test_classes_by_hand(of_classes):
    summary = summarise_images(of_classes(FOUR, TRUE))

    values = {metric: score.value for metric, score in summary.overall.items()}
    assert values["accuracy"] == 0.75
    assert values["balanced_accuracy"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    # CNV: .7 above .2, .6, .1; DME: .5 and .3 above .2 and .1; NORMAL: .8 above .1, .3, .1
    assert values["macro_auroc"] == 1
    # squares: .09 + .04 + .01, .04 + .25 + .09, .36 + .49 + .01, .01 + .01 + .04
    assert values["brier"] == pytest.approx((0.14 + 0.38 + 0.86 + 0.06) / 4)
    # .7 right, .5 right, .6 wrong, .8 right, each in a bin of its own
    assert values["ece"] == pytest.approx((0.3 + 0.5 + 0.6 + 0.2) / 4)
    assert summary.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    dme = {metric: score.value for metric, score in summary.by_name["DME"].scores.items()}
    # at .5 only the second image is called DME, and rightly
    assert (dme["sensitivity"], dme["specificity"], dme["ppv"]) == (0.5, 1, 1)
    assert dme["npv"] == pytest.approx(2 / 3)


def test_findings_by_hand_leave_out_the_unknown(of_findings):
    images = of_findings([[0.9, 0.2], [0.6, 0.7], [0.3, 0.4], [0.2, 0.1]], [[1, 0], [0, NAN], [1, 1], [0, 0]])

    summary = summarise_images(images)

    effusion, nodule = summary.by_name.values()
    assert (effusion.images, effusion.positives, nodule.images, nodule.positives) == (4, 2, 3, 1)
    assert effusion.scores["auroc"].value == 0.75  # .3 is below .6
    assert nodule.scores["auroc"].value == 1
    assert effusion.scores["sensitivity"].value == effusion.scores["specificity"].value == 0.5
    assert nodule.scores["sensitivity"].value == 0
    assert np.isnan(nodule.scores["ppv"].value)
    assert summary.overall["accuracy"].value == pytest.approx((2 + 2) / 7)
    assert summary.overall["exact_match"].value == 0.5  # the first and the last image
    assert summary.overall["balanced_accuracy"].value == pytest.approx((0.5 + 0.5) / 2)
    assert summary.overall["macro_auroc"].value == pytest.approx((0.75 + 1) / 2)
    assert effusion.scores["brier"].value == pytest.approx((0.01 + 0.36 + 0.49 + 0.04) / 4)
    assert summary.confusion is None


def test_few_positives_say_so_instead_of_an_interval(of_findings):
    random = np.random.default_rng(0)
    truth = np.stack([np.arange(60) < 30, np.arange(60) < 9], axis=1).astype(float)
    images = of_findings(np.clip(0.4 * truth + random.uniform(0.1, 0.5, (60, 2)), 0, 0.99), truth)

    summary = summarise_images(images, resamples=200)

    effusion, nodule = summary.by_name.values()
    assert effusion.scores["auroc"].is_known
    assert effusion.why_no_interval == ""
    assert not nodule.scores["auroc"].is_known
    assert nodule.why_no_interval == "9 positives: too few for an interval"
    assert summary.averaged == ("Effusion",)
    assert summary.overall["macro_auroc"].value == effusion.scores["auroc"].value


def test_an_interval_covers_patients_with_all_their_images(of_classes):
    """Ten equal images a patient say no more than one image a patient."""
    single = many(of_classes, 60)
    copies = np.repeat(np.arange(60), 10)
    repeated = of_classes(
        single.probabilities[copies],
        single.targets[copies],
        patients=[f"p{number}" for number in copies],
    )

    of_single, of_repeated = (summarise_images(images).overall for images in (single, repeated))

    for metric in ("accuracy", "macro_auroc", "brier"):
        assert of_repeated[metric].value == pytest.approx(of_single[metric].value)
        assert of_repeated[metric].low == pytest.approx(of_single[metric].low, abs=0.02)
        assert of_repeated[metric].high == pytest.approx(of_single[metric].high, abs=0.02)


def test_the_interval_of_the_accuracy_is_as_wide_as_the_binomial_one(of_classes):
    images = many(of_classes)

    accuracy = summarise_images(images).overall["accuracy"]

    half = 1.96 * np.sqrt(accuracy.value * (1 - accuracy.value) / 300)
    assert accuracy.low == pytest.approx(accuracy.value - half, abs=0.01)
    assert accuracy.high == pytest.approx(accuracy.value + half, abs=0.01)


def test_a_perfect_proportion_has_the_exact_interval(of_classes):
    """All of 30 right: the lower end is .025 ** (1 / 30)."""
    images = of_classes(np.eye(3)[np.arange(30) % 3] * 0.8 + 0.2 / 3, np.arange(30) % 3)

    accuracy = summarise_images(images, resamples=100).overall["accuracy"]

    assert (accuracy.value, accuracy.high) == (1, 1)
    assert accuracy.low == pytest.approx(0.025 ** (1 / 30))


def test_one_patient_has_no_interval(of_classes):
    summary = summarise_images(of_classes(FOUR, TRUE, patients=["p"] * 4))

    assert not summary.overall["accuracy"].is_known
    assert summary.by_name["CNV"].why_no_interval == "one patient: no interval"


def test_the_error_before_the_temperature(of_classes):
    random = np.random.default_rng(1)
    targets = random.integers(3, size=2000)
    logits = 1.5 * np.eye(3)[targets] + random.normal(0, 1, (2000, 3))
    cases = [f"c{number}" for number in range(2000)]
    calibration = Calibration(("CNV", "DME", "NORMAL"), "class", (4.0,), (0.0,), (0.5,) * 3)

    images = ClassifiedImages.of_logits(cases, cases, 4 * 1.5 * logits, targets, calibration)
    overall = summarise_images(images, resamples=20).overall

    assert overall["ece"].value < 0.03 < 0.1 < overall["ece_before"].value
    assert overall["accuracy"].value == np.mean(logits.argmax(axis=1) == targets)


def test_the_files_come_back(of_classes, tmp_path):
    images = many(of_classes, 40)
    summary = summarise_images(images, resamples=50)

    write_classification(images, summary, tmp_path, {"manifest": {"name": "oct", "sha256": "0"}})
    back = read_images(tmp_path)

    assert back.cases == images.cases
    assert back.patients == images.patients
    assert back.categories == images.categories
    np.testing.assert_allclose(back.probabilities, images.probabilities, atol=1e-8)
    np.testing.assert_array_equal(back.present, images.present)
    np.testing.assert_array_equal(back.decided, images.decided)
    np.testing.assert_array_equal(back.chosen, images.chosen)
    content = read_summary(tmp_path)
    assert content["task"] == "classification"
    assert content["images"] == 40
    assert content["overall"]["accuracy"]["value"] == summary.overall["accuracy"].value
    assert json.loads((tmp_path / "summary.json").read_text())["names"]["CNV"]["positives"] == int(
        (images.targets == 0).sum()
    )


def test_findings_come_back_with_the_unknown(of_findings, tmp_path):
    images = of_findings([[0.9, 0.2], [0.6, 0.7], [0.3, 0.4]], [[1, 0], [0, NAN], [NAN, NAN]])

    write_classification(images, summarise_images(images), tmp_path, {})
    back = read_images(tmp_path)

    np.testing.assert_array_equal(back.present, images.present)
    np.testing.assert_array_equal(back.decided, images.decided)
    assert (
        (tmp_path / "metrics.csv").read_text().splitlines()[2].startswith("c1,,c1,No Finding,Nodule,0.6,0.7,")
    )


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        ([[1.0, 2.0, NAN]], [0], "c0: the network's output is not finite"),
        ([[1.0, 2.0, 3.0]], [3], "the true classes are 3 to 3, must be 0 to 2"),
    ],
)
def test_refused_outputs(logits, targets, message):
    calibration = Calibration(("CNV", "DME", "NORMAL"), "class", (1.0,), (0.0,), (0.5,) * 3)

    with pytest.raises(SegpipeError, match=message):
        ClassifiedImages.of_logits(["c0"], None, logits, targets, calibration)


def test_a_case_is_scored_once(of_classes):
    with pytest.raises(SegpipeError, match="a stands twice"):
        of_classes(FOUR[:2], TRUE[:2], cases=["a", "a"])


def test_probabilities_before_the_temperature_come_from_the_calibrated_ones():
    """A ledger keeps calibrated probabilities; undoing the calibration gives those of the logits."""
    random = np.random.default_rng(2)
    logits, cases = random.normal(0, 8, (50, 3)), [f"c{number}" for number in range(50)]
    for target, count in (("class", 1), ("findings", 3)):
        shift = (0.0,) if target == "class" else (1.0, -2.0, 0.5)
        calibration = Calibration(("a", "b", "c"), target, (1.7,) * count, shift, (0.5,) * 3)
        truth = np.arange(50) % 3 if target == "class" else random.integers(0, 2, (50, 3))

        of_logits = ClassifiedImages.of_logits(cases, None, logits, truth, calibration)
        back = ClassifiedImages.of_calibrated(cases, None, of_logits.probabilities, truth, calibration)

        np.testing.assert_allclose(back.before, of_logits.before, atol=1e-9)
        np.testing.assert_array_equal(back.decided, of_logits.decided)

"""Two models on the same images: paired differences, the right test, and what cannot be compared."""

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.evaluation.classification.comparison import OVERALL, compare_images

NAMES = ("VGG16", "EfficientNet")
TRUE = np.arange(120) % 3
CASES = [f"c{number}" for number in range(120)]


def probabilities(margin, seed):
    logits = margin * np.eye(3)[TRUE] + np.random.default_rng(seed).normal(0, 1, (120, 3))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.fixture
def models(of_classes):
    return of_classes(probabilities(0.5, 0), TRUE), of_classes(probabilities(3, 1), TRUE)


def test_one_image_a_patient_takes_delong_and_mcnemar(models):
    result = compare_images(*models, resamples=300)

    accuracy, auroc = result.scores[OVERALL]["accuracy"], result.scores["CNV"]["auroc"]
    assert accuracy.test == "McNemar, exact"
    assert auroc.test == "DeLong"
    assert result.scores[OVERALL]["macro_auroc"].test == "bootstrap"
    assert accuracy.better == auroc.better == 1
    assert auroc.difference.value == pytest.approx(auroc.scores[0].value - auroc.scores[1].value)
    words = auroc.in_words(NAMES)
    assert words.startswith("AUROC, CNV: EfficientNet is 0.")
    assert words.endswith("EfficientNet is better.")
    assert result.scores[OVERALL]["brier"].better == 1  # a smaller Brier score is better
    assert result.scores[OVERALL]["brier"].difference.value > 0


def test_several_images_a_patient_take_the_patients(of_classes):
    patients = [f"p{number // 4}" for number in range(120)]
    models = [of_classes(probabilities(*which), TRUE, patients) for which in ((0.5, 0), (3, 1))]

    result = compare_images(*models, resamples=300)

    assert result.clustered
    assert result.patients == 30
    assert result.scores[OVERALL]["accuracy"].test == "sign flips by patient"
    assert result.scores["CNV"]["auroc"].test == "bootstrap"
    assert result.scores["CNV"]["auroc"].better == 1


def test_delong_and_bootstrap_agree_on_independent_images(models, of_classes):
    """The intervals of both methods are alike where every image is of another patient."""
    by_delong = compare_images(*models, resamples=2000).scores["CNV"]["auroc"].difference
    paired = [f"p{number}" for number in [*range(119), 118]]
    clustered = [of_classes(probabilities(*which), TRUE, paired) for which in ((0.5, 0), (3, 1))]
    by_bootstrap = compare_images(*clustered, resamples=2000).scores["CNV"]["auroc"].difference

    assert by_bootstrap.low == pytest.approx(by_delong.low, abs=0.03)
    assert by_bootstrap.high == pytest.approx(by_delong.high, abs=0.03)


def test_a_model_against_itself(models):
    result = compare_images(models[0], models[0], resamples=100)

    assert all(
        score.direction in ("no clear difference", "")
        for of in result.scores.values()
        for score in of.values()
    )
    assert result.scores[OVERALL]["accuracy"].p_value == 1
    assert "do not show which model is better" in result.scores["CNV"]["auroc"].in_words(NAMES)


def test_images_and_names_are_paired_by_name(of_classes, models):
    order = np.random.default_rng(5).permutation(120)
    shuffled = of_classes(probabilities(3, 1)[order], TRUE[order], cases=[CASES[place] for place in order])

    paired, straight = (compare_images(models[0], other, resamples=100) for other in (shuffled, models[1]))

    assert paired.scores[OVERALL]["accuracy"].difference == straight.scores[OVERALL]["accuracy"].difference


def test_few_positives_have_no_test(of_findings):
    random = np.random.default_rng(0)
    truth = np.stack([np.arange(60) < 30, np.arange(60) < 9], axis=1).astype(float)
    models = [of_findings(random.uniform(0.1, 0.9, (60, 2)), truth) for _ in range(2)]

    result = compare_images(*models, resamples=100)

    assert result.scores["Effusion"]["auroc"].test == "DeLong"
    assert result.scores["Nodule"]["auroc"].test == ""
    assert result.scores["Nodule"]["auroc"].better is None
    assert result.scores[OVERALL]["exact_match"].test == "McNemar, exact"
    assert result.scores[OVERALL]["accuracy"].test == "bootstrap"


def test_other_images_are_refused(of_classes, models):
    fewer = of_classes(probabilities(3, 1)[:118], TRUE[:118])

    with pytest.raises(
        SegpipeError,
        match=r"comparison: the images differ: 2 images of the first model alone \(c118, c119\); evaluate both on",
    ):
        compare_images(models[0], fewer)


def test_other_names_and_kinds_are_refused(of_findings, models):
    findings = of_findings(np.full((120, 2), 0.5), np.zeros((120, 2)))

    with pytest.raises(
        SegpipeError, match="one model was scored on one class an image, the other on findings"
    ):
        compare_images(models[0], findings)


def test_other_truths_are_refused(of_classes, models):
    other = of_classes(probabilities(3, 1), np.where(np.arange(120) == 7, 0, TRUE))

    with pytest.raises(SegpipeError, match=r"c7 has different truths in the two evaluations \(DME and CNV\)"):
        compare_images(models[0], other)


def test_other_patients_are_refused(of_classes, models):
    other = of_classes(probabilities(3, 1), TRUE, patients=[f"p{number}" for number in range(120)])

    with pytest.raises(SegpipeError, match="c0 has different patients"):
        compare_images(models[0], other)

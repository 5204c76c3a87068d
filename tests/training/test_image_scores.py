"""The scores of a classifier's validation: four images whose figures are worked out by hand."""

from math import e, log, nan

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from refusals import refusal_of
from two_ranks import in_ranks

from segpipe.categories import Categories
from segpipe.errors import SegpipeError
from segpipe.training import ImageScore
from segpipe.training.image_scores import ImageScores, attach_image_accuracy

CLASSES = Categories(("CNV", "DME", "NORMAL"), "class")
FINDINGS = Categories(("Effusion", "Mass"), "findings")
CASES = ("one", "two", "three", "four")
CLASS_LOGITS = np.array([[2, 0, 0], [0, 2, 0], [1, 0, -1], [0, 0, 3]], np.float64)
TRUE_CLASSES = np.array([0, 1, 2, 2])
FINDING_LOGITS = np.array([[1, -1], [1, 2], [-1, 3], [0.5, 0]], np.float64)
TRUE_FINDINGS = np.array([[1, 0], [0, 0], [0, nan], [nan, 0]], np.float32)
OF_CLASSES = ImageScores(CASES, CLASS_LOGITS, TRUE_CLASSES, CLASSES)
OF_FINDINGS = ImageScores(CASES, FINDING_LOGITS, TRUE_FINDINGS, FINDINGS)


def validated(metric, logits, targets, cases=CASES):
    """Return the metric's value after an evaluator's run over the images, two a batch."""
    rows = list(zip(cases, logits, targets, strict=True))

    def step(engine, batch):
        engine.state.batch = [{"case": case} for case, _, _ in batch]
        return [{"pred": torch.tensor(row), "label": torch.tensor(target)} for _, row, target in batch]

    engine = Engine(step)
    metric.attach(engine, "score")
    return engine.run([rows[:2], rows[2:]]).metrics["score"]


def test_figures_of_classes():
    assert OF_CLASSES.accuracy() == 0.75
    # NORMAL: the third image is below both others, the fourth above both: 2 of 4 pairs
    assert OF_CLASSES.aurocs() == [1.0, 1.0, 0.5]
    losses = [log(e**2 + 2) - 2, log(e**2 + 2) - 2, log(e + 1 + 1 / e) + 1, log(e**3 + 2) - 3]
    assert OF_CLASSES.log_loss() == pytest.approx(sum(losses) / 4, rel=1e-12)
    np.testing.assert_array_equal(OF_CLASSES.present, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_allclose(OF_CLASSES.probabilities[0], np.array([e**2, 1, 1]) / (e**2 + 2))


def test_figures_of_findings_leave_unknown_ones_out():
    assert OF_FINDINGS.accuracy() == pytest.approx(4 / 6), "second image wrong twice; a logit of 0 is absent"
    # Effusion: a tie with one negative image, above the other: 1.5 of 2 pairs; Mass: no positive image
    assert OF_FINDINGS.aurocs() == [0.75, pytest.approx(nan, nan_ok=True)]
    losses = [log(1 + 1 / e), log(1 + e), log(1 + 1 / e), log(1 + 1 / e), log(1 + e**2), log(2)]
    assert OF_FINDINGS.log_loss() == pytest.approx(sum(losses) / 6, rel=1e-12)
    np.testing.assert_array_equal(OF_FINDINGS.present, TRUE_FINDINGS)


def test_findings_of_which_none_is_known_have_no_figures():
    unknown = ImageScores(CASES, FINDING_LOGITS, np.full((4, 2), nan, np.float32), FINDINGS)

    assert np.isnan([unknown.accuracy(), unknown.log_loss(), *unknown.aurocs()]).all()


@pytest.mark.parametrize(
    ("score", "of_classes", "of_findings"),
    [
        ("auroc", 2.5 / 3, 0.75),
        ("accuracy", 0.75, 4 / 6),
        ("log_loss", -OF_CLASSES.log_loss(), -OF_FINDINGS.log_loss()),
    ],
)
def test_the_metric_of_a_validation(score, of_classes, of_findings):
    metric = ImageScore(CLASSES, score)

    assert validated(metric, CLASS_LOGITS, TRUE_CLASSES) == pytest.approx(of_classes, rel=1e-6)
    assert metric.result.cases == CASES
    np.testing.assert_array_equal(metric.result.logits, CLASS_LOGITS)
    assert validated(ImageScore(FINDINGS, score), FINDING_LOGITS, TRUE_FINDINGS) == pytest.approx(
        of_findings, rel=1e-6
    )


def test_a_validation_forgets_the_one_before():
    metric = ImageScore(CLASSES, "accuracy")
    validated(metric, CLASS_LOGITS, TRUE_CLASSES)

    assert validated(metric, CLASS_LOGITS[:2], TRUE_CLASSES[:2], CASES[:2]) == 1.0
    assert metric.result.cases == CASES[:2]


def test_images_of_one_kind_have_the_lowest_auroc():
    """NaN would never be better, and no epoch would be kept."""
    assert validated(ImageScore(FINDINGS), FINDING_LOGITS, np.zeros((4, 2), np.float32)) == 0.0


def test_scores_that_are_not_finite_name_the_case():
    logits = CLASS_LOGITS.copy()
    logits[2, 1] = nan

    with pytest.raises(
        SegpipeError, match=r"three: the network's scores are NaN or infinite; .* lower the le"
    ):
        validated(ImageScore(CLASSES), logits, TRUE_CLASSES)


def test_an_unknown_score_is_refused():
    refusal = refusal_of(ImageScore, CLASSES, "f1")

    assert refusal == "score is 'f1', must be one of auroc, accuracy, log_loss"


@pytest.mark.parametrize(
    ("logits", "targets", "expected"),
    [
        (CLASS_LOGITS, TRUE_CLASSES, 3 / 4),
        (CLASS_LOGITS[:, :2], np.array([0, 0, 0, 1]), 2 / 4),
        (FINDING_LOGITS, TRUE_FINDINGS, 4 / 6),
    ],
    ids=["classes", "two-classes", "findings"],
)
def test_the_accuracy_of_an_epoch_of_training(logits, targets, expected):
    """Equal scores are decided for the first class: of two classes, the last image is wrong."""
    rows = [
        {"image": torch.tensor(row, dtype=torch.float32), "label": torch.tensor(target)}
        for row, target in zip(logits, targets, strict=True)
    ]
    network = torch.nn.Linear(logits.shape[1], logits.shape[1], bias=False)
    torch.nn.init.eye_(network.weight)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=torch.utils.data.DataLoader(rows, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
        loss_function=lambda scores, _: scores.sum(),
    )
    attach_image_accuracy(trainer)

    trainer.run()

    assert trainer.state.metrics["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("score", ["log_loss", "auroc", "accuracy"])
def test_a_validation_that_knows_nothing_is_refused(score):
    unknown = np.full((4, 2), nan, np.float32)

    refusal = refusal_of(validated, ImageScore(FINDINGS, score), FINDING_LOGITS, unknown)

    assert refusal.startswith(
        "validation: every finding is unknown in all of its 4 images, so that no epoch is"
    )


def score_of_rank(rank):
    """Return a rank's score and the images that it counts; rank 0 has one image, rank 1 three."""
    share = slice(0, 1) if rank == 0 else slice(1, 4)
    metric = ImageScore(CLASSES, "log_loss")
    for row in zip(
        CASES[share], torch.tensor(CLASS_LOGITS[share]), torch.tensor(TRUE_CLASSES[share]), strict=True
    ):
        metric.update(row)
    return metric.compute(), metric.result.cases


@pytest.mark.slow
def test_two_ranks_with_different_numbers_of_images_count_each_once():
    assert in_ranks(score_of_rank) == [(pytest.approx(-OF_CLASSES.log_loss()), CASES)] * 2

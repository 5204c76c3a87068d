"""Dice by hand on a row of four voxels with two foreground classes; accuracy and loss of the engines."""

import numpy as np
import pytest
import torch
from monai.engines import IterationEvents
from torch.nn.functional import one_hot

from segpipe.evaluation import dice_per_class
from segpipe.training import PresentDice


def dice(pred, reference):
    maps = [one_hot(torch.tensor(row), 3).T[None].float() for row in (pred, reference)]
    return PresentDice()(y_pred=maps[0], y=maps[1])[0]


def test_overlap_is_counted_per_class():
    # class 1: 2*1 / (2+1); class 2: 2*1 / (1+2)
    torch.testing.assert_close(dice([1, 1, 2, 0], [1, 2, 2, 0]), torch.tensor([2 / 3, 2 / 3]))


def test_a_class_that_is_found_and_not_there_scores_0():
    torch.testing.assert_close(dice([1, 2, 0, 0], [1, 0, 0, 0]), torch.tensor([1.0, 0.0]))


def test_a_class_that_is_there_and_not_found_scores_0():
    torch.testing.assert_close(dice([1, 0, 0, 0], [1, 2, 0, 0]), torch.tensor([1.0, 0.0]))


def test_a_class_that_neither_has_counts_in_no_mean():
    metric = PresentDice()
    maps = [one_hot(torch.tensor(row), 3).T[None].float() for row in ([1, 0, 0, 0], [1, 1, 0, 0])]

    values = metric(y_pred=maps[0], y=maps[1])

    torch.testing.assert_close(values[0], torch.tensor([2 / 3, float("nan")]), equal_nan=True)
    torch.testing.assert_close(metric.aggregate().squeeze(), torch.tensor(2 / 3))


def test_it_is_the_dice_of_the_evaluation():
    random = np.random.default_rng(0)
    for _ in range(20):
        pred, reference = random.integers(0, 3, (2, 4))

        expected = dice_per_class(pred, reference, num_classes=3)

        np.testing.assert_allclose(dice(pred.tolist(), reference.tolist()).numpy(), expected, rtol=1e-6)


def test_an_engines_accuracy_and_loss_are_those_of_what_it_saw(training):
    """The expected values of trainer and evaluator are computed from their own logits."""
    made = training("metrics", epochs=2, validation_loss=True)
    iterations = {made.trainer: [], made.evaluator: []}

    def keep(engine):
        logits, label = engine.state.output["pred"].detach(), engine.state.output["label"][:, 0].long()
        loss = torch.nn.functional.cross_entropy(logits, label).item()
        iterations[engine].append(
            (engine.state.epoch, loss, (logits.argmax(1) == label).float().mean().item())
        )

    for engine in iterations:
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, keep)
    made.run()

    for engine, name in ((made.trainer, "train"), (made.evaluator, "validation")):
        last = [(loss, accuracy) for epoch, loss, accuracy in iterations[engine] if epoch == 2]
        assert len(last) == {"train": 3, "validation": 2}[name]
        loss, accuracy = np.mean(last, axis=0)
        assert engine.state.metrics["loss"] == pytest.approx(loss, rel=1e-5)
        assert engine.state.metrics["accuracy"] == pytest.approx(accuracy, rel=1e-6)
        logged = made.scalars()
        assert logged[f"loss/{name}"][2] == pytest.approx(loss, rel=1e-5)
        assert logged[f"voxel_accuracy/{name}"][2] == pytest.approx(accuracy, rel=1e-5)

"""Dice by hand on a row of four voxels with two foreground classes; accuracy and loss of the engines."""

import numpy as np
import pytest
import torch
from label_tables import brain_tumours, table
from monai.engines import IterationEvents
from torch.nn.functional import one_hot

from segpipe.confusion import confusion_matrix, foreground_dice
from segpipe.evaluation import dice_per_class
from segpipe.training import PresentDice
from segpipe.training.metrics import _scores_and_classes


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


def test_maps_of_class_indices_are_scored_by_region():
    labels = brain_tumours()
    prediction, reference = torch.tensor([[0, 2, 3, 3]]), torch.tensor([[0, 2, 1, 3]])

    scored = PresentDice(labels)._compute_tensor(prediction[:, None], reference[:, None])

    expected = foreground_dice(
        confusion_matrix(prediction.numpy(), reference.numpy(), 4), labels.target_classes
    )
    np.testing.assert_allclose(scored[0], expected)
    np.testing.assert_allclose(expected, [1, 1, 2 / 3])


def test_voxels_that_nobody_looked_at_count_in_no_dice():
    labels = table("background", "tumour", ignore=9)

    scored = PresentDice(labels)._compute_tensor(
        torch.tensor([[[1, 1, 1, 0]]]), torch.tensor([[[1, 2, 2, 1]]])
    )

    np.testing.assert_allclose(scored, [[2 / 3]])


def test_voxels_that_nobody_looked_at_count_in_no_accuracy():
    logits = torch.tensor([[[4.0, 0, 0, 0], [0, 4, 4, 4]]])
    output = {"pred": logits, "label": torch.tensor([[[0, 1, 0, 2]]])}

    scores, classes = _scores_and_classes(output, table("background", "tumour", ignore=9))

    assert classes.tolist() == [0, 1, 0]
    assert scores.argmax(1).tolist() == [0, 1, 1]


def test_the_accuracy_of_regions_is_that_of_the_classes_that_they_write():
    """Whole tumour and core, but no enhancing tumour: necrosis."""
    output = {"pred": torch.tensor([[[1.0], [1.0], [-1.0]]]), "label": torch.tensor([[[1]]])}

    scores, classes = _scores_and_classes(output, brain_tumours())

    assert scores.argmax(1).tolist() == classes.tolist() == [1]

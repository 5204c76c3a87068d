"""Values read from the log of a tiny training, epoch by epoch."""

import math

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.engines import IterationEvents
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.labels import LabelTable
from segpipe.losses import DiceCrossEntropy
from segpipe.training.tensorboard import dice_tags

EPOCHS = [1, 2, 3, 4]
FIGURES = {
    "loss/train",
    "loss/validation",
    *(f"loss_terms/{term}/{name}" for term in ("dice", "cross_entropy") for name in ("train", "validation")),
    "voxel_accuracy/train",
    "voxel_accuracy/validation",
    "optimizer/learning_rate",
    "optimizer/gradient_norm",
    "speed/seconds_per_epoch",
    "speed/samples_per_second",
    "memory/peak_gb",
    "dice/mean",
    "dice/ball",
}


class PowerCut(BaseException):
    """An exception that no handler catches."""


def break_off(training, event, at):
    def cut(_):
        raise PowerCut

    training.trainer.add_event_handler(event(once=at), cut)
    with pytest.raises(PowerCut):
        training.run()


def steps(training):
    """Return tag -> steps of everything in the log, ascending.

    Files of one second are read in the order of their names, in which the tenth file of a process precedes the ninth.
    """
    log = training.log()
    read = {"scalars": log.Scalars, "images": log.Images, "tensors": log.Tensors}
    return {tag: sorted(e.step for e in of(tag)) for kind, of in read.items() for tag in log.Tags()[kind]}


def test_every_figure_is_logged_at_every_epoch(training):
    logged = training(loss=DiceCrossEntropy(), validation_loss=True).run().scalars()

    assert set(logged) == FIGURES
    assert {tag: list(values) for tag, values in logged.items()} == dict.fromkeys(FIGURES, EPOCHS)
    assert all(math.isfinite(value) for values in logged.values() for value in values.values())


def test_terms_add_up_to_the_loss(training):
    logged = training(loss=DiceCrossEntropy(dice_weight=3), validation_loss=True).run().scalars()

    for name in ("train", "validation"):
        for epoch, loss in logged[f"loss/{name}"].items():
            terms = [logged[f"loss_terms/{term}/{name}"][epoch] for term in ("dice", "cross_entropy")]
            assert sum(terms) == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_a_loss_without_terms_shows_none(training):
    logged = training(validation_loss=True).run().scalars()

    assert set(logged) == {tag for tag in FIGURES if not tag.startswith("loss_terms")}


def test_the_gradient_norm_is_that_of_each_steps_gradients(training):
    made = training(epochs=2)
    norms = []

    def look(_):
        gradients = [parameter.grad.flatten() for parameter in made.network.parameters()]
        norms.append(torch.cat(gradients).norm().item())

    made.trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, look)
    logged = made.run().scalars()["optimizer/gradient_norm"]

    assert logged == pytest.approx({1: np.mean(norms[:3]), 2: np.mean(norms[3:])}, rel=1e-5)


def test_samples_a_second_are_the_epochs_over_its_seconds(training):
    logged = training(epochs=2).run().scalars()

    for epoch in (1, 2):
        samples = logged["speed/samples_per_second"][epoch] * logged["speed/seconds_per_epoch"][epoch]
        assert samples == pytest.approx(6, rel=1e-5)


def test_peak_memory_is_of_this_process(training):
    logged = training(epochs=2).run().scalars()["memory/peak_gb"]

    assert 0.1 < logged[1] <= logged[2] < 100


def test_logging_changes_no_weight(training):
    logged = training("logged", loss=DiceCrossEntropy(), validation_loss=True).run()
    silent = training("silent", loss=DiceCrossEntropy(), logged=False).run()

    one, other = logged.network.state_dict(), silent.network.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not silent.folder.tensorboard.exists()


@pytest.mark.parametrize(
    ("event", "at"),
    [
        (Events.ITERATION_COMPLETED, 8),
        pytest.param(Events.EPOCH_COMPLETED, 3, marks=pytest.mark.slow),
        pytest.param(Events.EPOCH_STARTED, 2, marks=pytest.mark.slow),
    ],
)
def test_after_a_resume_everything_is_there_once(training, whole, event, at):
    """The run ended in the middle of an epoch, or logged and did not save; repeated entries replace the old ones."""
    expected = steps(whole)
    break_off(training("broken"), event, at)
    resumed = training("broken", resume=True)
    first = resumed.folder.training_state.is_file() and torch.load(resumed.folder.training_state)["epoch"] + 1

    written = steps(resumed.run())

    assert written.pop("run/resumed/text_summary") == [first]
    assert written == expected


@pytest.mark.slow
def test_a_run_that_dies_in_its_first_epoch_begins_its_log_anew(training, whole):
    break_off(training("broken"), Events.ITERATION_COMPLETED, 2)
    anew = training("broken", resume=True)
    assert not anew.folder.tensorboard.exists()

    written = steps(anew.run())

    assert written == steps(whole)
    assert written["run/configuration/text_summary"] == [0]


def test_without_validation_training_is_logged_alone(training):
    logged = training(validation=0).run()

    assert set(logged.scalars()) == {
        tag for tag in FIGURES if not tag.startswith(("dice", "loss_terms")) and "validation" not in tag
    }
    assert logged.log().Tags()["images"] == []


@pytest.mark.slow
def test_a_class_that_no_case_has_has_no_dice_and_breaks_nothing(training):
    names = ("background", "ball", "nowhere")

    logged = training(names=names).run().scalars()

    assert all(math.isnan(value) or value == 0 for value in logged["dice/nowhere"].values())
    assert all(math.isfinite(value) for value in logged["dice/ball"].values())
    assert all(math.isfinite(value) for value in logged["dice/mean"].values())


@pytest.mark.parametrize("name", ["left/ball", "Ball, größer: 50 % (\\)", "a b  c", "mean"])
def test_odd_names_of_classes_stand_in_tags_as_they_are(training, name):
    logged = training(epochs=1, names=("background", name)).run().scalars()

    tag = "dice/mean (1)" if name == "mean" else f"dice/{name}"
    assert logged[tag] == logged["dice/mean"]


def test_a_class_called_as_another_tag_has_its_own():
    rows = [
        {"index": index, "name": name, "color": [0, 0, 0], "value": index}
        for index, name in enumerate(["background", "mean", "ball"])
    ]

    assert dice_tags(LabelTable.from_rows(rows)) == ["dice/mean (1)", "dice/ball"]


def test_all_is_in_one_file(training):
    """The standard writer of hyper-parameters would make a second folder for a run."""
    folder = training().run().folder

    (file,) = folder.tensorboard.iterdir()
    assert file.is_file()
    assert EventAccumulator(str(file)).Reload()

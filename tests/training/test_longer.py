"""A finished run gets more epochs, with a new cycle of the learning rate."""

import pytest
import torch
from ignite.engine import Events
from refusals import refusal_of

from segpipe.training import RunFolder, cycle_steps
from segpipe.training.longer import Cycle, cycle_of, present_epochs, require_own_cycle


class PowerCut(BaseException):
    """An exception that no handler catches."""


def cut(_):
    raise PowerCut


def weights(folder):
    return torch.load(folder.path / "last.pt", weights_only=True)


@pytest.fixture
def longer(training):
    """Return a run of two epochs that was made two longer."""
    training("run", epochs=2).run()
    return training("run", epochs=4, began=2, resume=True).run()


def test_the_schedule_begins_again(longer, caplog):
    """Both cycles have two epochs of three steps, so that their rates are equal."""
    rates = longer.scalars()["optimizer/learning_rate"]

    assert list(rates) == [1, 2, 3, 4]
    assert (rates[3], rates[4]) == (rates[1], rates[2])
    assert rates[1] > 1000 * rates[2] > 0


def test_a_longer_run_broken_off_ends_with_the_same_weights(longer, training):
    training("broken", epochs=2).run()
    broken = training("broken", epochs=4, began=2, resume=True)
    broken.trainer.add_event_handler(Events.ITERATION_STARTED(once=11), cut)  # in epoch 4
    with pytest.raises(PowerCut):
        broken.run()

    resumed = training("broken", epochs=4, began=2, resume=True).run()

    one, other = weights(longer.folder), weights(resumed.folder)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    state = torch.load(resumed.folder.training_state, weights_only=True)
    assert (state["epoch"], state["max_epochs"], state["cycle_began"]) == (4, 4, 2)


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        (
            1,
            "this run has had 2 epochs, and epochs is 1: a longer run needs more than 2; give --epochs 3 or more "
            "(segpipe train: epochs=3), or choose another --run_name (segpipe train: run_name=NAME) to train again",
        ),
        (
            2,
            "this run is finished, after epoch 2 of 2; give more epochs to make it longer (--epochs N, segpipe train: "
            "epochs=N), or choose another --run_name (segpipe train: run_name=NAME) to train again",
        ),
    ],
)
def test_a_finished_run_needs_more_epochs(training, epochs, message):
    finished = training("run", epochs=2).run()

    assert refusal_of(training("run", epochs=epochs, resume=True).run) == f"{finished.folder.path}: {message}"


def test_a_longer_run_goes_on_with_its_own_epochs(training):
    training("run", epochs=2).run()
    broken = training("run", epochs=4, began=2, resume=True)
    broken.trainer.add_event_handler(Events.EPOCH_STARTED(once=4), cut)
    with pytest.raises(PowerCut):
        broken.run()

    refusal = refusal_of(training, "run", epochs=2, resume=True)

    assert "epochs changed, first epochs: 4 then, 2 now" in refusal


def test_only_a_finished_run_begins_a_new_cycle():
    finished = {"epoch": 2, "max_epochs": 2, "stopped_early": False}
    stopped = {"epoch": 2, "max_epochs": 9, "stopped_early": True}
    going = {"epoch": 3, "max_epochs": 5, "stopped_early": False, "cycle_began": 2}

    assert cycle_of(finished, 4) == cycle_of(stopped, 4) == Cycle(2, is_new=True)
    assert cycle_of(finished, 2) == cycle_of(stopped, 9) == Cycle(0)
    assert cycle_of(going, 5) == cycle_of(going, 8) == Cycle(2)


def test_a_state_says_how_many_epochs_its_run_has(tmp_path):
    path = tmp_path / "training_state.pt"
    torch.save({"epoch": 3, "max_epochs": 5, "stopped_early": False, "cycle_began": 2}, path)
    assert present_epochs(path, 2, 9) == 5

    torch.save({"epoch": 3, "max_epochs": 5, "stopped_early": False}, path)
    assert present_epochs(path, 5, 9) == 5

    torch.save({"epoch": 5, "max_epochs": 5, "stopped_early": False}, path)
    assert present_epochs(path, 5, 9) == 9


def test_a_cycle_has_the_steps_of_its_epochs(tmp_path):
    (tmp_path / "run").mkdir()
    torch.save({"epoch": 5, "max_epochs": 5}, tmp_path / "run" / "training_state.pt")

    assert cycle_steps(RunFolder(tmp_path, "run"), 7, 3) == 21
    assert cycle_steps(RunFolder(tmp_path, "run", resume=True), 7, 3) == 6


def test_a_schedule_over_all_epochs_is_refused(tmp_path):
    """The YAML of bundles of earlier versions has one."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    whole = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=12)

    refusal = refusal_of(require_own_cycle, whole, tmp_path, 3, 4)

    assert "its schedule of the learning rate has 12 steps, for all 4 epochs" in refusal
    assert require_own_cycle(whole, tmp_path, 3, 8) is None

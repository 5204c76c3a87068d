"""An interrupted run ends like an uninterrupted one; the same seed gives the same weights."""

import itertools
import json
import os
import re
import shutil
import signal

import pytest
import torch
from ignite.engine import Events
from monai.engines import IterationEvents
from refusals import refusal_of

from segpipe.monai_run import RunEnded
from segpipe.networks import read_sidecar
from segpipe.training import RunFolder
from segpipe.training.signals import Phase, SignalWatch, Stopped


class PowerCut(BaseException):
    """An exception that no handler catches."""


def break_off(training, event, at):
    """Interrupt a training at an event."""

    def cut(engine):
        raise PowerCut

    training.trainer.add_event_handler(event(once=at), cut)
    with pytest.raises(PowerCut):
        training.run()


def weights(folder, name="last.pt"):
    return torch.load(folder.path / name, weights_only=True)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def differ(one, other):
    return any(not torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_gives_the_same_weights(training, whole):
    other = training("other").run()

    assert_equal(weights(whole.folder), weights(other.folder))
    assert_equal(weights(whole.folder, "best.pt"), weights(other.folder, "best.pt"))


@pytest.mark.slow
def test_another_seed_gives_other_weights(training, whole):
    other = training("other", seed=1).run()

    assert differ(weights(whole.folder), weights(other.folder))


@pytest.mark.slow
def test_loader_workers_change_no_weights(training, whole):
    other = training("other", num_workers=2).run()

    assert_equal(weights(whole.folder), weights(other.folder))


@pytest.mark.parametrize(
    ("event", "at"),
    [
        (Events.ITERATION_COMPLETED, 8),  # three iterations an epoch: in the middle of the third
        (Events.EPOCH_COMPLETED, 3),
        pytest.param(Events.EPOCH_STARTED, 2, marks=pytest.mark.slow),
        pytest.param(Events.ITERATION_STARTED, 12, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_broken_off_run_ends_with_the_same_weights(training, whole, event, at):
    """Dropout, batch norm, AdamW's moments, the schedule and the best score continue after the interruption."""
    break_off(training("broken"), event, at)

    resumed = training("broken", resume=True).run()

    assert_equal(weights(whole.folder), weights(resumed.folder))
    assert_equal(weights(whole.folder, "best.pt"), weights(resumed.folder, "best.pt"))
    assert resumed.evaluator.state.best_metric == whole.evaluator.state.best_metric
    assert resumed.evaluator.state.best_metric_epoch == whole.evaluator.state.best_metric_epoch


@pytest.mark.slow
def test_a_run_broken_off_twice_ends_with_the_same_weights(training, whole):
    break_off(training("broken"), Events.ITERATION_COMPLETED, 5)
    break_off(training("broken", resume=True), Events.EPOCH_COMPLETED, 3)

    resumed = training("broken", resume=True).run().folder

    assert_equal(weights(whole.folder), weights(resumed))


def on_time(engine, event, at, act):
    """Call a function when an engine's event happens for the `at`-th time; `once` counts iterations for some events."""
    times = itertools.count(1)
    engine.add_event_handler(event, lambda _: act() if next(times) == at else None)


def stop(training, engine, event, at, number=signal.SIGTERM):
    """Send this process a signal during a training and save as MONAI's run does; return the step."""
    watch = SignalWatch(lambda _: None)
    on_time(engine, event, at, lambda: os.kill(os.getpid(), number))
    watch.start()
    try:
        with pytest.raises(Stopped) as stopped:
            training.run()
        state = training.trainer.training_state
        where = state.position
        state.save_within(training.trainer)
    finally:
        watch.stop()
    assert stopped.value.code == 128 + number
    return where


@pytest.mark.parametrize(
    ("event", "at", "where"),
    [
        pytest.param(Events.STARTED, 1, "", marks=pytest.mark.slow),
        pytest.param(
            Events.ITERATION_STARTED, 1, " in epoch 1, after batch 1 of 3", marks=pytest.mark.slow
        ),  # the step is finished first
        pytest.param(Events.GET_BATCH_STARTED, 8, " in epoch 3, after batch 1 of 3", marks=pytest.mark.slow),
        pytest.param(
            Events.GET_BATCH_COMPLETED, 8, " in epoch 3, after batch 1 of 3", marks=pytest.mark.slow
        ),
        pytest.param(
            IterationEvents.FORWARD_COMPLETED, 8, " in epoch 3, after batch 2 of 3", marks=pytest.mark.slow
        ),
        pytest.param(
            IterationEvents.MODEL_COMPLETED, 6, " in epoch 2, after batch 3 of 3", marks=pytest.mark.slow
        ),
        (Events.ITERATION_COMPLETED, 8, " in epoch 3, after batch 2 of 3"),
        pytest.param(
            Events.EPOCH_STARTED, 2, "", marks=pytest.mark.slow
        ),  # the state of the first epoch is saved
        pytest.param(
            Events.EPOCH_COMPLETED, 1, "", marks=pytest.mark.slow
        ),  # after it is saved, since the handler comes last
    ],
    ids=str,
)
def test_a_signal_saves_within_the_epoch(training, whole, event, at, where):
    """Batch norm, dropout, moments, the schedule and the epoch's figures continue after the last finished step."""
    stopped = training("stopped")

    assert stop(stopped, stopped.trainer, event, at) == where

    resumed = training("stopped", resume=True)
    steps = []
    resumed.trainer.add_event_handler(Events.ITERATION_STARTED, lambda _: steps.append(1))
    resumed.run()
    assert_equal(weights(whole.folder), weights(resumed.folder))
    assert_equal(weights(whole.folder, "best.pt"), weights(resumed.folder, "best.pt"))
    done = 3 * (int(where.split()[2].strip(",")) - 1) + int(where.split()[5]) if where else None
    assert done is None or len(steps) == 12 - done
    logged, expected = resumed.scalars(), whole.scalars()
    for tag in ("loss/train", "voxel_accuracy/train", "optimizer/gradient_norm", "optimizer/learning_rate"):
        assert logged[tag] == pytest.approx(expected[tag]), tag
    assert logged["dice/mean"] == expected["dice/mean"]


@pytest.mark.slow
def test_a_signal_with_loader_workers_saves_within_the_epoch(training, whole):
    stopped = training("stopped", num_workers=2)

    assert stop(stopped, stopped.trainer, Events.GET_BATCH_STARTED, 8) == " in epoch 3, after batch 1 of 3"

    assert_equal(weights(whole.folder), weights(training("stopped", resume=True, num_workers=2).run().folder))


@pytest.mark.parametrize("epoch", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_signal_in_a_validation_does_not_train_the_epoch_again(training, whole, epoch):
    """The validation is repeated, with the random numbers and the best score from before it."""
    stopped = training("stopped")

    where = stop(stopped, stopped.evaluator, Events.ITERATION_COMPLETED, 1 + (epoch - 1) * 2)
    assert where.startswith(" in epoch")

    resumed = training("stopped", resume=True).run()
    assert_equal(weights(whole.folder), weights(resumed.folder))
    assert_equal(weights(whole.folder, "best.pt"), weights(resumed.folder, "best.pt"))
    assert resumed.scalars()["dice/mean"] == whole.scalars()["dice/mean"]
    assert resumed.scalars()["loss/train"] == pytest.approx(whole.scalars()["loss/train"])


@pytest.mark.slow
def test_a_run_stopped_at_every_step_ends_with_the_same_weights(training, whole):
    """Of twelve steps, each run but the last does one step, and the ends of epochs at this step."""
    for step in range(1, 12):
        stopped = training("stopped", resume=step > 1)
        stop(stopped, stopped.trainer, Events.ITERATION_STARTED, 1)

    assert_equal(weights(whole.folder), weights(training("stopped", resume=True).run().folder))


@pytest.mark.slow
def test_a_long_step_is_saved_from_before_it(training, whole, monkeypatch):
    """The signal does not wait for the step: a thread writes the copy while the step continues."""
    monkeypatch.setattr("segpipe.training.state._LONG_STEP_S", 0.0)
    stopped = training("stopped")

    def write_aside():
        assert stopped.trainer.training_state.save_aside(stopped.trainer, Phase.STEP)
        raise PowerCut

    on_time(stopped.trainer, IterationEvents.MODEL_COMPLETED, 8, write_aside)
    watch = SignalWatch(lambda _: None)
    watch.start()
    with pytest.raises(PowerCut):
        stopped.run()
    watch.stop()
    assert torch.load(stopped.folder.training_state, weights_only=True)["batches"] == 1

    assert_equal(weights(whole.folder), weights(training("stopped", resume=True).run().folder))


@pytest.mark.slow
def test_the_earlier_state_stays_where_the_new_one_cannot_be_read(training, monkeypatch):
    """A disk may return other bytes than were written."""
    first = training()
    break_off(first, Events.EPOCH_COMPLETED, 2)
    before = first.folder.training_state.read_bytes()
    second, save = training(resume=True), torch.save

    def save_half(state, file):
        save(state, file)
        if "optimizer" in state:
            file.truncate(1000)

    monkeypatch.setattr("torch.save", save_half)
    refused(second, "cannot be read")

    assert first.folder.training_state.read_bytes() == before


@pytest.mark.slow
def test_a_state_of_the_version_before_goes_on(training, whole):
    first = training("old")
    break_off(first, Events.ITERATION_COMPLETED, 8)
    state = torch.load(first.folder.training_state, weights_only=True)
    state["version"] = 2
    del state["batches"], state["figures"], state["processes"]
    torch.save(state, first.folder.training_state)

    assert_equal(weights(whole.folder), weights(training("old", resume=True).run().folder))


def test_nothing_is_written_where_the_folder_was_deleted(training):
    """A new folder of this name would be no run: neither a start nor a resume accepts it."""
    deleted = training(logged=False)
    deleted.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=5), lambda _: shutil.rmtree(deleted.folder.path)
    )

    refused(deleted, "was deleted or moved while its training ran")

    assert not deleted.folder.path.exists()


@pytest.mark.slow
def test_a_resume_does_not_repeat_finished_epochs(training):
    break_off(training("broken"), Events.ITERATION_COMPLETED, 8)
    resumed = training("broken", resume=True)
    epochs = []
    resumed.trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: epochs.append(engine.state.epoch))

    resumed.run()

    assert epochs == [3, 4]


@pytest.mark.slow
def test_a_worse_validation_after_a_resume_keeps_the_best(training):
    """Without the best score, a resume would overwrite best.pt with the next weights."""
    first = training("broken")
    break_off(first, Events.EPOCH_COMPLETED, 3)
    state = torch.load(first.folder.training_state, weights_only=True)
    state["best_metric"], state["best_metric_epoch"] = 2.0, 2  # a Dice that no later epoch can reach
    torch.save(state, first.folder.training_state)
    before = first.folder.best.read_bytes()

    resumed = training("broken", resume=True).run()

    assert resumed.folder.best.read_bytes() == before


def test_the_state_is_tensors_and_plain_values(training):
    folder = training().run().folder

    state = torch.load(folder.training_state, weights_only=True)

    assert state["epoch"] == 4
    assert_equal(state["network"], weights(folder))
    assert set(state) >= {"optimizer", "lr_scheduler", "random", "best_metric", "experiment_sha256"}


@pytest.mark.slow
def test_sidecars_say_which_epoch_and_score(training):
    run = training().run()

    assert read_sidecar(run.folder.last).training["epoch"] == 4
    best = read_sidecar(run.folder.best).training
    assert best["epoch"] == run.evaluator.state.best_metric_epoch
    assert best["validation"] == {"val_mean_dice": run.evaluator.state.best_metric}
    assert best["cases"] == {"case_0": "ab"}


def refused(training, pattern):
    assert re.search(pattern, refusal_of(training.run))


@pytest.mark.slow
def test_a_finished_run_is_not_resumed(training):
    training().run()

    refused(training(resume=True), "this run is finished, after epoch 4 of 4")


def test_a_run_that_stopped_early_is_finished(training):
    stopped = training(epochs=30, patience=1, learning_rate=0.0)  # nothing changes, so nothing gets better
    stopped.run()
    assert stopped.trainer.state.epoch == 2

    refused(training(epochs=30, patience=1, learning_rate=0.0, resume=True), "finished, after epoch 2 of 30")


@pytest.mark.slow
def test_a_run_is_not_resumed_on_other_data(training):
    """The configuration keeps the manifest's name, and not its present content."""
    break_off(training(), Events.EPOCH_COMPLETED, 3)

    refused(training(resume=True, provenance={"cases": {"case_0": "cd"}}), "the training cases changed")


def test_a_state_of_another_format_is_refused(training):
    first = training()
    break_off(first, Events.EPOCH_COMPLETED, 3)
    torch.save({"version": 99}, first.folder.training_state)

    refused(training(resume=True), "training state version 99, this segpipe reads")


def test_a_run_of_more_processes_is_not_resumed_by_one(training):
    """Where both have one step an epoch, the batch would be another one."""
    first = training()
    break_off(first, Events.EPOCH_COMPLETED, 3)
    state = torch.load(first.folder.training_state, weights_only=True)
    torch.save({**state, "processes": 2}, first.folder.training_state)

    refused(
        training(resume=True),
        "had 2 processes, now there are 1; .* resume with as many processes as it began",
    )


@pytest.mark.slow
def test_a_state_of_another_network_is_refused(training):
    first = training()
    break_off(first, Events.EPOCH_COMPLETED, 3)
    state = torch.load(first.folder.training_state, weights_only=True)
    state["network"]["4.bias"] = torch.zeros(3)
    torch.save(state, first.folder.training_state)

    refused(training(resume=True), r"another network: 1 of .* first 4.bias: \(3,\) in the file")


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ([1, 2], "training state version None"),
        ({"version": 3, "epoch": 1}, "is no whole training state: it has no experiment_sha256"),
        ({"version": 3, "network": torch.ones(1).expand(10**6, 10**6)}, "bytes more than it holds"),
        ({"version": 3, "network": torch.zeros(2**22)}, "bytes; at most .* are read"),
    ],
)
def test_a_hostile_state_is_refused(training, content, pattern, monkeypatch):
    """A run's folder may come from another person."""
    monkeypatch.setattr("segpipe.training.state._LARGEST_BESIDE", 2**20)
    first = training()
    break_off(first, Events.EPOCH_COMPLETED, 3)
    torch.save(content, first.folder.training_state)

    refused(training(resume=True), pattern)


def test_a_cut_state_is_refused(training):
    first = training()
    break_off(first, Events.EPOCH_COMPLETED, 3)
    first.folder.training_state.write_bytes(first.folder.training_state.read_bytes()[:1000])

    refused(training(resume=True), "training_state.pt: ")


def test_a_run_that_diverges_ends_and_keeps_its_last_good_epoch(training):
    """MONAI would continue, and the arg max of NaN looks like a normal label map."""
    diverging = training()
    diverging.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=7), lambda engine: diverging.network[4].bias.data.fill_(float("nan"))
    )

    refused(diverging, "NaN or infinite: the training diverged .*lower the learning rate")

    assert torch.load(diverging.folder.training_state, weights_only=True)["epoch"] == 2
    for name in ("best.pt", "last.pt"):
        assert all(tensor.isfinite().all() for tensor in weights(diverging.folder, name).values())


@pytest.mark.slow
def test_a_crash_while_the_last_weights_are_written_leaves_the_run_unfinished(training, whole, monkeypatch):
    """If the state were written first, the run would count as finished with older weights."""
    broken = training("broken")

    def cut(path, *_):
        assert path == broken.folder.last
        raise PowerCut

    def arm(_):
        monkeypatch.setattr("segpipe.training.state.save_weights", cut)

    broken.evaluator.add_event_handler(
        Events.COMPLETED, lambda engine: engine.state.epoch == 4 and arm(engine)
    )
    with pytest.raises(PowerCut):
        broken.run()
    monkeypatch.undo()

    resumed = training("broken", resume=True).run().folder

    assert_equal(weights(whole.folder), weights(resumed))


@pytest.mark.slow
def test_nothing_but_the_runs_own_files_is_left(training):
    folder = training().run().folder

    assert sorted(path.name for path in folder.path.iterdir()) == [
        ".segpipe-lock",
        "best.json",
        "best.pt",
        "configuration.yaml",
        "environment.json",
        "last.json",
        "last.pt",
        "tensorboard",
        "training_state.pt",
    ]
    assert json.loads((folder.path / "best.json").read_text())["version"] == 1


def test_another_rank_writes_nothing(training, monkeypatch):
    for room in ("state", "scalars", "pictures"):
        monkeypatch.setattr(f"segpipe.training.{room}.is_main_process", lambda: False)

    folder: RunFolder = training().run().folder

    names = sorted(path.name for path in folder.path.iterdir())
    assert names == [".segpipe-lock", "configuration.yaml", "environment.json"]


@pytest.mark.slow
def test_in_monais_run_a_refusal_is_no_ordinary_exception_in_the_engine(training, monkeypatch):
    """Ignite would print an ordinary exception with a traceback."""
    training().run()
    monkeypatch.setattr("segpipe.monai_run.is_monai_run", lambda: True)

    with pytest.raises(RunEnded):
        training(resume=True).run()
    assert not issubclass(RunEnded, Exception)

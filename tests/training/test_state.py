"""A run that is broken off ends as one that was not; the same seed gives the same weights."""

import json
import re

import pytest
import torch
from ignite.engine import Events

from segpipe.errors import SegpipeError
from segpipe.networks import read_sidecar
from segpipe.training import RunFolder


class PowerCut(BaseException):
    """What no handler catches."""


def break_off(training, event, at):
    """Let a training end in the middle of something."""

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


def test_the_same_seed_gives_the_same_weights(training):
    one, other = training("one").run().folder, training("other").run().folder

    assert_equal(weights(one), weights(other))
    assert_equal(weights(one, "best.pt"), weights(other, "best.pt"))


def test_another_seed_gives_other_weights(training):
    one, other = training("one").run().folder, training("other", seed=1).run().folder

    assert differ(weights(one), weights(other))


def test_loader_workers_change_no_weights(training):
    one, other = training("one").run().folder, training("other", num_workers=2).run().folder

    assert_equal(weights(one), weights(other))


@pytest.mark.parametrize(
    ("event", "at"),
    [
        (Events.ITERATION_COMPLETED, 8),  # three iterations an epoch: in the middle of the third
        (Events.EPOCH_STARTED, 2),
        (Events.EPOCH_COMPLETED, 3),
        (Events.ITERATION_STARTED, 12),
    ],
    ids=str,
)
def test_a_broken_off_run_ends_with_the_same_weights(training, event, at):
    """Dropout, batch norm, AdamW's moments, the schedule, the best score: all go on where they were."""
    whole = training("whole").run()
    break_off(training("broken"), event, at)

    resumed = training("broken", resume=True).run()

    assert_equal(weights(whole.folder), weights(resumed.folder))
    assert_equal(weights(whole.folder, "best.pt"), weights(resumed.folder, "best.pt"))
    assert resumed.evaluator.state.best_metric == whole.evaluator.state.best_metric
    assert resumed.evaluator.state.best_metric_epoch == whole.evaluator.state.best_metric_epoch


def test_a_run_broken_off_twice_ends_with_the_same_weights(training):
    whole = training("whole").run().folder
    break_off(training("broken"), Events.ITERATION_COMPLETED, 5)
    break_off(training("broken", resume=True), Events.EPOCH_COMPLETED, 3)

    resumed = training("broken", resume=True).run().folder

    assert_equal(weights(whole), weights(resumed))


def test_a_resume_does_not_repeat_finished_epochs(training):
    break_off(training("broken"), Events.ITERATION_COMPLETED, 8)
    resumed = training("broken", resume=True)
    epochs = []
    resumed.trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: epochs.append(engine.state.epoch))

    resumed.run()

    assert epochs == [3, 4]


def test_a_worse_validation_after_a_resume_keeps_the_best(training):
    """A resume that forgot the best score would overwrite best.pt with whatever comes next."""
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


def test_sidecars_say_which_epoch_and_score(training):
    run = training().run()

    assert read_sidecar(run.folder.last).training["epoch"] == 4
    best = read_sidecar(run.folder.best).training
    assert best["epoch"] == run.evaluator.state.best_metric_epoch
    assert best["validation"] == {"val_mean_dice": run.evaluator.state.best_metric}
    assert best["cases"] == {"case_0": "ab"}


def refused(training, pattern):
    with pytest.raises(SystemExit) as ended:
        training.run()
    assert re.search(f"^segpipe: .*{pattern}", ended.value.code), ended.value.code


def test_a_finished_run_is_not_resumed(training):
    training().run()

    refused(training(resume=True), "this run is finished, after epoch 4 of 4")


def test_a_run_that_stopped_early_is_finished(training):
    stopped = training(epochs=30, patience=1, learning_rate=0.0)  # nothing changes, so nothing gets better
    stopped.run()
    assert stopped.trainer.state.epoch == 2

    refused(training(epochs=30, patience=1, learning_rate=0.0, resume=True), "finished, after epoch 2 of 30")


def test_a_run_is_not_resumed_on_other_data(training):
    """A manifest's name, which the configuration keeps, says nothing of what it lists today."""
    break_off(training(), Events.EPOCH_COMPLETED, 3)

    refused(training(resume=True, provenance={"cases": {"case_0": "cd"}}), "the training cases changed")


def test_a_state_of_another_format_is_refused(training):
    first = training()
    break_off(first, Events.EPOCH_COMPLETED, 3)
    torch.save({"version": 99}, first.folder.training_state)

    refused(training(resume=True), "training state version 99, this segpipe reads")


def test_a_cut_state_is_refused(training):
    first = training()
    break_off(first, Events.EPOCH_COMPLETED, 3)
    first.folder.training_state.write_bytes(first.folder.training_state.read_bytes()[:1000])

    refused(training(resume=True), "training_state.pt: ")


def test_a_run_that_diverges_ends_and_keeps_its_last_good_epoch(training):
    """MONAI would train on, and the arg max of NaN is a label map like any other."""
    diverging = training()
    diverging.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=7), lambda engine: diverging.network[4].bias.data.fill_(float("nan"))
    )

    refused(diverging, "NaN or infinite: the training diverged .*lower the learning rate")

    assert torch.load(diverging.folder.training_state, weights_only=True)["epoch"] == 2
    for name in ("best.pt", "last.pt"):
        assert all(tensor.isfinite().all() for tensor in weights(diverging.folder, name).values())


def test_a_crash_while_the_last_weights_are_written_leaves_the_run_unfinished(training, monkeypatch):
    """Were the state written first, the run would count as finished beside older weights."""
    whole = training("whole").run().folder
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

    assert_equal(weights(whole), weights(resumed))


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


def test_a_refusal_is_no_segpipe_error_in_the_engine(training):
    """Ignite would print it with a traceback."""
    training().run()

    with pytest.raises(SystemExit):
        training(resume=True).run()
    assert not issubclass(SystemExit, SegpipeError)

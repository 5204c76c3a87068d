"""A bundle's training is repeatable, and an interrupted and resumed training gives the same weights."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

SMALL = {"epochs": 4, "patch_size": [32, 32, 32], "filters": [8, 16, 32, 64], "val_interval": 2}


def weights(run, name="last.pt"):
    return torch.load(run / name, weights_only=True)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


class PowerCut(BaseException):
    """An exception that no handler catches."""


@pytest.fixture(scope="module")
def whole(bundle, tmp_path_factory):
    """Return the folder of an uninterrupted run, apart from the runs of other modules."""
    return bundle.train("whole", **SMALL, output_dir=str(tmp_path_factory.mktemp("resume")))


def test_a_run_broken_off_after_two_epochs_ends_with_the_same_weights(bundle, whole, monkeypatch):
    from segpipe.training import TrainingState

    save = TrainingState._save

    def save_twice(self, engine):
        save(self, engine)
        if engine.state.epoch == 2:
            raise PowerCut

    monkeypatch.setattr(TrainingState, "_save", save_twice)
    with pytest.raises(PowerCut):
        bundle.train("broken", **SMALL)
    monkeypatch.undo()
    assert weights(bundle.output_dir / "broken")  # after epoch 2

    resumed = bundle.train("broken", **SMALL, resume=True)

    assert_equal(weights(whole), weights(resumed))
    assert_equal(weights(whole, "best.pt"), weights(resumed, "best.pt"))


@pytest.mark.slow
def test_a_run_that_draws_cases_by_their_classes_is_resumed_too(bundle, monkeypatch):
    from segpipe.training import TrainingState

    drawn = {
        "_target_": "segpipe.dataset.sampling.BalancedSampler",
        "dataset": "@train#dataset",
        "seed": "@seed",
        "weights": {
            "_target_": "segpipe.bundle.case_draws",
            "cases": "@cases",
            "labels": "@labels",
            "sampling": "rarest_class",
        },
    }
    few = {**SMALL, "epochs": 2, "train#sampler": drawn}
    uninterrupted = bundle.train("drawn", **few)
    save = TrainingState._save

    def save_once(self, engine):
        save(self, engine)
        raise PowerCut

    monkeypatch.setattr(TrainingState, "_save", save_once)
    with pytest.raises(PowerCut):
        bundle.train("drawn and broken", **few)
    monkeypatch.undo()
    resumed = bundle.train("drawn and broken", **few, resume=True)

    assert_equal(weights(uninterrupted), weights(resumed))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(bundle, whole):
    again = bundle.train("again", **SMALL, num_workers=2)

    assert_equal(weights(whole), weights(again))
    assert_equal(weights(whole, "best.pt"), weights(again, "best.pt"))


@pytest.mark.slow
def test_another_seed_gives_other_weights(bundle, whole):
    other = bundle.train("other seed", **SMALL, seed=1)

    one, two = weights(whole), weights(other)
    assert any(not torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_a_killed_process_is_resumed(bundle, tmp_path):
    """SIGKILL comes in the middle of an epoch, as in a power cut or from the out-of-memory killer."""

    def start(run_name, *more):
        overrides = {**bundle.training, **SMALL, "output_dir": tmp_path, "run_name": run_name}
        arguments = [
            text for key, value in overrides.items() for text in (f"--{key}", str(value).replace(" ", ""))
        ]
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", *bundle.files("train")]
        with (tmp_path / f"{run_name}.txt").open("a") as log:
            return subprocess.Popen(
                [*command, *arguments, *more], stdout=log, stderr=subprocess.STDOUT, env=os.environ
            )

    assert start("whole").wait(timeout=300) == 0, (tmp_path / "whole.txt").read_text()
    process = start("killed")
    state = tmp_path / "killed" / "training_state.pt"
    deadline = time.monotonic() + 300
    while not state.exists():
        assert process.poll() is None, (tmp_path / "killed.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert torch.load(state, weights_only=True)["epoch"] < SMALL["epochs"]

    assert start("killed", "--resume", "True").wait(timeout=300) == 0, (tmp_path / "killed.txt").read_text()

    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert not list((tmp_path / "killed").rglob("*.partial"))

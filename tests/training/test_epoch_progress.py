"""Lines of progress that a training logs within an epoch, by a clock that the test moves."""

import logging
import re
import sys
import time

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents

from segpipe.training.epoch_progress import EpochProgress


class Clock:
    """A clock whose seconds pass only when the test says so."""

    def __init__(self):
        self.seconds = 0.0

    def read(self):
        return self.seconds


@pytest.fixture
def logged(monkeypatch, caplog):
    """Return a function that runs epochs of steps of a given duration, and returns the log lines."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock.read)

    def run(steps, seconds, epochs=1, resume_after=0, terminal=True, kind=": step", losses=()):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
        left = iter(losses)

        def step(engine, _batch):
            clock.seconds += seconds
            engine.state.output = {"loss": torch.tensor(next(left, 0.0))}
            engine.fire_event(IterationEvents.LOSS_COMPLETED)
            return engine.state.output

        engine = Engine(step)
        engine.register_events(*IterationEvents)
        EpochProgress().attach(engine)
        if resume_after:

            @engine.on(Events.STARTED)
            def restore(engine):
                engine.state.iteration = resume_after

        with caplog.at_level(logging.INFO, logger=engine.logger.name):
            engine.run(range(steps), max_epochs=epochs, epoch_length=steps)
        return [record.getMessage() for record in caplog.records if kind in record.getMessage()]

    return run


def test_each_tenth_of_an_epoch_has_a_line_but_its_end_has_none(logged):
    lines = logged(steps=20, seconds=2.0)

    # a tenth is 2 steps, 4 s; 18 steps of 2 s are left after the first line; step 20 is the end
    assert [line.split(":")[1].split(",")[0] for line in lines] == [f" step {n}/20" for n in range(2, 20, 2)]
    assert lines[0] == "Epoch 1/1: step 2/20, loss 0.0000, 36 s left"
    assert lines[-1] == "Epoch 1/1: step 18/20, loss 0.0000, 4 s left"


def test_lines_are_at_least_three_seconds_apart(logged):
    lines = logged(steps=20, seconds=0.5)

    # a tenth is 1 s; 3 s are six steps
    assert lines == [
        "Epoch 1/1: step 6/20, loss 0.0000, 7 s left",
        "Epoch 1/1: step 12/20, loss 0.0000, 4 s left",
        "Epoch 1/1: step 18/20, loss 0.0000, 1 s left",
    ]


def test_a_short_epoch_has_none(logged):
    assert logged(steps=20, seconds=0.1, epochs=3) == []


def test_a_very_long_epoch_has_a_line_a_minute(logged):
    lines = logged(steps=100, seconds=25.0)

    # a tenth takes 250 s; the third step is the first beyond 60 s
    assert lines[0] == "Epoch 1/1: step 3/100, loss 0.0000, 40 min left"
    assert len(lines) == 33


def test_a_log_file_gets_a_line_a_minute_at_most(logged):
    lines = logged(steps=100, seconds=2.0, terminal=False)

    assert [line.split(",")[0].split()[-1] for line in lines] == ["30/100", "60/100", "90/100"]


def test_a_line_has_the_mean_loss_of_the_epoch_so_far(logged):
    lines = logged(steps=10, seconds=4.0, losses=[1.0, 0.5, 0.3, *[0.2] * 7])

    assert lines[:3] == [
        "Epoch 1/1: step 1/10, loss 1.0000, 36 s left",
        "Epoch 1/1: step 2/10, loss 0.7500, 32 s left",
        "Epoch 1/1: step 3/10, loss 0.6000, 28 s left",
    ]


def test_the_first_steps_give_the_time_of_the_training(logged):
    lines = logged(steps=20, seconds=2.0, epochs=30, terminal=False, kind="training takes")

    # 595 of 600 steps are left after the fifth
    assert lines == ["The training takes about 20 min without validation: 595 more steps of 2 s"]


def test_a_resumed_training_takes_what_is_left(logged):
    lines = logged(steps=4, seconds=2.0, epochs=3, resume_after=6, kind="training takes")

    assert lines == ["The training takes about 8 s without validation: 4 more steps of 2 s"]


def test_an_epoch_that_goes_on_after_a_resume_counts_from_there(logged):
    lines = logged(steps=20, seconds=2.0, resume_after=10)

    # the ten steps before the resume took none of this run's time: 8 steps of 2 s are left after step 12
    assert lines[0] == "Epoch 1/1: step 12/20, loss 0.0000, 16 s left"


@pytest.mark.slow
def test_a_training_logs_its_steps_and_ends_with_the_same_weights(training, monkeypatch, caplog):
    monkeypatch.setattr(EpochProgress, "attach", lambda *_: None)
    without = training("without", epochs=2).run().network.state_dict()
    monkeypatch.undo()
    monkeypatch.setattr("segpipe.training.epoch_progress.SECONDS_BETWEEN_LINES", 0.0)

    with caplog.at_level(logging.INFO):
        with_lines = training("with", epochs=2).run().network.state_dict()

    assert re.search(r"Epoch 2/2: step 1/3, loss [0-9.]+, ", caplog.text)
    assert caplog.text.count("The training takes about") == 1
    assert all(torch.equal(with_lines[name], tensor) for name, tensor in without.items())

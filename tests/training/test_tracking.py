"""The handler of a bundle that follows a training, and what a tracker learns of the end of a run."""

from types import SimpleNamespace

import pytest

from segpipe.errors import SegpipeError
from segpipe.training import RunFolder, Tracking
from segpipe.training.tracking import tracked


class Run:
    def __init__(self):
        self.ended = []

    def end(self, engine, status):
        self.ended.append(status)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
    ],
)
def test_a_tracker_learns_how_the_run_ended(error, status):
    run = Run()

    def go():
        with tracked(SimpleNamespace(tracked=run)):
            if error is not None:
                raise error

    if error is None:
        go()
    else:
        with pytest.raises(type(error)):
            go()

    assert run.ended == [status]


def test_a_run_without_a_tracker_ends_as_before():
    with pytest.raises(ValueError, match="x"), tracked(SimpleNamespace()):
        raise ValueError("x")


def test_without_a_tracker_nothing_is_attached(tmp_path):
    folder = RunFolder(tmp_path, "run")

    Tracking(folder).attach(SimpleNamespace())  # has no method to attach to

    assert folder.followers == []


def test_an_unknown_tracker_is_refused_when_the_handler_is_made(tmp_path):
    with pytest.raises(SegpipeError, match="tracking is 'wandb', must be none or mlflow"):
        Tracking(RunFolder(tmp_path, "run"), "wandb")

"""The reference ranges that a finished training measures in a process of its own."""

import signal
import subprocess
import sys

import pytest

from segpipe.bundle import run_ranges
from segpipe.bundle.run_ranges import forget_ranges, measure_run, ranges_arguments
from segpipe.training.signals import Stopped

GIVEN = {"bundle_root": "bundle", "manifest": "set.json", "dataset_dir": "data set", "fold": 1}
SHOWN = (
    "segpipe reference-ranges bundle --weights bundle/runs/first/best.pt --manifest set.json "
    "--dataset-dir 'data set'"
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle" / "runs" / "first").mkdir(parents=True)
    (tmp_path / "bundle" / "runs" / "first" / "best.pt").touch()
    return tmp_path / "bundle" / "runs" / "first"


@pytest.fixture
def started(monkeypatch):
    """Return the command lines that would have been started; a test appends what the process does instead."""

    class Started(list):
        outcome = subprocess.CompletedProcess([], 0, "ranges.json\n")

    commands = Started()

    def start(command, **_):
        commands.append(command)
        if isinstance(commands.outcome, BaseException):
            raise commands.outcome
        return commands.outcome

    monkeypatch.setattr(run_ranges.subprocess, "run", start)
    return commands


def logged(run, configuration=GIVEN):
    messages = []
    measure_run(run, configuration, messages.append)
    return messages


def test_the_weights_of_the_best_epoch_are_measured_on_a_sample(run, started):
    first, last = logged(run)

    assert started[0][:6] == [sys.executable, "-P", "-X", "utf8", "-m", "segpipe"]
    assert started[0][6:] == [
        *("reference-ranges", "bundle", "--weights", "bundle/runs/first/best.pt"),
        *("--manifest", "set.json", "--dataset-dir", "data set", "--most-patients", "60", "--no-checksums"),
    ]
    assert first.startswith("Measuring training cases of at most 60 patients")
    assert last == "Reference ranges: ranges.json, measured in 0 s"


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (subprocess.CompletedProcess([], 2, ""), "exit status 2, the reason stands above"),
        (subprocess.CompletedProcess([], -9, ""), "exit status -9"),
        (KeyboardInterrupt(), "stopped by Ctrl-C"),
        (OSError("Cannot allocate memory"), "Cannot allocate memory"),
    ],
)
def test_a_failure_costs_the_training_nothing(run, started, outcome, why):
    started.outcome = outcome

    _, last = logged(run)

    assert last.startswith(f"No reference ranges were made ({why}")
    assert last.endswith(f"the training is complete. To make them: {SHOWN}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_process_ends_the_measuring_too(run, monkeypatch, number):
    """The status is that of the signal; before and after, the signal has its own handler."""
    messages, ended = [], []

    def start(command, **_):
        try:
            signal.raise_signal(number)
        finally:
            ended.append(command)

    monkeypatch.setattr(run_ranges.subprocess, "run", start)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(Stopped) as stopped:
            measure_run(run, GIVEN, messages.append)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)

    assert (stopped.value.code, len(ended)) == (128 + number, 1)
    assert messages[-1].startswith(
        f"No reference ranges were made (stopped by {number.name}); the training is"
    )


def test_one_process_of_several_only_names_the_command(run, started, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert (logged(run), started) == ([f"next: {SHOWN}"], [])


@pytest.mark.parametrize("unknown", ["bundle_root", "manifest", "dataset_dir"])
def test_without_a_path_nothing_is_measured(run, started, unknown):
    assert (logged(run, {**GIVEN, unknown: "$@elsewhere"}), started) == ([], [])


@pytest.mark.parametrize(
    ("device", "given"),
    [("cuda:1", ["--device", "cuda:1"]), ("$torch.device('cpu')", []), ({"_target_": "a"}, [])],
)
def test_the_device_of_the_training_is_taken_where_it_has_a_name(run, device, given):
    arguments = ranges_arguments(run, {**GIVEN, "device": device})

    assert arguments[-len(given) :] == given if given else "--device" not in arguments


def test_ranges_of_a_run_that_goes_on_are_removed(run):
    (run / "best.reference_ranges.json").touch()
    (run / "other.json").touch()

    forget_ranges(run)

    assert sorted(path.name for path in run.iterdir()) == ["best.pt", "other.json"]

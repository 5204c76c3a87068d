"""A run that ends early prints one message with the remedy, and a training saves its state."""

import errno
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
from pydoc import locate

import pytest
import torch
from ignite.engine import Engine, Events

from segpipe.bundle import run_engine
from segpipe.bundle.run_end import ending_in_one_message, machine_errors
from segpipe.errors import SegpipeError
from segpipe.training import RunFolder
from segpipe.training.resume_command import resume_command
from segpipe.training.signals import SignalWatch, Stopped, current_watch

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def run_folder(tmp_path):
    folder = RunFolder(tmp_path, "mine")
    folder.start({"seed": 0})
    return folder


def raise_from(error, cause):
    raise error from cause


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FULL, "cannot be written any more .No space left on device.*free some space, and resume with"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded.*free some space"),
        (RuntimeError("unexpected pos 1755648 vs 1755536"), "free some space, and resume with"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "loader process ended.*num_workers 0",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
            "loader process ended.*num_workers 0",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ..."),
            "too little shared memory.*num_workers 0",
        ),
        (
            RuntimeError(
                "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)"
            ),
            "too little shared memory.*--shm-size.*num_workers 0",
        ),
        (MemoryError(), "memory ran out .MemoryError.*smaller batch_size"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory ran out"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory ran out"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
            "memory ran out .CUDA out of memory",
        ),
    ],
)
def test_lack_of_memory_or_disk_space_is_one_message_with_a_remedy(run_folder, error, message):
    with pytest.raises(SegpipeError, match=f"(?s)^[^\n]*{message}") as refused, machine_errors(run_folder):
        raise_from(RuntimeError("Failed to instantiate component"), error)
    assert "run_name 'mine'" in str(refused.value)
    assert "resume" in str(refused.value)


def test_a_defect_keeps_its_traceback(run_folder):
    with pytest.raises(KeyError), machine_errors(run_folder):
        raise KeyError("defect")


def test_a_refusal_keeps_its_message(run_folder):
    with pytest.raises(SegpipeError, match=r"^case_1: is broken$"), machine_errors(run_folder):
        raise SegpipeError("case_1: is broken")


def test_a_deleted_run_folder_is_named_as_the_cause(run_folder, tmp_path):
    run_folder.path.rename(tmp_path / "elsewhere")

    with pytest.raises(SegpipeError, match="was deleted or moved"), machine_errors(run_folder):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "events.out.tfevents")


def test_a_thread_that_finds_the_disk_full_prints_no_traceback(run_folder, capsys):
    """TensorBoard writes from a thread; the training meets the error at the next line of the log."""

    def write():
        raise FULL

    with machine_errors(run_folder):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()

    assert capsys.readouterr().err == ""


def test_a_signal_ends_an_evaluator_with_one_line(capfd):
    engine = Engine(lambda *_: os.kill(os.getpid(), signal.SIGINT))

    class Evaluator:
        logger = engine.logger

        def run(self):
            engine.run([0])

    before = signal.getsignal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):  # this program embeds the bundle: no SystemExit
        run_engine(Evaluator())

    assert capfd.readouterr().err == "segpipe: stopped by SIGINT; run the same command to start again\n"
    assert signal.getsignal(signal.SIGINT) is before
    assert current_watch() is None


def test_the_log_of_an_error_is_one_line(caplog):
    engine = Engine(lambda *_: None)
    engine.add_event_handler(
        Events.STARTED, lambda: raise_from(ValueError("first\nOriginal Traceback"), None)
    )

    class Trainer:
        logger = engine.logger

        def run(self):
            engine.run([0])

    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match="first"):
        run_engine(Trainer())

    assert caplog.messages == ["Engine run is terminating due to exception: first"]


def test_signals_that_a_program_handles_or_ignores_are_left_to_it():
    """A training that nohup started ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    watch = SignalWatch(lambda _: None)
    try:
        watch.start()
        os.kill(os.getpid(), signal.SIGHUP)
        watch.check()
    finally:
        watch.stop()
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def stopping(tmp_path):
    """Return a folder with a module that sends its process a signal while it is imported."""
    (tmp_path / "stopping.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    return tmp_path


def test_a_stop_that_an_import_turned_into_its_own_error_saves_the_state(stopping, monkeypatch, capfd):
    monkeypatch.syspath_prepend(stopping)
    engine = Engine(lambda *_: locate("stopping.Component"))  # as MONAI imports a component

    with pytest.raises(KeyboardInterrupt), ending_in_one_message(engine):
        engine.run([0])

    assert capfd.readouterr().err == "segpipe: stopped by SIGINT; run the same command to start again\n"


@pytest.mark.parametrize(
    ("call", "status", "traceback"),
    [
        pytest.param("locate('stopping.Component')", 128 + signal.SIGINT, False, id="the signal"),
        pytest.param("1 / 0", 1, True, id="a defect", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_before_training_only_an_error_that_the_signal_caused_is_quiet(stopping, call, status, traceback):
    code = (
        "from pydoc import locate\nfrom segpipe.training.signals import SignalWatch\n"
        f"watch = SignalWatch(lambda _: None)\nwatch.message = 'too soon'\nwatch.start()\n{call}"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=stopping,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )

    assert ended.returncode == status, ended.stderr
    assert ("Traceback" in ended.stderr) == traceback
    assert ("segpipe: stopped by SIGINT too soon" in ended.stderr) != traceback


def test_a_second_signal_does_not_break_into_the_saving():
    watch = SignalWatch(lambda _: None)
    watch.start()
    try:
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        watch.stop()


@pytest.mark.parametrize(
    ("started", "more", "expected"),
    [
        (
            "python -m monai.bundle run --epochs=3",
            {},
            "python -m monai.bundle run --epochs=3 --run_name=R --resume=True",
        ),
        (
            "python -m monai.bundle run --resume False --epochs 3 --run_name R",
            {},
            "python -m monai.bundle run --epochs 3 --run_name R --resume=True",
        ),
        (
            "python -m monai.bundle run --num_workers=2 --resume True --run_name 'my run'",
            {"num_workers": 0},
            "python -m monai.bundle run --run_name 'my run' --resume=True --num_workers=0",
        ),
    ],
)
def test_the_command_to_resume_is_the_command_that_started(tmp_path, monkeypatch, started, more, expected):
    monkeypatch.setattr("segpipe.training.resume_command.is_monai_run", lambda: True)
    monkeypatch.setattr("sys.orig_argv", shlex.split(started))
    folder = RunFolder(tmp_path, "R" if "run_name" in started else None)
    folder._run_name = "R"

    assert resume_command(folder, **more) == expected


def test_a_new_run_does_not_log_that_it_resumes(caplog):
    """MONAI sets the state of an engine before it runs, and Ignite takes that for a resumed run."""
    engine = Engine(lambda _engine, _batch: None)
    engine.state.max_epochs, engine.state.epoch_length = 2, 1

    with caplog.at_level(logging.INFO, logger=engine.logger.name), ending_in_one_message(engine):
        engine.run([1])
        engine.state.max_epochs = 4
        engine.run([1])

    messages = [record.getMessage() for record in caplog.records]
    assert [message for message in messages if "resuming" in message] == [
        "Engine run resuming from iteration 2, epoch 2 until 4 epochs"
    ]

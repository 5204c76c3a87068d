"""Ends an interrupted run with one message: the reason, the remedy and the command that continues, no traceback."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from segpipe.disk import disk_error
from segpipe.errors import SegpipeError, exception_chain, raised_during, segpipe_cause
from segpipe.monai_run import is_monai_run
from segpipe.printable import printable
from segpipe.training import RunFolder, TrainingState
from segpipe.training.resume_command import resume_command
from segpipe.training.signals import Phase, SignalWatch, Stopped, current_watch

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where PyTorch's loader workers leave their batches
_LITTLE_BYTES = 64e6
_EVALUATOR = "ignite.engine.engine.SupervisedEvaluator"  # logger of the validations within a training
_NOT_RESUMED = "Engine run resuming from iteration 0, epoch 0 "  # Ignite's words for a new run
_FULL_DISK_TEXTS = ("PytorchStreamWriter failed", "unexpected pos", "No space left on device")
_SHARED_MEMORY_TEXTS = ("shared memory", "(shm)", "</torch_", "Bus error")
_WORKER_TEXTS = ("DataLoader worker (pid", "Pin memory thread exited unexpectedly")
_WORKER_FILES = ("torch/multiprocessing/reductions.py", "multiprocessing/resource_sharer.py")
_MEMORY_TEXTS = ("DefaultCPUAllocator", "out of memory", "Cannot allocate memory", "not enough memory")


def watch_setup() -> None:
    """From now on a signal ends MONAI's run with one line, until its training begins; other programs are unchanged."""
    if _may_watch() and is_monai_run() and current_watch() is None:
        watch = SignalWatch(lambda name: _say(f"stopped by {name}; run the same command to start again"))
        watch.message = "before anything was written; run the same command to start again"
        watch.start()


def watch_started(run_folder: RunFolder) -> None:
    """From now on the message of a signal says how to continue the run, which has a folder but no finished step."""
    watch = current_watch()
    if watch is not None:
        command = resume_command(run_folder)
        watch.message = f"before its first step; resume with: {command}"
        watch.on_timeout = lambda name: _say(
            f"stopped by {name} before its first step; resume with: {command}"
        )


@contextmanager
def ending_in_one_message(engine: Any) -> Iterator[None]:
    """Run a trainer or an evaluator; if a signal or the machine ends it, save the state and say how to continue.

    Raises:
        Stopped: a signal arrived in MONAI's run; the state is saved, and one line is written. In another program the
            signal then has its usual effect, such as KeyboardInterrupt: no SystemExit reaches that program.
        SegpipeError: disk, memory, shared memory or a loader worker failed, or the run's folder no longer exists.
    """
    training: TrainingState | None = getattr(engine, "training_state", None)
    run_folder = None if training is None else training.run_folder
    watch = current_watch()
    if watch is None and _may_watch():
        watch = SignalWatch(lambda _: None)
        watch.start()
    if watch is not None:
        watch.message = ""
        watch.on_timeout = lambda name: _stop_aside(name, training, engine)
    number = 0  # of the signal that ends another program than MONAI's run
    try:
        with _short_logs(engine), machine_errors(run_folder):
            yield
    except BaseException as error:
        stopped = raised_during(error, Stopped)
        if stopped is None:
            raise
        _stop(stopped.name, training, engine, watch)
        if is_monai_run():
            raise stopped from None
        number = stopped.number
    finally:
        if run_folder is not None:
            run_folder.release()
        # in MONAI's run the signal still limits the time that loader workers may take to end
        if watch is not None and not (watch.number and is_monai_run() and sys.exc_info()[0]):
            watch.stop()
    if number:
        signal.raise_signal(number)


@contextmanager
def _short_logs(engine: Any) -> Iterator[None]:
    """Shorten what Ignite logs of an engine, see `_readable`."""
    loggers = {engine.logger, logging.getLogger(_EVALUATOR)}
    for logger in loggers:
        logger.addFilter(_readable)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_readable)


@contextmanager
def machine_errors(run_folder: RunFolder | None) -> Iterator[None]:
    """Turn an error of exhausted memory, disk or processes into one message.

    Args:
        run_folder: folder of the run; None if it has none yet.

    Raises:
        SegpipeError: the exhausted resource, and what to do.
    """
    hook = threading.excepthook
    threading.excepthook = lambda caught: None if disk_error(caught.exc_value) else hook(caught)
    try:
        yield
    except Exception as error:
        message = _message(error, run_folder)
        if message is None:
            raise
        raise SegpipeError(message) from error
    finally:
        threading.excepthook = hook


def _readable(record: logging.LogRecord) -> bool:
    """Cut Ignite's log of an error to its first line, and drop its line that a new run is "resuming".

    The error of a loader process contains a whole traceback.
    """
    if record.levelno >= logging.ERROR:
        record.msg, record.args = printable(record.getMessage().partition("\n")[0]), ()
    return not record.getMessage().startswith(_NOT_RESUMED)


def _may_watch() -> bool:
    """Return whether this process may end by itself; one of several must wait for the others and torchrun for all."""
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    return alone and threading.current_thread() is threading.main_thread()


def _stop(name: str, training: TrainingState | None, engine: Any, watch: SignalWatch | None) -> None:
    if training is None:
        _say(f"stopped by {name}; run the same command to start again")
        return
    if watch is not None:
        watch.phase = Phase.SAVING
    where, why = training.position, ""
    try:
        with machine_errors(training.run_folder):
            training.save_within(engine)
    except SegpipeError as error:
        why = f"; its state is the one saved before: {error}"
    _say(_stopped(name, where, training.run_folder) if not why else f"stopped by {name}{where}{why}")


def _stop_aside(name: str, training: TrainingState | None, engine: Any) -> None:
    """Do the same as `_stop` in the thread of the signals, if the main thread is too busy."""
    watch = current_watch()
    if training is None or watch is None:
        _say(f"stopped by {name}; run the same command to start again")
        return
    where = training.position
    saved = training.save_aside(engine, watch.phase)
    lost = (
        ""
        if saved or not where
        else " (a step took too long, so the work since the last saved state is lost)"
    )
    _say(_stopped(name, where + lost, training.run_folder))


def _stopped(name: str, where: str, run_folder: RunFolder) -> str:
    return f"stopped by {name}{where}; resume with: {resume_command(run_folder)}"


def _say(text: str) -> None:
    os.write(2, f"segpipe: {printable(text)}\n".encode())


def _message(error: BaseException, run_folder: RunFolder | None) -> str | None:
    """Return the message for an error; None for a defect, or for an error whose message is complete."""
    if run_folder is not None:
        try:
            run_folder.require_there()
        except SegpipeError as gone:
            return str(gone)
    disk = disk_error(error)
    if segpipe_cause(error) is not None and disk is None:
        return None
    texts = [str(one) for one in exception_chain(error)]
    first = _first_line(error)
    if _has(texts, _SHARED_MEMORY_TEXTS) or (disk is not None and _shared_memory_is_full(run_folder)):
        return (
            f"loader processes have too little shared memory ({first}); enlarge {_SHARED_MEMORY} (docker: "
            f"--shm-size=4g), or resume without them with: {_go_on(run_folder, num_workers=0)}"
        )
    if disk is not None or _has(texts, _FULL_DISK_TEXTS):
        where = "the disk" if run_folder is None else run_folder.path
        reason = "No space left on device" if disk is None else disk.strerror
        return (
            f"{where}: cannot be written any more ({reason}); saved files stay: free some space, and resume with: "
            f"{_go_on(run_folder)}"
        )
    if _has(texts, _WORKER_TEXTS) or _in_files(error, _WORKER_FILES):
        return (
            f"a loader process ended ({first}), most likely because memory ran out; free some memory, or resume "
            f"without loader processes with: {_go_on(run_folder, num_workers=0)}"
        )
    if any(map(_is_memory, exception_chain(error))) or _has(texts, _MEMORY_TEXTS):
        return (
            f"memory ran out ({first}); end other programs, and resume with: {_go_on(run_folder)}; a smaller "
            "batch_size or patch_size needs less, in a new run"
        )
    return None


def _go_on(run_folder: RunFolder | None, **more: object) -> str:
    if run_folder is None or not run_folder.named:
        return "the same command" + "".join(f" with --{name} {value}" for name, value in more.items())
    return resume_command(run_folder, **more)


def _first_line(error: BaseException) -> str:
    """Return the first line of the error that names the exhausted resource; else of the error itself."""
    known = (*_SHARED_MEMORY_TEXTS, *_WORKER_TEXTS, *_MEMORY_TEXTS)
    cause = next(
        (cause for cause in exception_chain(error) if _is_memory(cause) or _has([str(cause)], known)), error
    )
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)


def _has(texts: list[str], parts: tuple[str, ...]) -> bool:
    return any(part in text for text in texts for part in parts)


def _in_files(error: BaseException, files: tuple[str, ...]) -> bool:
    """Return whether a connection error comes from the code that passes batches from loader workers."""
    return any(
        isinstance(one, OSError | EOFError) and frame.filename.endswith(files)
        for one in exception_chain(error)
        for frame in traceback.extract_tb(one.__traceback__)
    )


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError | torch.OutOfMemoryError)


def _shared_memory_is_full(run_folder: RunFolder | None) -> bool:
    if run_folder is None or not _SHARED_MEMORY.is_dir():
        return False
    return shutil.disk_usage(_SHARED_MEMORY).free < _LITTLE_BYTES < shutil.disk_usage(run_folder.path).free

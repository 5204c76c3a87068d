"""Trainings in processes of their own: their state on disk, their output, several at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout

from segpipe.bundle.given import are_given
from segpipe.bundle.run_ranges import measure_run
from segpipe.errors import SegpipeError
from segpipe.inference.engines.threads import usable_threads
from segpipe.printable import printable
from segpipe.reference_ranges import RANGES_SUFFIX
from segpipe.search.experiment import RepeatedExperiment, python_command
from segpipe.training.longer import is_finished, lengths_of
from segpipe.training.run_folder import RunFolder
from segpipe.training.run_lock import LOCK_FILE
from segpipe.training.signals import SIGNALS

POLL_SECONDS = 0.2
_FREE_SECONDS = 60.0  # longest wait for a training that ends since its starter was killed
_LINES_KEPT = 40  # of a training's output, for the reason of its failure
_OF_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_CARDS = "CUDA_VISIBLE_DEVICES"


class RunState(StrEnum):
    """The state of a run's folder."""

    ABSENT = "absent"
    BEGUN = "begun"
    FINISHED = "finished"


def run_state(run: RunFolder) -> RunState:
    """Return whether a run is absent, begun or finished.

    A run whose training state cannot be read counts as begun: the training refuses to go on, and says why.
    """
    if not run.is_run:
        return RunState.ABSENT
    state = lengths_of(run.training_state) if run.training_state.is_file() else None
    return RunState.FINISHED if state is not None and is_finished(state) else RunState.BEGUN


def threads_of_each(jobs: int) -> int:
    """Return the processor threads of each of several trainings at a time, at least 1.

    Raises:
        SegpipeError: the number of trainings at a time is below 1.
    """
    if jobs < 1:
        raise SegpipeError(f"--jobs {jobs}: must be at least 1, the number of trainings at a time")
    return max(usable_threads() // jobs, 1)


@dataclass(frozen=True)
class PlannedRun:
    """One training of several.

    Attributes:
        name: words for messages, such as "fold 0".
        experiment: the bundle and its overrides.
        output_dir: folder of the runs.
        run_name: name of the run's folder.
        fold: fold or split that the training holds out.
        log: file that gets the training's output; a later start appends to it.
    """

    name: str
    experiment: RepeatedExperiment
    output_dir: Path
    run_name: str
    fold: int | str
    log: Path

    @property
    def folder(self) -> RunFolder:
        """Folder of the run."""
        return RunFolder(self.output_dir, self.run_name, resume=True)


class TrainingProcess:
    """A training that runs in a process of its own; its lines are passed on and kept in its log.

    Args:
        planned: the run, which starts or goes on.
        environment: further environment variables.
        tell: called with each line of the output, from another thread.
    """

    def __init__(
        self, planned: PlannedRun, environment: Mapping[str, str], tell: Callable[[str], None]
    ) -> None:
        _wait_until_free(planned.folder.path)
        words = planned.experiment.command(
            planned.output_dir, planned.run_name, planned.fold, resume=run_state(planned.folder) != "absent"
        )
        planned.log.parent.mkdir(parents=True, exist_ok=True)
        self.planned = planned
        self._tell = tell
        self._last: list[str] = []
        self._process = subprocess.Popen(  # noqa: S603 - segpipe itself
            python_command(words, os.getpid()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            encoding="utf-8",
            errors="replace",
            start_new_session=os.name == "posix",  # Ctrl-C reaches it once, from this process
        )
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()

    def status(self) -> int | None:
        """Return the exit status; None while the training runs."""
        status = self._process.poll()
        if status is not None:
            self._reader.join(timeout=10)
        return status

    def stop(self, number: int = signal.SIGINT) -> None:
        """Send a signal, at which the training saves its state and ends."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end, and return the exit status."""
        self._process.wait()
        self._reader.join(timeout=10)
        return self._process.returncode

    @property
    def reason(self) -> str:
        """The message of a failed training: the last lines of segpipe in its output, else its last line."""
        messages = [line for line in self._last if line.startswith("segpipe: ")]
        line = (messages or self._last or ["no output"])[-1]
        return line.removeprefix("segpipe: ")

    def _pass_on(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        with self.planned.log.open("a", encoding="utf-8") as log, stream:
            for line in stream:
                text = printable(line.rstrip())
                log.write(f"{text}\n")
                log.flush()
                self._last = [*self._last, text][-_LINES_KEPT:]
                self._tell(f"{self.planned.name}: {text}")


def environment_of(threads: int, place: int = 0, cards: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment variables of one of several trainings at a time.

    Args:
        threads: processor threads of each.
        place: number of the training among those that run, from 0.
        cards: cards to share, see `cards_to_share`.
    """
    of_card = {_CARDS: cards[place % len(cards)]} if cards else {}
    return {**dict.fromkeys(_OF_THREADS, str(threads)), **of_card}


def cards_to_share(jobs: int) -> list[str]:
    """Return the names of CUDA cards, one for each training at a time; empty where there is nothing to divide."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if jobs < 2 or count < 2:
        return []
    visible = [name.strip() for name in os.environ.get(_CARDS, "").split(",") if name.strip()]
    return visible or [str(number) for number in range(count)]


def run_all(
    runs: Sequence[PlannedRun], jobs: int, threads: int, tell: Callable[[str], None]
) -> dict[str, str]:
    """Train several runs, some at a time; a run that fails does not stop the others.

    Args:
        runs: the runs; a finished one is left as it is.
        jobs: most trainings at a time.
        threads: processor threads of each.
        tell: called with each line of the output.

    Returns:
        name -> reason, of each run that failed.

    Raises:
        KeyboardInterrupt: the user interrupts; every training has saved its state.
    """
    cards = cards_to_share(jobs)
    failed: dict[str, str] = {}
    waiting = list(runs)
    running: dict[int, TrainingProcess] = {}
    try:
        while waiting or running:
            for place in range(jobs):
                if place not in running and waiting:
                    planned = waiting.pop(0)
                    try:
                        is_done = _finish_finished(planned, tell)
                    except SegpipeError as error:  # its reference ranges
                        failed[planned.name] = str(error)
                        tell(f"{planned.name}: failed: {error}")
                        continue
                    if is_done:
                        continue
                    running[place] = TrainingProcess(planned, environment_of(threads, place, cards), tell)
            failed |= _ended(running, tell)
            time.sleep(POLL_SECONDS if running else 0)
    except BaseException:
        for training in running.values():
            training.stop()
        for training in running.values():
            training.wait()
        raise
    return failed


def _ended(running: dict[int, TrainingProcess], tell: Callable[[str], None]) -> dict[str, str]:
    """Remove the trainings that have ended, and return name -> reason of those that failed."""
    failed = {}
    for place, training in list(running.items()):
        status = training.status()
        if status is None:
            continue
        del running[place]
        if status:
            name = training.planned.name
            failed[name] = failure(training, status)
            tell(f"{name}: failed: {failed[name]}")
    return failed


def was_stopped(status: int) -> bool:
    """Return whether a signal ended a training, or it ended by itself after one."""
    return status < 0 or status in {128 + number for number in SIGNALS}


def failure(training: TrainingProcess, status: int) -> str:
    """Return why a training ended, in words.

    Args:
        training: the training.
        status: its exit status, other than 0.
    """
    ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return f"{training.reason} ({ended}; its output is in {training.planned.log})"


def _finish_finished(planned: PlannedRun, tell: Callable[[str], None]) -> bool:
    """Return whether a run is finished; if its reference ranges were to be measured and are absent, measure them."""
    run = planned.folder
    if run_state(run) is not RunState.FINISHED:
        return False
    configuration, _ = run.recorded_at_start()
    wanted = configuration.get("reference_ranges") is True and not are_given(configuration)
    if wanted and not any(run.path.glob(f"*{RANGES_SUFFIX}")):
        measure_run(run.path, configuration, lambda line: tell(f"{planned.name}: {line}"))
    tell(f"{planned.name}: is finished, in {run.path}")
    return True


def _wait_until_free(run: Path) -> None:
    """Wait for a training in this folder that saves its state, since the process that started it was killed."""
    path = run / LOCK_FILE
    if not path.is_file():
        return
    lock = FileLock(path, timeout=_FREE_SECONDS, fallback_to_soft=False)
    try:
        lock.acquire(poll_interval=POLL_SECONDS)
    except (Timeout, OSError):  # the training refuses the folder, and says which process holds it
        return
    lock.release()


@contextmanager
def only_one(folder: Path, command: str) -> Iterator[None]:
    """Keep a second command out of a folder.

    Args:
        folder: the folder; it is made if it does not exist.
        command: the command, for the message.

    Raises:
        SegpipeError: another process works in the folder, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SegpipeError(
            f"{folder}: cannot be made: {error.strerror}; choose another folder with --output"
        ) from error
    lock = FileLock(folder / LOCK_FILE, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise SegpipeError(
            f"{folder}: another {command} works there now; wait for it, or choose another folder with --output"
        ) from None
    except OSError as error:
        raise SegpipeError(
            f"{folder}: cannot be locked: {error.strerror}; choose another folder with --output"
        ) from error
    try:
        yield
    finally:
        lock.release()

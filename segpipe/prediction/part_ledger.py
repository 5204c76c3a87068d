"""The ledger of one part of a cohort, and the locks that keep parts, their merge and whole runs apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from segpipe.errors import SegpipeError, shown
from segpipe.files import require_writable
from segpipe.prediction.ledger import STAGING_FOLDER, Ledger, folder_lock
from segpipe.prediction.part import CohortPart
from segpipe.training.run_lock import LOCK_FILE, WITHOUT_LOCKS, lock_holder, name_holder

_AGREEING = "parts"
_WAIT_FOR_MERGE_S = 30.0  # for a merge, or for the start of another part


class PartLedger(Ledger):
    """The ledger of a part: its own lines, over those that a whole run or a merge left in `predictions.jsonl`.

    The tables of the cohort are made by the merge, so that a part writes none.

    Args:
        folder: of the outputs; `locked_part` holds the part while its ledger is written.
        part: the part.

    Raises:
        SegpipeError: a line was not written by segpipe.
    """

    writes_tables = False

    def __init__(self, folder: Path, part: CohortPart) -> None:
        super().__init__(folder, part.ledger_file)
        self.entries = Ledger(folder).entries | self.entries

    def write_volumes(self) -> None:
        """Write nothing: the merge writes `volumes.csv`."""


def part_ledgers(folder: Path) -> dict[CohortPart, Path]:
    """Return the ledgers of parts in an output folder, by part."""
    files = {CohortPart.of_ledger_file(path.name): path for path in folder.glob("predictions.part*.jsonl")}
    return {part: files[part] for part in sorted(part for part in files if part is not None)}


def refuse_unmerged(folder: Path) -> None:
    """Refuse a whole run in a folder whose parts were not merged: it would not know their label maps.

    Raises:
        SegpipeError: the message has the parts, and the command that merges them.
    """
    parts = part_ledgers(folder)
    if parts:
        raise SegpipeError(
            f"{folder}: has parts of a cohort that were not merged yet ({shown(map(str, parts))}); merge them with "
            f"`segpipe predict --merge --output {folder}`, or choose another --output"
        )


@contextmanager
def locked_part(folder: Path, part: CohortPart) -> Iterator[Path]:
    """Lock a part of the cohort in an output folder; the lock ends with the process in any case.

    Yields:
        an empty staging folder of the part inside the output folder.

    Raises:
        SegpipeError: the folder is not writable, or another process holds the part; the message has process and host.
            Or a whole run, or a merge, holds the folder.
    """
    require_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f"{STAGING_FOLDER}.{part.mark}"
    with folder_lock(folder, wait_s=_WAIT_FOR_MERGE_S):
        lock = _acquired(folder, part)
        (folder / part.ledger_file).touch()  # a whole run that starts now refuses the folder
    try:
        shutil.rmtree(staging, ignore_errors=True)  # files of a killed process
        staging.mkdir()
        yield staging
    except BaseException:
        _remove_if_empty(folder / part.ledger_file)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.release()


@contextmanager
def idle_parts(folder: Path, count: int) -> Iterator[None]:
    """Hold all parts of a cohort while they are merged.

    Args:
        folder: the output folder, which `folder_lock` holds.
        count: number of parts.

    Raises:
        SegpipeError: a part runs now; the message has process and host.
    """
    locks: list[FileLock] = []
    try:
        for number in range(1, count + 1):
            part = CohortPart(count, number)
            if _lock_file(folder, part.mark).exists():
                locks.append(_acquired(folder, part))
        yield
    finally:
        for lock in locks:
            lock.release()


def is_running(folder: Path, part: CohortPart) -> bool:
    """Return whether a process holds a part now."""
    try:
        lock = _acquired(folder, part)
    except SegpipeError:
        return True
    lock.release()
    return False


def running_parts(folder: Path, count: int) -> list[CohortPart]:
    """Return the parts of a cohort that processes hold now.

    Args:
        folder: the output folder, which `folder_lock` holds.
        count: number of parts.
    """
    parts = [CohortPart(count, number) for number in range(1, count + 1)]
    return [part for part in parts if _lock_file(folder, part.mark).exists() and is_running(folder, part)]


@contextmanager
def agreeing(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold what all parts agree on: the parts that start at the same time wait for the first one.

    Args:
        folder: output folder.
        tell: called with a message if this part waits.
    """
    lock = FileLock(_lock_file(folder, _AGREEING), thread_local=False, fallback_to_soft=False)
    with _try_lock(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell("waiting for the part that settles engine and precision")
            lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


def remove_part_files(folder: Path, part: CohortPart) -> None:
    """Remove the ledger, log, lock and staging folder of a part whose lines are in the ledger of the cohort."""
    shutil.rmtree(folder / f"{STAGING_FOLDER}.{part.mark}", ignore_errors=True)
    for name in (part.log_file, part.ledger_file):
        (folder / name).unlink(missing_ok=True)
    _lock_file(folder, part.mark).unlink(missing_ok=True)


def _remove_if_empty(ledger: Path) -> None:
    """Remove the ledger of a part that was refused: with another number of parts it would hinder the merge."""
    if ledger.exists() and ledger.stat().st_size == 0:
        ledger.unlink()


def _lock_file(folder: Path, mark: str) -> Path:
    return folder / f"{LOCK_FILE}.{mark}"


def _acquired(folder: Path, part: CohortPart) -> FileLock:
    path = _lock_file(folder, part.mark)
    lock = FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False)
    with _try_lock(folder):
        try:
            lock.acquire()
        except Timeout:
            raise SegpipeError(
                f"{folder}: another segpipe computes part {part} now{lock_holder(path)}; wait for it or end it, or "
                "give another --part"
            ) from None
        name_holder(path)
    return lock


@contextmanager
def _try_lock(folder: Path) -> Iterator[None]:
    """Turn the error of a disk without locks into one message."""
    try:
        yield
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        raise SegpipeError(
            f"{folder}: cannot be locked against a second segpipe ({error.strerror}); choose an output folder on a "
            "disk that has locks"
        ) from error

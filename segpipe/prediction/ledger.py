"""What became of each scan of a cohort, on disk, so that a run that was broken off goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any

from filelock import FileLock, Timeout

from segpipe.csv_files import csv_text
from segpipe.documents import DocumentError, parse_json
from segpipe.errors import SegpipeError
from segpipe.files import discard_remains, file_sha256, require_writable, sync, write_text
from segpipe.inference.volumetry import ClassVolume
from segpipe.regular_files import open_regular
from segpipe.training.run_lock import LOCK_FILE, WITHOUT_LOCKS

LEDGER_FILE = "predictions.jsonl"
VOLUMES_FILE = "volumes.csv"
VOLUMES_COLUMNS = ("case", "label", "voxels", "millilitres", "components", "warnings")
NOT_COMPARED = "not compared with the training cases"
_TEXTS = ("case", "scan", "scan_sha256", "recipe", "precision", "reason", "finished")
_SHOWN = 200  # characters of a reason, which may quote a line
_STAGING_FOLDER = ".segpipe-staging"


class State(StrEnum):
    """What became of a scan."""

    WRITING = "writing"
    """Its files are about to come into place; what the entry names is ours even if nothing more was written."""
    DONE = "done"
    KEPT = "kept"
    """Its label map was corrected by hand since; it stays, and its volumes are of the correction."""
    FAILED = "failed"


@dataclass(frozen=True)
class Entry:
    """One line of the ledger; the last of a case counts.

    Attributes:
        case: name of the scan below the folder that was searched.
        state: what became of it.
        scan: its path.
        scan_sha256: of its file or files; empty where they could not be read.
        recipe: hash of all else that the files depend on: weights, configuration, options.
        precision: that the network computed in.
        seconds: from reading to the last file.
        reason: why it failed, or what is to be known of it.
        files: path below the output folder -> SHA-256.
        replaced: the same of what lay there before, while the state is writing.
        corrected: the same of a label map that was corrected by hand.
        volumes: of its classes.
        warnings: what of the scan or of its label map lies outside what the training cases were; None where it was not
            compared with them.
        finished: when, in UTC, ISO 8601.
    """

    case: str
    state: State
    scan: str
    scan_sha256: str = ""
    recipe: str = ""
    precision: str = ""
    seconds: float = 0.0
    reason: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)
    corrected: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[ClassVolume] = ()
    warnings: Sequence[str] | None = None
    finished: str = ""


class Ledger:
    """`predictions.jsonl` in a cohort's output folder: a line whenever something became of a scan.

    Args:
        folder: of the outputs; locked by `locked_folder` while this is written to.

    Raises:
        SegpipeError: a line was not written by segpipe.

    Attributes:
        entries: case -> its last entry.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEDGER_FILE
        self.entries: dict[str, Entry] = {}
        self._ends_whole = False
        self._lock = threading.Lock()
        if not self.path.exists():
            return
        with open_regular(self.path) as file:
            content = file.read()
        whole = content.rpartition(b"\n")[0]  # a process may have been killed in the middle of a line
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = _entry(parse_json(line.decode(), finite=True))
            except (ValueError, TypeError, KeyError, DocumentError) as error:
                raise SegpipeError(
                    f"{self.path}: line {number} was not written by segpipe ({str(error)[:_SHOWN]}); restore "
                    "the file, or choose another output folder"
                ) from error
            self.entries[entry.case] = entry

    def append(self, entry: Entry) -> None:
        """Write an entry, and have it on disk before going on."""
        line = json.dumps(asdict(entry), sort_keys=True) + "\n"
        with self._lock, self.path.open("ab") as file:
            if not self._ends_whole:
                _cut_broken_line(file.fileno(), self.path)
            self._ends_whole = False  # a full disk may take half of it
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
            self._ends_whole = True
            self.entries[entry.case] = entry

    def write_volumes(self) -> None:
        """Write `volumes.csv`: what is known of each class of every scan that has a label map."""
        known = [
            (case, entry)
            for case, entry in sorted(dict(self.entries).items())
            if entry.state in (State.DONE, State.KEPT)
        ]
        rows = (
            [
                case,
                volume.label,
                volume.voxels,
                volume.millilitres,
                volume.components,
                NOT_COMPARED if entry.warnings is None else "; ".join(entry.warnings),
            ]
            for case, entry in known
            for volume in entry.volumes
        )
        write_text(self.path.with_name(VOLUMES_FILE), csv_text(VOLUMES_COLUMNS, rows, ".6g"))


def _cut_broken_line(descriptor: int, path: Path) -> None:
    """Remove the half of a line at the end that a killed process left."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.ftruncate(descriptor, content.rfind(b"\n") + 1)


def _entry(row: Mapping[str, Any]) -> Entry:
    """Return an entry of what a line holds.

    Raises:
        TypeError, ValueError, KeyError: it is no entry. A file that it names lies elsewhere than below the folder.
    """
    volumes = tuple(ClassVolume(**volume) for volume in row["volumes"])
    own = {
        "state": State(row["state"]),
        "volumes": volumes,
        "warnings": None if row.get("warnings") is None else tuple(row["warnings"]),
    }
    entry = Entry(**{**row, **own})
    for name in _TEXTS:
        _require(name, getattr(entry, name), str)
    _require("seconds", entry.seconds, int, float)
    for warning in entry.warnings or ():
        _require("warnings", warning, str)
    for volume in volumes:
        _require("label", volume.label, str)
        _require("voxels", volume.voxels, int)
        _require("components", volume.components, int)
        if volume.millilitres is not None:
            _require("millilitres", volume.millilitres, int, float)
    for name in ("files", "replaced", "corrected"):
        _require(name, getattr(entry, name), dict)
        for path, sha256 in getattr(entry, name).items():
            _require(name, sha256, str)
            if PurePath(path).is_absolute() or ".." in PurePath(path).parts:  # segpipe removes what it wrote
                raise ValueError(f"{name} has {path}, which is not below the folder")
    return entry


def _require(name: str, value: Any, *types: type) -> None:
    if not isinstance(value, types) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.40}")


@contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Hold the output folder of a cohort; the lock goes with the process, however it ends.

    Yields:
        an empty folder in it to write into.

    Raises:
        SegpipeError: nothing can be written there, or another process holds it.
    """
    require_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / _STAGING_FOLDER
    lock = FileLock(folder / LOCK_FILE, blocking=False, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise SegpipeError(
            f"{folder}: another segpipe writes there now; wait for it, or choose another output folder"
        ) from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        raise SegpipeError(
            f"{folder}: cannot be locked against a second segpipe ({error.strerror}); choose an output folder on a "
            "disk that has locks"
        ) from error
    try:
        shutil.rmtree(staging, ignore_errors=True)  # what a killed process left
        discard_remains(folder)
        staging.mkdir()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.release()


def staged_files(staged: Path) -> dict[str, str]:
    """Return path below a folder -> SHA-256 of every file in it, having made sure that each is on disk."""
    files = sorted(path for path in staged.rglob("*") if path.is_file())
    for path in files:
        sync(path)
    return {path.relative_to(staged).as_posix(): file_sha256(path) for path in files}


def publish(staged: Path, folder: Path, files: Sequence[str], last: str) -> None:
    """Give staged files their names below the output folder, each whole, and the one that counts last.

    An earlier .mhd goes before its voxel file is replaced: the two of different runs would be one damaged label map.
    """
    if any(
        PurePath(name).with_suffix("") == PurePath(last).with_suffix("") for name in files if name != last
    ):
        (folder / last).unlink(missing_ok=True)
    for name in [*(name for name in files if name != last), last]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (staged / name).replace(target)
        sync(target.parent)

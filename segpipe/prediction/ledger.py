"""The ledger of a cohort: the outcome of each scan, on disk, so that an interrupted run can continue."""

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
from segpipe.files import discard_remains, require_writable, write_text
from segpipe.inference.class_volume import EXPECTED_NUMBERS, ClassVolume, Expected
from segpipe.regular_files import open_regular
from segpipe.training.run_lock import LOCK_FILE, WITHOUT_LOCKS

LEDGER_FILE = "predictions.jsonl"
VOLUMES_FILE = "volumes.csv"
VOLUMES_COLUMNS = (
    *("case", "label", "voxels", "millilitres", "components", "warnings"),
    *("frame", "resampled_channels", "located"),
)
EXPECTED_COLUMNS = (
    *("expected_dice", "expected_dice_low", "expected_dice_high"),
    *("millilitres_low", "millilitres_high", "expected_note"),
)
NOT_COMPARED = "not compared with the training cases"
_TEXTS = (
    *("case", "scan", "scan_sha256", "recipe", "request", "precision", "engine", "reason", "finished"),
    *("decision", "quantised"),
)
_COUNTS = ("threads", "torch_threads", "batch_size")
_SOMETIMES = (
    *("classes", "probabilities", "decision", "request", "engine", *_COUNTS, "located", "quantised"),
    *("overlap", "flips"),
)
_SHOWN = 200  # characters of a reason in a message; a reason may quote a whole line
STAGING_FOLDER = ".segpipe-staging"


class State(StrEnum):
    """The state of a scan in the output folder."""

    WRITING = "writing"
    """The files are about to be renamed into place; segpipe wrote every file that the entry names."""
    DONE = "done"
    KEPT = "kept"
    """The user corrected the label map by hand; it stays, and the volumes are those of the correction."""
    FAILED = "failed"


@dataclass(frozen=True)
class Entry:
    """One line of the ledger; the last line of a case counts.

    Attributes:
        case: name of the scan, with its path below the input folder.
        state: state of the scan.
        scan: path of the scan.
        scan_sha256: hash of its file or files; empty if they could not be read.
        recipe: hash of everything else that the outputs depend on: weights, configuration, options.
        precision: number format that the network computed in.
        engine: what computed the network; empty for MONAI's own chain, for an image, and in a ledger of an earlier
            segpipe.
        seconds: wall time from reading to the last file.
        reason: why the scan failed, or a note for the user.
        files: path below the output folder -> SHA-256 of each file of this run.
        replaced: path -> SHA-256 of the files of an earlier run, while the state is writing.
        corrected: path -> SHA-256 of a label map that the user corrected by hand.
        volumes: one per foreground class.
        warnings: measures of the scan or its label map outside the reference ranges; None if they were not compared.
        finished: time of the entry, in UTC, ISO 8601.
        resampled: the channels that were brought onto the first channel's grid, each with the share of the first
            channel's voxels that it covers.
        classes: names of the classes or findings of a classified image; empty for a segmented scan.
        probabilities: one for each of `classes`, 0 to 1.
        decision: the class, or the findings at their thresholds, of a classified image.
        request: hash of the bytes that the recipe came from, see `segpipe.prediction.request`; empty for none.
        threads: number of processor threads that computed one window; 0 for PyTorch and for an image.
        torch_threads: number of threads of PyTorch, which preprocesses a scan whatever computes its windows; 0 in a
            ledger of an earlier segpipe.
        batch_size: windows or images in a batch of PyTorch; 0 where the windows are computed one by one.
        located: the part of the scan that the network saw, of each time frame of a series; empty without a locator.
        quantised: hash of the network in int8; empty for another precision.
        overlap: overlap of neighbouring windows, as a share of the window: one number, or one an axis; empty for an
            image, and in a ledger of an earlier segpipe.
        flips: axes along which inputs were mirrored, the scores being averaged.
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
    resampled: Sequence[str] = ()
    classes: Sequence[str] = ()
    probabilities: Sequence[float] = ()
    decision: str = ""
    engine: str = ""
    request: str = ""
    threads: int = 0
    torch_threads: int = 0
    batch_size: int = 0
    located: Sequence[str] = ()
    quantised: str = ""
    overlap: Sequence[float] = ()
    flips: Sequence[int] = ()

    def as_row(self) -> dict[str, Any]:
        """Return the entry in plain types; the parts that not every entry has only where they are filled."""
        row = asdict(self)
        for volume in row["volumes"]:
            if volume["expected"] is None:
                del volume["expected"]
        return {name: value for name, value in row.items() if value or name not in _SOMETIMES}


class Ledger:
    """The file `predictions.jsonl` in an output folder: one line for each change of a scan's state.

    Args:
        folder: of the outputs; `locked_folder` holds it while the ledger is written.
        name: of the ledger; that of a part has another one, see `segpipe.prediction.part_ledger`.

    Raises:
        SegpipeError: a line was not written by segpipe.

    Attributes:
        entries: case -> its last entry.
        agreed: an entry with the engine, precision, threads and batches that all parts of a cohort have; None for a
            whole run.
        writes_tables: whether the ledger has all scans of the folder; False for that of a part.
    """

    writes_tables = True

    def __init__(self, folder: Path, name: str = LEDGER_FILE) -> None:
        self.path = folder / name
        self.entries: dict[str, Entry] = {}
        self.agreed: Entry | None = None
        self._ends_whole = False
        self._lock = threading.Lock()
        if not self.path.exists():
            return
        with open_regular(self.path) as file:
            content = file.read()
        whole = content.rpartition(b"\n")[0]  # a killed process may have left half a line at the end
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = parse_entry(parse_json(line.decode(), finite=True))
            except (ValueError, TypeError, KeyError, DocumentError) as error:
                raise SegpipeError(
                    f"{self.path}: line {number} was not written by segpipe ({str(error)[:_SHOWN]}); restore "
                    "the file, or choose another output folder"
                ) from error
            self.entries[entry.case] = entry

    def append(self, *entries: Entry) -> None:
        """Append entries, and return once they are on disk."""
        lines = _lines(entries)
        with self._lock, self.path.open("ab") as file:
            if not self._ends_whole:
                _cut_broken_line(file.fileno(), self.path)
            self._ends_whole = False  # a full disk may keep half of the line
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
            self._ends_whole = True
            self.entries |= {entry.case: entry for entry in entries}

    def rewrite(self, entries: Sequence[Entry]) -> None:
        """Replace the whole ledger, atomically."""
        with self._lock:
            write_text(self.path, _lines(entries))
            self.entries = {entry.case: entry for entry in entries}

    def computed(self, recipe: str) -> list[Entry]:
        """Return the entries whose engine, precision and threads a run with this recipe takes over."""
        if self.agreed is not None:
            return [self.agreed]
        return [entry for entry in self.entries.values() if entry.recipe == recipe and entry.precision]

    def write_volumes(self) -> None:
        """Write `volumes.csv`: one row for each class of every scan, or time frame, that has a label map.

        The table has `EXPECTED_COLUMNS` where a scan was segmented by weights with a calibration of the expected Dice.
        """
        known = [
            (case, entry)
            for case, entry in sorted(dict(self.entries).items())
            if entry.state in (State.DONE, State.KEPT)
        ]
        has_expected = any(volume.expected is not None for _, entry in known for volume in entry.volumes)
        rows = (
            [
                case,
                volume.label,
                volume.voxels,
                volume.millilitres,
                volume.components,
                NOT_COMPARED
                if entry.warnings is None
                else "; ".join(_of_frame(entry.warnings, volume.frame)),
                "" if volume.frame is None else volume.frame,
                "; ".join(entry.resampled),
                "; ".join(_of_frame(entry.located, volume.frame)),
                *(_expected_cells(volume.expected) if has_expected else ()),
            ]
            for case, entry in known
            for volume in entry.volumes
        )
        columns = (*VOLUMES_COLUMNS, *(EXPECTED_COLUMNS if has_expected else ()))
        write_text(self.path.with_name(VOLUMES_FILE), csv_text(columns, rows, ".6g"))


def _expected_cells(expected: Expected | None) -> list[float | str | None]:
    """Return the cells of `EXPECTED_COLUMNS`; empty ones where nothing is expected."""
    if expected is None:
        return [None] * len(EXPECTED_COLUMNS)
    return [*(getattr(expected, name) for name in EXPECTED_NUMBERS), expected.note]


def _lines(entries: Sequence[Entry]) -> str:
    return "".join(json.dumps(entry.as_row(), sort_keys=True) + "\n" for entry in entries)


def frame_mark(frame: int) -> str:
    """Return the beginning of a warning about one time frame."""
    return f"frame {frame}: "


def _of_frame(warnings: Sequence[str], frame: int | None) -> list[str]:
    """Return the warnings about a time frame without their mark; all warnings of a scan without frames."""
    if frame is None:
        return list(warnings)
    mark = frame_mark(frame)
    return [warning.removeprefix(mark) for warning in warnings if warning.startswith(mark)]


def _cut_broken_line(descriptor: int, path: Path) -> None:
    """Remove the half line at the end that a killed process left."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.ftruncate(descriptor, content.rfind(b"\n") + 1)


def parse_entry(row: Mapping[str, Any]) -> Entry:
    """Return the entry that a line of the ledger holds.

    Raises:
        TypeError, ValueError, KeyError: the line is no entry, or names a file outside the output folder.
    """
    volumes = tuple(map(_volume, row["volumes"]))
    typed = {
        "state": State(row["state"]),
        "volumes": volumes,
        "warnings": None if row.get("warnings") is None else tuple(row["warnings"]),
        "resampled": tuple(row.get("resampled", ())),
        "located": tuple(row.get("located", ())),
        "classes": tuple(row.get("classes", ())),
        "probabilities": tuple(row.get("probabilities", ())),
        "overlap": tuple(row.get("overlap", ())),
        "flips": tuple(row.get("flips", ())),
    }
    entry = Entry(**{**row, **typed})
    for name in _TEXTS:
        _require(name, getattr(entry, name), str)
    _require("seconds", entry.seconds, int, float)
    for name in _COUNTS:
        _require(name, getattr(entry, name), int)
    numbers: tuple[type, ...] = (int, float)
    for name, values, types in (
        ("warnings", entry.warnings or (), (str,)),
        ("resampled", entry.resampled, (str,)),
        ("located", entry.located, (str,)),
        ("classes", entry.classes, (str,)),
        ("probabilities", entry.probabilities, numbers),
        ("overlap", entry.overlap, numbers),
        ("flips", entry.flips, (int,)),
    ):
        for value in values:
            _require(name, value, *types)
    if len(entry.classes) != len(entry.probabilities):
        raise ValueError("classes and probabilities differ in number")
    _require_volumes(volumes)
    for name in ("files", "replaced", "corrected"):
        _require(name, getattr(entry, name), dict)
        for path, sha256 in getattr(entry, name).items():
            _require(name, sha256, str)
            if PurePath(path).is_absolute() or ".." in PurePath(path).parts:  # segpipe may remove it later
                raise ValueError(f"{name} has {path}, which is not below the folder")
    return entry


def _volume(row: Mapping[str, Any]) -> ClassVolume:
    fields = {**row}  # a TypeError for anything but an object
    expected = fields.get("expected")
    return ClassVolume(**{**fields, "expected": None if expected is None else Expected(**expected)})


def _require_volumes(volumes: Sequence[ClassVolume]) -> None:
    for volume in volumes:
        _require("label", volume.label, str)
        _require("voxels", volume.voxels, int)
        _require("components", volume.components, int)
        if volume.frame is not None:
            _require("frame", volume.frame, int)
        if volume.millilitres is not None:
            _require("millilitres", volume.millilitres, int, float)
        if volume.expected is not None:
            _require("note", volume.expected.note, str)
            for name in EXPECTED_NUMBERS:
                if (value := getattr(volume.expected, name)) is not None:
                    _require(name, value, int, float)


def _require(name: str, value: Any, *types: type) -> None:
    if not isinstance(value, types) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.40}")


@contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Lock the output folder of a cohort; the lock ends with the process in any case.

    Yields:
        an empty staging folder inside the output folder.

    Raises:
        SegpipeError: the folder is not writable, or another process holds the lock.
    """
    require_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / STAGING_FOLDER
    with folder_lock(folder):
        try:
            shutil.rmtree(staging, ignore_errors=True)  # files of a killed process
            discard_remains(folder)
            staging.mkdir()
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def folder_lock(folder: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of an output folder that exists, see `locked_folder`.

    Args:
        folder: the output folder.
        wait_s: seconds to wait for another process.

    Raises:
        SegpipeError: as `locked_folder`.
    """
    lock = FileLock(folder / LOCK_FILE, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=wait_s)
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
        yield
    finally:
        lock.release()

"""Which scans a cohort has, how they are segmented, and what becomes of each."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

import torch

from segpipe.bundle.open import OpenBundle
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, json_sha256
from segpipe.inference import FlipInferer, choose_precision
from segpipe.inference.ledger import Entry, Ledger, State
from segpipe.inference.volumetry import ClassVolume
from segpipe.volumes import Scan, VolumeFormat, check_collisions, find_scans, output_path, voxel_file

OVERLAYS, ENTROPY, PROBABILITIES = "overlays", "entropy", "probabilities"
SIDE_FOLDERS = (OVERLAYS, ENTROPY, PROBABILITIES)
_SIDE_SUFFIXES = {OVERLAYS: ".png", ENTROPY: ".nii.gz", PROBABILITIES: ".npy"}
_FULL_OR_READ_ONLY = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class PredictOptions:
    """How a cohort is segmented.

    Attributes:
        precision: auto, float32, bfloat16 or float16; auto times the network at the start.
        batch_size: windows at a time; None is the bundle's.
        flips: axes of mirror images whose scores are averaged too; None is the bundle's.
        skip_empty: share of the intensities below which a window counts as empty and is left out; None: none is.
        format: of label maps; None is each scan's own.
        series_uid: which DICOM series of folders that hold several.
        overlays: draw a picture of each scan with its label map.
        entropy: write how unsure the network is, voxel by voxel.
        probabilities: write the probabilities of all classes.
        overwrite: replace files that are not segpipe's, or were changed since.
        jobs: scans that are read and prepared ahead.
    """

    precision: str = "auto"
    batch_size: int | None = None
    flips: tuple[int, ...] | None = None
    skip_empty: float | None = None
    format: VolumeFormat | None = None
    series_uid: str | None = None
    overlays: bool = True
    entropy: bool = False
    probabilities: bool = False
    overwrite: bool = False
    jobs: int = 1

    def check(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            SegpipeError: naming the option, its value and what it may be.
        """
        choose_precision(self.precision, torch.device("cpu"))
        FlipInferer(None, self.flips or ())
        for name, count in (("batch_size", self.batch_size), ("jobs", self.jobs)):
            if count is not None and count < 1:
                raise SegpipeError(f"{name} is {count}, must be at least 1")
        if self.skip_empty is not None and not 0 <= self.skip_empty < 1:
            raise SegpipeError(f"skip_empty is {self.skip_empty:g}, must be from 0 to below 1")
        if self.format in (VolumeFormat.DICOM, VolumeFormat.JPEG):
            raise SegpipeError(f"format is {self.format.name}: label maps are not written in it")

    def recipe(self, bundle: OpenBundle) -> str:
        """Hash all that outputs depend on but the scan."""
        how = asdict(replace(self, batch_size=None, jobs=1, overwrite=False))
        return json_sha256({"bundle": bundle.sha256, **how, "format": self.format and self.format.value})


class Outcome(StrEnum):
    """What this run did with a scan."""

    DONE = "done"
    SKIPPED = "skipped"
    """It was done before, with the same scan, weights and options."""
    KEPT = "kept"
    """So it was, and its label map was corrected by hand since; that stays."""
    FAILED = "failed"


@dataclass(frozen=True)
class Prediction:
    """What became of one scan.

    Attributes:
        case: its name.
        outcome: what this run did.
        scan: its path.
        label_map: where its label map lies; None where there is none.
        seconds: that it took.
        reason: why it failed, or what is to be known of it.
        volumes: of its classes.
    """

    case: str
    outcome: Outcome
    scan: Path
    label_map: Path | None
    seconds: float = 0.0
    reason: str = ""
    volumes: Sequence[ClassVolume] = ()


def label_map_name(scan: Scan, options: PredictOptions) -> str:
    """Return where the label map of a scan goes, below the output folder."""
    return output_path(scan, "", options.format).as_posix()


def cohort_scans(paths: Sequence[str | Path], folder: Path, options: PredictOptions) -> list[Scan]:
    """Find all scans, and refuse what could not all be written.

    Args:
        paths: as `predict` takes them.
        folder: of the outputs.
        options: whose format counts.

    Raises:
        SegpipeError: see `segpipe.volumes.find_scans` and `check_collisions`; or the output folder lies among the
            scans.
    """
    if not paths:
        raise SegpipeError("no scans were named")
    found: dict[Path, Scan] = {}
    for path in map(Path, paths):
        inside = path.is_dir() and folder.resolve().is_relative_to(path.resolve())
        if inside:
            raise SegpipeError(
                f"{folder}: lies inside the folder of scans {path}, whose next run would take the label maps for "
                "scans; choose another --output"
            )
        for scan in find_scans(path):
            found.setdefault(scan.path.resolve(), scan)
    scans = sorted(found.values(), key=lambda scan: scan.name)
    for scan in scans:
        if scan.name.split("/")[0] in SIDE_FOLDERS:
            raise SegpipeError(
                f"{scan.path}: its label map would lie in {scan.name.split('/')[0]}, where segpipe puts pictures and "
                "the like; rename the folder"
            )
    check_collisions(scans, folder, options.format)
    return scans


class ToDo(StrEnum):
    """What a scan needs."""

    SEGMENT = "segment"
    NOTHING = "nothing"
    """It was done before, with the same scan, weights and options."""
    KEEP = "keep"
    """So it was, and its label map was corrected by hand since."""


def to_do(
    scan: Scan, sha256: str, folder: Path, ledger: Ledger, options: PredictOptions, recipe: str
) -> ToDo:
    """Say what a scan needs, by the ledger and by what lies where its label map goes.

    Args:
        scan: of the cohort.
        sha256: of the scan, see `scan_sha256`.
        folder: of the outputs.
        ledger: of the folder.
        options: of the run.
        recipe: of the run, see `PredictOptions.recipe`.

    Raises:
        SegpipeError: its label map would replace a file that is not segpipe's, or was changed since.
    """
    name = label_map_name(scan, options)
    path = folder / name
    before = ledger.entries.get(scan.name) or Entry(scan.name, State.FAILED, str(scan.path))
    ours = {**before.replaced, **before.files}
    if not options.overwrite:
        for side in _side_files(scan, options):
            if os.path.lexists(folder / side) and side not in ours:
                raise SegpipeError(
                    f"{folder / side}: is none of segpipe's; choose another --output, or add --overwrite"
                )
    if not os.path.lexists(path):
        return ToDo.SEGMENT
    finished = before.state in (State.DONE, State.KEPT)
    same = finished and (before.scan_sha256, before.recipe) == (sha256, recipe)
    there = label_map_hashes(folder, name)
    if all(there[file] in (before.files.get(file), before.replaced.get(file)) for file in there):
        complete = all((folder / file).is_file() for file in before.files)
        return ToDo.NOTHING if same and before.state is State.DONE and complete else ToDo.SEGMENT
    if options.overwrite and path.is_file():
        return ToDo.SEGMENT
    if same:
        return ToDo.NOTHING if there == before.corrected else ToDo.KEEP
    why = "was changed since segpipe wrote it" if name in ours else "is none of segpipe's"
    raise SegpipeError(
        f"{path}: lies where the label map of {scan.path} goes, and {why}; choose another --output, or add --overwrite "
        "to replace it"
    )


def label_map_hashes(folder: Path, name: str) -> dict[str, str]:
    """Return path below a folder -> SHA-256 of a label map's file, and of the voxel file beside a .mhd.

    Args:
        folder: of the outputs.
        name: of the label map below it, which exists.
    """
    path = folder / name
    if not path.is_file():
        return {name: "no file"}
    try:
        beside = voxel_file(path)
    except SegpipeError:  # a header that somebody broke has other bytes, too
        beside = None
    files = [path] if beside is None or not beside.is_file() else [path, beside]
    return {os.path.relpath(file, folder).replace(os.sep, "/"): file_sha256(file) for file in files}


def _side_files(scan: Scan, options: PredictOptions) -> list[str]:
    """Return where the pictures and the like of a scan go, below the output folder."""
    wanted = (
        (OVERLAYS, options.overlays),
        (ENTROPY, options.entropy),
        (PROBABILITIES, options.probabilities),
    )
    return [side_file(folder, scan) for folder, write in wanted if write]


def side_file(folder: str, scan: Scan) -> str:
    """Return where one of `SIDE_FOLDERS` has a scan's file, below the output folder."""
    return f"{folder}/{scan.name}{_SIDE_SUFFIXES[folder]}"


def scan_sha256(scan: Scan) -> str:
    """Hash what a scan is read from: its file, header and voxel file, or all files of its folder.

    Raises:
        SegpipeError: it cannot be read.
    """
    try:
        return json_sha256([[path.name, file_sha256(path)] for path in _files(scan)])
    except OSError as error:
        raise SegpipeError(
            f"{error.filename}: cannot be read ({error.strerror}); check path and permissions"
        ) from error


def stamps(scan: Scan) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of each file of a scan: what differs once somebody writes to it.

    Raises:
        SegpipeError: it cannot be read.
    """
    try:
        return [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in _files(scan)]
    except OSError as error:
        raise SegpipeError(
            f"{error.filename}: cannot be read ({error.strerror}); check path and permissions"
        ) from error


def _files(scan: Scan) -> list[Path]:
    if scan.path.is_dir():
        return sorted(path for path in scan.path.iterdir() if path.is_file())
    beside = voxel_file(scan.path)
    return [scan.path] if beside is None else [scan.path, beside]


def disk_error(error: BaseException | None) -> OSError | None:
    """Return the error of a full or read-only disk that an exception is, or was raised from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL_OR_READ_ONLY:
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a disk that takes no more into one message."""
    try:
        yield
    except SegpipeError as error:
        if disk_error(error) is None:
            raise
        raise SegpipeError(_disk_message(folder, error)) from error
    except OSError as error:
        if disk_error(error) is None:
            raise
        raise SegpipeError(_disk_message(folder, error)) from error


def _disk_message(folder: Path, error: Exception) -> str:
    known = disk_error(error)
    return (
        f"{folder}: nothing more can be written there ({known.strerror if known else error}); what is done stays: make "
        "room, and the same command goes on"
    )

"""Which scans a cohort has, how they are segmented, and what becomes of each."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

import torch

from segpipe.bundle.open import OpenBundle
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, json_sha256
from segpipe.inference import FlipInferer, choose_precision
from segpipe.inference.ledger import VOLUMES_COLUMNS, VOLUMES_FILE, Entry, Ledger, State
from segpipe.inference.volumetry import ClassVolume
from segpipe.volumes import (
    Scan,
    VolumeFormat,
    check_collisions,
    existing_outputs,
    find_scans,
    output_path,
    voxel_file,
)

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
        SegpipeError: see `segpipe.volumes.find_scans` and `check_collisions`; or two scans have one name, or the output
            folder lies among the scans.
    """
    if not paths:
        raise SegpipeError("no scans were named")
    found: dict[str, Scan] = {}
    for path in map(Path, paths):
        inside = path.is_dir() and folder.resolve().is_relative_to(path.resolve())
        if inside:
            raise SegpipeError(
                f"{folder}: lies inside the folder of scans {path}, whose next run would take the label maps for "
                "scans; choose another --output"
            )
        for scan in find_scans(path):
            found.setdefault(scan_place(scan), scan)
    scans = sorted(found.values(), key=lambda scan: scan.name)
    for scan in scans:
        if scan.name.split("/")[0] in SIDE_FOLDERS:
            raise SegpipeError(
                f"{scan.path}: its label map would lie in {scan.name.split('/')[0]}, where segpipe puts pictures and "
                "the like; rename the folder"
            )
    check_collisions(scans, folder, options.format)
    _refuse_same_names(scans)
    return scans


def _refuse_same_names(scans: Sequence[Scan]) -> None:
    """Refuse scans that differ in nothing but their format, or in case: the name is what the ledger goes by."""
    owners: dict[str, Scan] = {}
    for scan in scans:
        other = owners.setdefault(scan.name.casefold(), scan)
        if other is not scan:
            raise SegpipeError(
                f"{other.path} and {scan.path}: both are the case {scan.name} of volumes.csv and the pictures (names "
                "that differ in case count as one); rename one, or predict them into two output folders"
            )


class ToDo(StrEnum):
    """What a scan needs."""

    SEGMENT = "segment"
    NOTHING = "nothing"
    """It was done before, with the same scan, weights and options."""
    KEEP = "keep"
    """Its label map was corrected by hand since; that is newer than any weights."""


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
        OtherScanError: what lies there under its name was made of another scan.
        SegpipeError: its files would replace some that are not segpipe's, or a label map that was changed since.
    """
    name = label_map_name(scan, options)
    path = folder / name
    before = ledger.entries.get(scan.name) or Entry(scan.name, State.FAILED, scan_place(scan))
    there = label_map_hashes(folder, name) if os.path.lexists(path) else {}
    if not options.overwrite:
        _refuse_another_scan(scan, sha256, folder, before)
        _refuse_other_files(scan, folder, before, options, name, there)
    if all(_is_ours(file, there[file], before) for file in there):
        complete = bool(there) and all((folder / file).is_file() for file in before.files)
        same = (before.state, before.scan_sha256, before.recipe) == (State.DONE, sha256, recipe)
        return ToDo.NOTHING if same and complete else ToDo.SEGMENT
    if options.overwrite and path.is_file():
        return ToDo.SEGMENT
    if name in before.files and not before.replaced and before.scan_sha256 == sha256:
        known = before.state is State.KEPT and there == before.corrected
        return ToDo.NOTHING if known else ToDo.KEEP
    why = "was changed since segpipe wrote it" if name in before.files else "is none of segpipe's"
    raise SegpipeError(
        f"{path}: lies where the label map of {scan.path} goes, and {why}; choose another --output, or add --overwrite "
        "to replace it"
    )


class OtherScanError(SegpipeError):
    """A scan's name is taken in the output folder; what the ledger says of that case stays true."""


def _refuse_another_scan(scan: Scan, sha256: str, folder: Path, before: Entry) -> None:
    """Refuse a scan that is neither the one that was segmented, moved perhaps, nor a new one in its place."""
    moved = before.scan != scan_place(scan)
    if (
        moved
        and before.scan_sha256 not in ("", sha256)
        and any((folder / file).exists() for file in before.files)
    ):
        raise OtherScanError(
            f"{scan.path}: {folder} has a case {scan.name} already, of another scan, {before.scan}; choose another "
            "--output, or add --overwrite to replace it"
        )


def _refuse_other_files(
    scan: Scan, folder: Path, before: Entry, options: PredictOptions, name: str, there: Mapping[str, str]
) -> None:
    """Refuse to replace files that go with a label map, and to lay one beside a correction in another format."""
    ours = {**before.replaced, **before.files}
    outputs = [
        path.relative_to(folder).as_posix() for path in existing_outputs([scan], folder, options.format)
    ]
    sides = [file for file in _side_files(scan, options) if os.path.lexists(folder / file)]
    foreign = [file for file in (*outputs, *sides) if file not in {name, *there, *ours}]
    if foreign:
        raise SegpipeError(
            f"{folder / foreign[0]}: lies where segpipe writes for {scan.path}, and is none of segpipe's; choose "
            "another --output, or add --overwrite to replace it"
        )
    for file in ours:
        path = folder / file
        if file in (*outputs, *there) or file.split("/")[0] in SIDE_FOLDERS or not path.is_file():
            continue
        if not _is_ours(file, file_sha256(path), before):
            raise SegpipeError(
                f"{path}: is the label map of {scan.path} in another format, and was changed since segpipe wrote it; "
                "choose its --format or another --output, or add --overwrite to have one of the network beside it"
            )


def _is_ours(file: str, sha256: str, before: Entry) -> bool:
    """Return whether a file has the bytes that segpipe gave it."""
    return sha256 in (before.files.get(file), before.replaced.get(file))


def written_files(folder: Path, before: Entry) -> dict[str, str]:
    """Return path below a folder -> SHA-256 of a scan's files that are there as segpipe wrote them.

    Which of two runs wrote them the ledger alone does not know, where the second was killed.
    """
    names = [name for name in {**before.replaced, **before.files} if (folder / name).is_file()]
    found = {name: file_sha256(folder / name) for name in names}
    return {name: sha256 for name, sha256 in found.items() if _is_ours(name, sha256, before)}


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


def scan_place(scan: Scan) -> str:
    """Return where a scan lies from the root on, by which to know it again; two links to one file are two scans."""
    return str(scan.path.parent.resolve() / scan.path.name)


def require_text(scan: Scan) -> None:
    """Refuse a scan whose name cannot be written to volumes.csv.

    Raises:
        SegpipeError: a name that is not UTF-8.
    """
    try:
        scan.name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(scan.path).decode(errors="backslashreplace")
        raise SegpipeError(f"{shown}: its name is not UTF-8 text; rename it") from error


def require_own_volumes(folder: Path, ledger: Ledger) -> None:
    """Refuse a folder in which volumes.csv is of another program, before it is replaced.

    Args:
        folder: of the outputs.
        ledger: of the folder.

    Raises:
        SegpipeError: the file begins as none of segpipe's, and there is no ledger.
    """
    path = folder / VOLUMES_FILE
    if ledger.entries or not path.exists():
        return
    with path.open("rb") as file:
        if file.readline() != f"{','.join(VOLUMES_COLUMNS)}\n".encode():
            raise SegpipeError(f"{path}: is none of segpipe's; rename it, or choose another --output")


def scan_sha256(scan: Scan) -> str:
    """Hash what a scan is read from: its file, header and voxel file, or all files of its folder.

    Raises:
        SegpipeError: it cannot be read.
    """
    with _reading(scan):
        return json_sha256([[path.name, file_sha256(path)] for path in _files(scan)])


def stamps(scan: Scan) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of each file of a scan: what differs once somebody writes to it.

    Raises:
        SegpipeError: it cannot be read.
    """
    with _reading(scan):
        return [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in _files(scan)]


@contextmanager
def _reading(scan: Scan) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        which = "" if error.filename == str(scan.path) else f" {Path(error.filename or '').name}"
        raise SegpipeError(
            f"{scan.path}:{which} cannot be read ({error.strerror}); check path and permissions"
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
    """Turn a disk that takes no more, or a file of segpipe's own that it cannot open, into one message."""
    try:
        yield
    except SegpipeError as error:
        if disk_error(error) is None:
            raise
        raise SegpipeError(_disk_message(folder, error)) from error
    except OSError as error:
        if disk_error(error) is not None:
            raise SegpipeError(_disk_message(folder, error)) from error
        if Path(os.fsdecode(error.filename or "")).parent != folder:
            raise
        raise SegpipeError(
            f"{error.filename}: cannot be read and written ({error.strerror}); mend its permissions, or choose another "
            "--output"
        ) from error


def _disk_message(folder: Path, error: Exception) -> str:
    known = disk_error(error)
    remedy = "make it writable" if known is not None and known.errno == errno.EROFS else "make room"
    return (
        f"{folder}: nothing more can be written there ({known.strerror if known else error}); what is done stays: "
        f"{remedy}, and the same command goes on"
    )

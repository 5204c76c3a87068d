"""Which scans a cohort has, how they are segmented, and what becomes of each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

import torch

from segpipe.bundle.cases import ScanRule
from segpipe.bundle.open import OpenBundle
from segpipe.errors import SegpipeError, segpipe_cause
from segpipe.files import file_sha256, json_sha256
from segpipe.inference import FlipInferer, choose_precision
from segpipe.inference.volumetry import ClassVolume
from segpipe.volumes import (
    RefusedScan,
    Scan,
    VolumeFormat,
    VolumeHeader,
    check_collisions,
    clashing_scans,
    look_for_scans,
    output_path,
    passed_over_note,
    read_header,
    refused_scan,
    voxel_file,
)
from segpipe.volumes.dicom_headers import dicom_files
from segpipe.volumes.formats import KNOWN_FORMATS

OVERLAYS, ENTROPY, PROBABILITIES = "overlays", "entropy", "probabilities"
SIDE_FOLDERS = (OVERLAYS, ENTROPY, PROBABILITIES)
_SIDE_SUFFIXES = {OVERLAYS: ".png", ENTROPY: ".nii.gz", PROBABILITIES: ".npy"}


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
        strict: refuse files that are neither scans nor companions, before anything is done.
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
    strict: bool = False

    def check(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            SegpipeError: naming the option, its value and what it may be.
        """
        choose_precision(self.precision, torch.device("cpu"))
        FlipInferer(None, self.flips or ())
        for name, count in (("--batch-size (batch_size in Python)", self.batch_size), ("--jobs", self.jobs)):
            if count is not None and count < 1:
                raise SegpipeError(f"{name} is {count}, must be at least 1")
        if self.skip_empty is not None and not 0 <= self.skip_empty < 1:
            raise SegpipeError(
                f"--skip-empty (skip_empty in Python) is {self.skip_empty:g}, must be from 0 to below 1"
            )
        if self.format in (VolumeFormat.DICOM, VolumeFormat.JPEG):
            raise SegpipeError(f"--format is {self.format.name}: label maps are not written in it")

    def recipe(self, bundle: OpenBundle) -> str:
        """Hash all that outputs depend on but the scan."""
        how = asdict(replace(self, batch_size=None, jobs=1, overwrite=False))
        del how["strict"]
        ranges = None if bundle.reference_ranges is None else bundle.reference_ranges.sha256
        return json_sha256(
            {
                "bundle": bundle.sha256,
                "reference_ranges": ranges,
                **how,
                "format": self.format and self.format.value,
            }
        )


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
        case: its name; with the suffix where the scan was refused before it was read.
        outcome: what this run did.
        scan: its path.
        label_map: where its label map lies; None where there is none.
        seconds: that it took.
        reason: why it failed, or what is to be known of it.
        volumes: of its classes.
        warnings: what of the scan or of its label map lies outside what the training cases were; None where it was not
            compared with them.
    """

    case: str
    outcome: Outcome
    scan: Path
    label_map: Path | None
    seconds: float = 0.0
    reason: str = ""
    volumes: Sequence[ClassVolume] = ()
    warnings: Sequence[str] | None = None


def failure_reason(scan: Scan, error: Exception) -> str:
    """Return what a user reads of an exception: segpipe's own message, or what else it was and of which scan."""
    known = segpipe_cause(error)
    return str(known) if known else f"{scan.path}: {type(error).__name__}: {error}"


def label_map_name(scan: Scan, options: PredictOptions) -> str:
    """Return where the label map of a scan goes, below the output folder."""
    return output_path(scan, "", options.format).as_posix()


@dataclass(frozen=True)
class Cohort:
    """The scans of some paths.

    Attributes:
        scans: sorted by name; all their outputs can be written.
        refused: scans that fail alone, with their reasons.
        passed_over: names of the files that are neither scans nor companions.
    """

    scans: tuple[Scan, ...]
    refused: tuple[RefusedScan, ...] = ()
    passed_over: tuple[str, ...] = ()

    @property
    def passed_over_note(self) -> str:
        """What to tell of the files passed over; empty where there is none."""
        if not self.passed_over:
            return ""
        return f"{passed_over_note(self.passed_over)}; give --strict to refuse them"


def cohort_scans(paths: Sequence[str | Path], folder: Path, options: PredictOptions) -> Cohort:
    """Find all scans, and tell those that can be segmented from those that are refused alone.

    Args:
        paths: as `predict` takes them.
        folder: of the outputs.
        options: whose format and strictness count.

    Raises:
        SegpipeError: there is no such path, or no scan at all; a label map would replace a scan; the output folder lies
            among the scans. Where `options.strict`, also: files that are neither scans nor companions.
    """
    if not paths:
        raise SegpipeError("no scans were named")
    scans: dict[str, Scan] = {}
    refused: dict[Path, RefusedScan] = {}
    passed_over: list[str] = []
    empty: dict[Path, str] = {}
    for path in map(Path, paths):
        inside = path.is_dir() and folder.resolve().is_relative_to(path.resolve())
        if inside:
            raise SegpipeError(
                f"{folder}: lies inside the folder of scans {path}, whose next run would take the label maps for "
                "scans; choose another --output"
            )
        found = look_for_scans(path, strict=options.strict).without_segmentations()
        for scan in found.scans:
            scans.setdefault(scan_place(scan), scan)
        refused |= {own.path: own for own in found.refused}
        passed_over += found.passed_over
        if not found.scans and not found.refused:
            empty[path] = f"{path}: no scan there{found.why_none}; segpipe reads {KNOWN_FORMATS}"
    if not scans and not refused:
        raise SegpipeError(next(iter(empty.values())))
    folders = {path: reason for path, reason in empty.items() if path.is_dir()}
    refused |= {path: RefusedScan(path, f"{path.name}/", reason) for path, reason in folders.items()}
    cohort = _with_places(list(scans.values()))
    others = (*cohort.refused, *refused.values())
    check_collisions(cohort.scans, folder, options.format, kept=[own.path for own in others])
    return replace(cohort, refused=others, passed_over=tuple(passed_over))


def require_places(scans: Sequence[Scan], folder: Path, options: PredictOptions) -> None:
    """Refuse scans whose outputs could not all be written.

    Raises:
        SegpipeError: two scans have one name, an output would replace a scan, or would lie where segpipe puts pictures.
    """
    refused = _with_places(scans).refused
    if refused:
        raise SegpipeError(refused[0].reason)
    check_collisions(scans, folder, options.format)


def _with_places(scans: Sequence[Scan]) -> Cohort:
    """Tell the scans whose outputs have places of their own from the others."""
    refused = {own.path: own for own in clashing_scans(scans)}
    for scan in scans:
        side = scan.name.split("/")[0]
        if side.casefold() in SIDE_FOLDERS:
            reason = f"its label map would lie in {side}, where segpipe puts pictures and the like; rename the folder"
            refused.setdefault(scan.path, refused_scan(scan, reason))
    free = (scan for scan in scans if scan.path not in refused)
    return Cohort(tuple(sorted(free, key=lambda scan: scan.name)), tuple(refused.values()))


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


def scan_header(scan: Scan, takes: ScanRule, options: PredictOptions) -> VolumeHeader:
    """Read the header of a scan.

    Raises:
        SegpipeError: it cannot be read, or the bundle does not take such a scan.
    """
    header = read_header(scan.path, options.series_uid if scan.path.is_dir() else None)
    takes.check(header)
    return header


def scan_sha256(scan: Scan) -> str:
    """Hash what a scan is read from: its file, header and voxel file, or the DICOM files of its folder.

    Raises:
        SegpipeError: it cannot be read.
    """
    with _reading(scan):
        return json_sha256([[path.name, file_sha256(path)] for path in _files(scan)])


def stamps(scan: Scan) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of each file of a scan: what differs once somebody writes to it.

    Raises:
        SegpipeError: it cannot be read, or is a pipe or device, whose reading would never end.
    """
    with _reading(scan):
        found = [(path, path.stat()) for path in _files(scan)]
    for path, status in found:
        if not stat.S_ISREG(status.st_mode):
            raise SegpipeError(
                f"{scan.path}: {path.name} is no regular file but a pipe or a device; give a regular file"
            )
    return [(path.name, status.st_size, status.st_mtime_ns) for path, status in found]


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
        return dicom_files(scan.path)
    beside = voxel_file(scan.path)
    return [scan.path] if beside is None else [scan.path, beside]

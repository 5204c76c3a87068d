"""Which scans a cohort has, how they are segmented, and what becomes of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

import torch

from segpipe.bundle.open import OpenBundle
from segpipe.errors import SegpipeError, segpipe_cause
from segpipe.files import file_sha256, json_sha256
from segpipe.inference import FlipInferer, choose_precision
from segpipe.inference.volumetry import ClassVolume
from segpipe.volumes import (
    Scan,
    VolumeFormat,
    check_collisions,
    find_scans,
    output_path,
    voxel_file,
)

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
        limits = None if bundle.limits is None else bundle.limits.sha256
        return json_sha256(
            {"bundle": bundle.sha256, "limits": limits, **how, "format": self.format and self.format.value}
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
        case: its name.
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
    require_places(scans, folder, options)
    return scans


def require_places(scans: Sequence[Scan], folder: Path, options: PredictOptions) -> None:
    """Refuse scans whose outputs could not all be written.

    Raises:
        SegpipeError: as `cohort_scans`.
    """
    for scan in scans:
        if scan.name.split("/")[0] in SIDE_FOLDERS:
            raise SegpipeError(
                f"{scan.path}: its label map would lie in {scan.name.split('/')[0]}, where segpipe puts pictures and "
                "the like; rename the folder"
            )
    check_collisions(scans, folder, options.format)
    _refuse_same_names(scans)


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

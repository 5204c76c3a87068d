"""The options of `predict`, the scans of a cohort, and the outcome of each scan."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.bundle.scan_rule import ScanRule
from segpipe.dataset.importing.channel_files import (
    ScanChannel,
    look_for_cases,
    may_list_cases,
    with_channels,
)
from segpipe.errors import SegpipeError, segpipe_cause
from segpipe.files import file_sha256, json_sha256
from segpipe.inference.class_volume import ClassVolume
from segpipe.inference.engines.names import INT8, OPENVINO, require_engine, require_engine_for
from segpipe.inference.engines.quantised import quantised_sha256
from segpipe.inference.option_values import require_accuracy, require_flips, require_precision
from segpipe.prediction.time_frames import ALL, choose_frames, require_frames
from segpipe.volumes import (
    FoundScans,
    RefusedScan,
    Scan,
    VolumeFormat,
    VolumeHeader,
    check_collisions,
    clashing_scans,
    ignored_files_note,
    output_path,
    read_channel_headers,
    refused_scan,
)
from segpipe.volumes.formats import KNOWN_FORMATS

if TYPE_CHECKING:
    from segpipe.bundle.open import OpenBundle

OVERLAYS, ENTROPY, PROBABILITIES, REGIONS = "overlays", "entropy", "probabilities", "regions"
DICOM_SEG, RTSTRUCT = "dicom_segmentations", "dicom_structure_sets"
SIDE_FOLDERS = (OVERLAYS, ENTROPY, PROBABILITIES, REGIONS, DICOM_SEG, RTSTRUCT)
_SIDE_SUFFIXES = {
    OVERLAYS: ".png",
    ENTROPY: ".nii.gz",
    PROBABILITIES: ".npy",
    **dict.fromkeys((DICOM_SEG, RTSTRUCT), ".dcm"),
}


@dataclass(frozen=True)
class PredictOptions:
    """Options of `predict`: how a cohort is segmented.

    Attributes:
        precision: auto, float32, bfloat16, float16 or int8; auto times the network at the start and takes the faster
            one. int8 is for weights that `segpipe quantize` has quantised.
        engine: what computes the network: torch, torch-compile, openvino, onnxruntime or tensorrt; auto times PyTorch
            against OpenVINO at the start, and takes the faster one.
        batch_size: windows per batch; None: the bundle's number.
        flips: axes along which inputs are mirrored, the scores being averaged; None: the bundle's axes.
        skip_empty: share of the intensity range; windows with no voxel above it are skipped. None: none is.
        format: file format of the label maps; None: the format of each scan.
        series_uid: DICOM series to read from folders that hold several.
        overlays: write a picture of each scan with its label map.
        entropy: write the entropy of the class probabilities, voxel by voxel.
        probabilities: write the probabilities of all classes or regions.
        regions: also write a mask of each region, for bundles with regions.
        overwrite: replace files that segpipe did not write, or that were changed since.
        jobs: number of scans that are read and preprocessed ahead.
        strict: refuse files that are neither scans nor companions of scans, before any scan is segmented.
        resample_channels: bring channels on other grids onto the first channel's grid, also where the bundle does not.
        frames: the time frames of 4D scans: "all", "ed" (end-diastole) or the number of one, from 1; None: the fourth
            axis of a file holds channels.
        dicom_seg: also write each label map as a DICOM Segmentation, for scans that are DICOM series.
        rtstruct: also write the contours of each class as a DICOM structure set, for scans that are DICOM series.
        segment_codes: table of coded terms for DICOM Segmentations, see `segpipe.segment_codes`; None: the bundle's.
        locate: use the bundle's locator, if it has one: the network gets the box that the locator finds.
        overlap: overlap of neighbouring windows along each axis, as a share of the window; None: the bundle's.
        accuracy: "fast", "standard" or "best" set `overlap` and `flips`; None: these two, or the bundle's.
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
    regions: bool = False
    overwrite: bool = False
    jobs: int = 1
    strict: bool = False
    resample_channels: bool = False
    frames: str | None = None
    dicom_seg: bool = False
    rtstruct: bool = False
    segment_codes: Path | None = None
    engine: str = "auto"
    locate: bool = True
    overlap: float | None = None
    accuracy: str | None = None

    @property
    def computing_engine(self) -> str:
        """The engine: OpenVINO for int8."""
        return OPENVINO if self.precision == INT8 else self.engine

    @property
    def side_folders(self) -> tuple[str, ...]:
        """Those of `SIDE_FOLDERS` that get files."""
        wanted = (
            *(self.overlays, self.entropy, self.probabilities, self.regions),
            *(self.dicom_seg, self.rtstruct),
        )
        return tuple(folder for folder, is_wanted in zip(SIDE_FOLDERS, wanted, strict=True) if is_wanted)

    def check(self) -> None:
        """Refuse values out of range.

        Raises:
            SegpipeError: with the option, its value and the allowed values.
        """
        require_precision(self.precision, quantised=True)
        require_flips(self.flips or ())
        require_accuracy(self.accuracy, self.overlap, self.flips)
        require_engine(self.engine)
        require_engine_for(self.precision, self.engine)
        for name, count in (("--batch-size (batch_size in Python)", self.batch_size), ("--jobs", self.jobs)):
            if count is not None and count < 1:
                raise SegpipeError(f"{name} is {count}, must be at least 1")
        if self.skip_empty is not None and not 0 <= self.skip_empty < 1:
            raise SegpipeError(
                f"--skip-empty (skip_empty in Python) is {self.skip_empty:g}, must be from 0 to below 1"
            )
        if self.format in (VolumeFormat.DICOM, VolumeFormat.JPEG):
            raise SegpipeError(f"--format is {self.format.name}: label maps are not written in it")
        if self.segment_codes is not None and not self.dicom_seg:
            raise SegpipeError(
                "--segment-codes is a table for DICOM Segmentations; add --dicom-seg, or leave it out"
            )
        table = self.segment_codes
        if table is not None and not (table.is_file() and os.access(table, os.R_OK)):
            raise SegpipeError(
                f"{table}: cannot be read; --segment-codes takes a table, see the path and permissions"
            )
        if self.frames is not None:
            require_frames(self.frames)
        if self.frames == ALL and (self.entropy or self.probabilities):
            raise SegpipeError(
                "--entropy and --probabilities are written for one time frame at a time; give --frames a number"
            )
        if self.frames == ALL and self.format is not None and not self.format.is_nifti:
            raise SegpipeError(
                f"--frames all: label maps of all frames are written as 4D NIfTI, and --format is {self.format.value}; "
                "leave it out, or give --frames a number"
            )

    def described(self) -> dict[str, Any]:
        """Return name -> value, in plain types, of the options that the outputs of a scan depend on."""
        how = asdict(replace(self, batch_size=None, jobs=1, overwrite=False))
        how["segment_codes"] = self.segment_codes and file_sha256(self.segment_codes)
        for name in ("regions", "dicom_seg", "rtstruct", "segment_codes"):
            if not how[name]:
                del how[name]  # an earlier segpipe had no such option: its label maps stay valid
        for name in ("overlap", "accuracy"):
            if how[name] is None:
                del how[name]  # as above
        if self.engine == "auto":
            del how["engine"]  # as above; the ledger has the chosen one
        if self.locate:
            del how["locate"]  # as above; `recipe` has the locator
        del how["strict"], how["frames"]  # a frame has its own case, a series its own file
        return {**how, "format": self.format and self.format.value}

    def recipe(self, bundle: OpenBundle) -> str:
        """Return a hash of everything but the scan that the outputs depend on."""
        ranges = None if bundle.reference_ranges is None else bundle.reference_ranges.sha256
        locator = {} if bundle.locator is None else {"locator": bundle.locator.sha256}
        expected = {} if bundle.confidence is None else {"confidence": bundle.confidence.sha256}
        network = {} if self.precision != INT8 else {INT8: quantised_sha256(bundle.weights)}
        return json_sha256(
            {"bundle": bundle.sha256, "reference_ranges": ranges, **locator, **network, **expected}
            | self.described()
        )


class Outcome(StrEnum):
    """What this run did with a scan."""

    DONE = "done"
    SKIPPED = "skipped"
    """An earlier run segmented it with the same scan, weights and options."""
    KEPT = "kept"
    """An earlier run segmented it, and its label map was corrected by hand since; the correction stays."""
    FAILED = "failed"


@dataclass(frozen=True)
class Prediction:
    """The outcome of one scan.

    Attributes:
        case: name of the scan; with its suffix if the scan was refused before it was read.
        outcome: what this run did with the scan.
        scan: path of the scan.
        label_map: path of its label map; None if there is none.
        seconds: wall time from reading to the last file.
        reason: why the scan failed, or a note for the user.
        volumes: one per foreground class.
        warnings: measures of the scan or its label map outside the reference ranges; None if they were not compared.
        resampled: the channels that were brought onto the first channel's grid, with the share that each covers.
    """

    case: str
    outcome: Outcome
    scan: Path
    label_map: Path | None
    seconds: float = 0.0
    reason: str = ""
    volumes: Sequence[ClassVolume] = ()
    warnings: Sequence[str] | None = None
    resampled: Sequence[str] = ()


def failure_reason(scan: Scan, error: Exception) -> str:
    """Return the message for a user: that of a SegpipeError; of any other error path, type and text."""
    known = segpipe_cause(error)
    return str(known) if known else f"{scan.path}: {type(error).__name__}: {error}"


def region_file(region: str, scan: Scan, options: PredictOptions) -> str:
    """Return the path of a region's mask below the output folder; in the region's name, `/` and the like become `_`."""
    name = re.sub(r"[^\w .()+-]", "_", region)
    return f"{REGIONS}/{name}/{label_map_name(scan, options)}"


def label_map_name(scan: Scan, options: PredictOptions) -> str:
    """Return the path of a scan's label map below the output folder."""
    return output_path(scan, "", options.format).as_posix()


@dataclass(frozen=True)
class Cohort:
    """The scans below some paths.

    Attributes:
        scans: sorted by name; the outputs of all can be written.
        refused: scans that are refused one by one, with their reasons.
        ignored_files: names of the files that are neither scans nor companions.
        notes: for each end-diastolic frame the file that states its number.
    """

    scans: tuple[Scan, ...]
    refused: tuple[RefusedScan, ...] = ()
    ignored_files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ignored_files_note(self) -> str:
        """A sentence about the files that are ignored; empty if there is none."""
        if not self.ignored_files:
            return ""
        return f"{ignored_files_note(self.ignored_files)}; give --strict to refuse them"


def cohort_scans(
    paths: Sequence[str | Path],
    folder: Path,
    options: PredictOptions,
    channels: Sequence[ScanChannel] = (),
) -> Cohort:
    """Find all scans, and separate those that can be segmented from those that are refused.

    Args:
        paths: as `predict` takes them.
        folder: output folder.
        options: `format`, `strict` and `frames` are used.
        channels: of the bundle; files of one case are one scan.

    Raises:
        SegpipeError: a path does not exist, or there is no scan at all; a label map would replace a scan; the output
            folder lies among the scans; with `options.strict`, a file is neither a scan nor a companion of one.
    """
    if not paths:
        raise SegpipeError("no scans were named")
    scans: dict[tuple[str, int | None], Scan] = {}
    refused: dict[Path, RefusedScan] = {}
    ignored_files: list[str] = []
    empty: dict[Path, str] = {}
    has_files = any(channel.files for channel in channels)
    files: dict[
        tuple[str, int | None], Scan
    ] = {}  # the user names each; a case's files are joined once all are known
    for path in map(Path, paths):
        inside = path.is_dir() and folder.resolve().is_relative_to(path.resolve())
        if inside:
            raise SegpipeError(
                f"{folder}: lies inside the folder of scans {path}, whose next run would take the label maps for "
                "scans; choose another --output"
            )
        is_one_file = has_files and path.is_file() and not may_list_cases(path)
        matches = look_for_cases(path, () if is_one_file else channels, strict=options.strict)
        for scan in matches.scans:
            (files if is_one_file else scans).setdefault(_key(scan), scan)
        refused |= {scan.path: scan for scan in matches.refused}
        ignored_files += matches.ignored_files
        if not matches.scans and not matches.refused:
            empty[path] = f"{path}: no scan there{matches.why_none}; segpipe reads {KNOWN_FORMATS}"
    joined = with_channels(FoundScans(tuple(files.values())), channels)
    scans = {_key(scan): scan for scan in joined.scans} | scans  # a folder's name for a scan is the longer
    refused |= {scan.path: scan for scan in joined.refused}
    if not scans and not refused:
        raise SegpipeError(next(iter(empty.values())))
    folders = {path: reason for path, reason in empty.items() if path.is_dir()}
    refused |= {path: RefusedScan(path, f"{path.name}/", reason) for path, reason in folders.items()}
    listed = list(scans.values())
    notes: tuple[str, ...] = ()
    if options.frames is not None:
        chosen = choose_frames(listed, options.frames)
        listed, notes = list(chosen.scans), chosen.notes
        refused |= {scan.path: scan for scan in chosen.refused}
    cohort = _with_places(listed)
    others = (*cohort.refused, *refused.values())
    check_collisions(cohort.scans, folder, options.format, kept=[scan.path for scan in others])
    return replace(cohort, refused=others, ignored_files=tuple(ignored_files), notes=notes)


def require_places(scans: Sequence[Scan], folder: Path, options: PredictOptions) -> None:
    """Refuse scans if some output could not be written.

    Raises:
        SegpipeError: two scans have one name; or an output would replace a scan, or lie where segpipe puts overlays.
    """
    refused = _with_places(scans).refused
    if refused:
        raise SegpipeError(refused[0].reason)
    check_collisions(scans, folder, options.format)


def _with_places(scans: Sequence[Scan]) -> Cohort:
    """Separate the scans whose outputs have distinct places from the scans whose outputs collide."""
    refused = {scan.path: scan for scan in clashing_scans(scans)}
    for scan in scans:
        side = scan.name.split("/")[0]
        if side.casefold() in SIDE_FOLDERS:
            reason = (
                f"its label map would lie in {side}, a folder of segpipe's other outputs; rename the folder"
            )
            refused.setdefault(scan.path, refused_scan(scan, reason))
    free = (scan for scan in scans if scan.path not in refused)
    return Cohort(tuple(sorted(free, key=lambda scan: scan.name)), tuple(refused.values()))


def side_file(folder: str, scan: Scan) -> str:
    """Return the path of a scan's file in one of `SIDE_FOLDERS`, below the output folder."""
    return f"{folder}/{scan.name}{_SIDE_SUFFIXES[folder]}"


def scan_place(scan: Scan) -> str:
    """Return the absolute path that identifies a scan; a link is not followed, so that two links are two scans."""
    return str(scan.path.parent.resolve() / scan.path.name)


def _key(scan: Scan) -> tuple[str, int | None]:
    """Return what identifies a scan among the scans of a cohort: its place and its time frame."""
    return scan_place(scan), scan.frame


def scan_header(scan: Scan, takes: ScanRule, options: PredictOptions) -> VolumeHeader:
    """Read the header of a scan, and check that the bundle takes such a scan.

    Raises:
        SegpipeError: the header cannot be read, or the bundle takes scans of another kind.
    """
    frame = 1 if scan.is_series else scan.frame
    header = read_channel_headers(scan.files, options.series_uid, frame=frame, resample=takes.resamples)
    takes.check(header, len(scan.files))
    return header


def resampled_channels(header: VolumeHeader, takes: ScanRule) -> tuple[str, ...]:
    """Return the channels that are brought onto the first channel's grid, each with the share that it covers.

    Args:
        header: of a scan, with all its files.
        takes: the kind of scans that the bundle takes, with the names of the channels.
    """
    names = [channel.name for channel in takes.channels]
    is_named = len(names) == takes.num_channels
    return tuple(one.note(names[one.position] if is_named else "") for one in header.resampled)

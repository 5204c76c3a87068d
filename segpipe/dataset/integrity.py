"""Every finding about a data set, before the first batch: each file read once, each fault with its remedy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from segpipe.dataset.label_shapes import odd_shapes
from segpipe.dataset.leaks import shared_findings
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.outliers import set_findings
from segpipe.dataset.progress import with_progress
from segpipe.dataset.reports import (
    PERCENTILES,
    CaseFacts,
    CaseReport,
    ChannelFacts,
    Finding,
    content_sha256,
)
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, is_folder
from segpipe.labels import LabelTable, check_same_labels
from segpipe.volumes import CHANNEL_RULE, Volume, check_intensities, check_same_grid, read_volume, voxel_file

_FINDINGS_SHOWN = 10
_MOST_THREADS = 4  # each holds a whole case in memory


def examine_cases(
    cases: Sequence[Case],
    dataset_dir: Path,
    manifest: Manifest,
    table: LabelTable,
    spatial_dims: int | None = None,
    *,
    checksums: bool = True,
    shapes: bool = False,
    progress: bool = True,
) -> list[CaseReport]:
    """Read every file of every case once and report what is wrong with it.

    Args:
        cases: those to examine, usually the manifest's training cases.
        dataset_dir: the folder in which the manifest's paths begin.
        manifest: says how many channels there are and which values its files store.
        table: the classes of the bundle that is to train.
        spatial_dims: 2 or 3; None for what most of the cases are.
        checksums: also compare files with the manifest's SHA-256, where it has them.
        shapes: also look for slips of the hand in label maps, see `segpipe.dataset.label_shapes`.
        progress: show a bar on stderr, where that is a terminal.

    Returns:
        One report a case, in the order of `cases`.

    Raises:
        SegpipeError: there is no such folder, or the manifest's labels are not the table's.
    """
    if manifest.target == "mask":
        check_same_labels(table, manifest.labels)
    if not is_folder(dataset_dir):
        raise SegpipeError(
            f"{manifest.name}: dataset_dir {dataset_dir} is no folder; give the one in which the manifest's paths "
            f"({cases[0].images[0] if cases else 'of its files'}) begin"
        )
    examine = partial(
        _examine, dataset_dir=dataset_dir, manifest=manifest, table=table, checksums=checksums, shapes=shapes
    )
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        reports = list(
            with_progress(pool.map(examine, cases), "Checking cases", total=len(cases), show=progress)
        )
    return _with_odd_dimensions(reports, spatial_dims, {case.case: case.images[0] for case in cases})


def check_cases(
    cases: Sequence[Case],
    dataset_dir: Path,
    manifest: Manifest,
    table: LabelTable,
    spatial_dims: int | None = None,
    *,
    checksums: bool = True,
    progress: bool = True,
) -> list[Finding]:
    """Return all findings: those of `examine_cases`, which describes the arguments, and of the cases side by side.

    To these belong the leaks of the manifest's folds, its splits and its list of test cases.
    """
    reports = examine_cases(
        cases, dataset_dir, manifest, table, spatial_dims, checksums=checksums, shapes=True, progress=progress
    )
    contents = {report.case: report.facts.content_sha256 for report in reports if report.facts is not None}
    return [
        *(finding for report in reports for finding in report.findings),
        *shared_findings(manifest, contents),
        *set_findings(cases, reports),
    ]


def require_valid(
    cases: Sequence[Case],
    dataset_dir: Path,
    manifest: Manifest,
    table: LabelTable,
    spatial_dims: int | None = None,
    *,
    checksums: bool = True,
    progress: bool = True,
) -> list[CaseReport]:
    """Examine the cases and refuse them if one has an error; see `examine_cases` for the arguments.

    Returns:
        The reports, with warnings only.

    Raises:
        SegpipeError: at least one error; the message holds the first ten and says how many there are.
    """
    reports = examine_cases(
        cases, dataset_dir, manifest, table, spatial_dims, checksums=checksums, progress=progress
    )
    errors = [finding for report in reports for finding in report.findings if finding.severity == "error"]
    if errors:
        shown = "".join(f"\n  {finding}" for finding in errors[:_FINDINGS_SHOWN])
        more = f"\n  and {len(errors) - _FINDINGS_SHOWN} more" if len(errors) > _FINDINGS_SHOWN else ""
        bad = len({finding.case for finding in errors})
        raise SegpipeError(
            f"{manifest.name}: {len(errors)} error(s) in {bad} of {len(cases)} cases below {dataset_dir}:"
            f"{shown}{more}"
        )
    return reports


def with_checksums(manifest: Manifest, dataset_dir: Path) -> Manifest:
    """Return the manifest with the SHA-256 of every file of its cases, and of the voxel file of every .mhd header.

    A DICOM series is a folder and has none.

    Raises:
        SegpipeError: a file is missing, or a file cannot be read.
    """

    def summed(case: Case) -> Case:
        checksums = {}
        for path in case.files:
            if (dataset_dir / path).is_dir():
                continue
            if not (dataset_dir / path).is_file():
                raise SegpipeError(f"{case.case}: {path} is no file below {dataset_dir}; nothing to sum up")
            checksums[path] = file_sha256(dataset_dir / path)
            voxels = voxel_file(dataset_dir / path)
            if voxels is not None:
                name = _name_below(voxels, dataset_dir, case)
                checksums[name] = file_sha256(voxels)
        return replace(case, sha256=checksums)

    return replace(
        manifest,
        training=tuple(summed(case) for case in manifest.training),
        test=tuple(summed(case) for case in manifest.test),
    )


def _name_below(voxels: Path, dataset_dir: Path, case: Case) -> str:
    """Return a voxel file's path below the data set's folder."""
    below = voxels.is_relative_to(dataset_dir) and ".." not in voxels.relative_to(dataset_dir).parts
    if not below or not voxels.is_file():
        raise SegpipeError(
            f"{case.case}: the voxel file {voxels} is missing or not below {dataset_dir}; nothing to sum up"
        )
    return voxels.relative_to(dataset_dir).as_posix()


def training_records(cases: Sequence[Case], dataset_dir: str | Path) -> list[dict[str, Any]]:
    """Return the cases as MONAI's datasets take them.

    Args:
        cases: as `training_split` gives them.
        dataset_dir: the folder in which the manifest's paths begin.

    Returns:
        One dict a case: `case` (its id), `image` (absolute path, or a list of one a channel) and, where there
            is one, `label` (absolute path).
    """
    folder = Path(dataset_dir).absolute()
    records: list[dict[str, Any]] = []
    for case in cases:
        images = [str(folder / path) for path in case.images]
        record: dict[str, Any] = {"case": case.case, "image": images[0] if len(images) == 1 else images}
        if case.label is not None:
            record["label"] = str(folder / case.label)
        records.append(record)
    return records


def pictures_of_tests(manifest: Manifest, dataset_dir: Path) -> dict[str, str]:
    """Return what each case listed under test shows, see `content_sha256`, as far as its files are there and whole.

    Nothing is asked of them but that none of them trains: they may be elsewhere.
    """
    found = {}
    for case in manifest.test:
        try:
            found[case.case] = content_sha256([_read(dataset_dir, path) for path in case.images])
        except _RejectedError:
            continue
    return found


class _RejectedError(Exception):
    """Carries the finding after which a case cannot be examined further."""

    def __init__(self, file: str, message: str) -> None:
        super().__init__(message)
        self.file = file
        self.message = message


@contextmanager
def _rejecting(path: str) -> Iterator[None]:
    """Turn a refusal into the finding of a file."""
    try:
        yield
    except SegpipeError as error:
        raise _RejectedError(path, str(error)) from error
    except OSError as error:  # of a folder that may not be looked into
        raise _RejectedError(
            path, f"cannot be read ({error.strerror}); check path and permissions"
        ) from error


def _examine(
    case: Case, *, dataset_dir: Path, manifest: Manifest, table: LabelTable, checksums: bool, shapes: bool
) -> CaseReport:
    findings: list[Finding] = []
    facts = None
    try:
        if checksums:
            findings.extend(_checksum_findings(case, dataset_dir))
        images = [_read(dataset_dir, path) for path in case.images]
        channels = _channels(case, images, manifest)
        class_voxels: Mapping[str, int] = {}
        offsets: Mapping[str, tuple[float, ...]] = {}
        if case.label is not None:
            indices = _label_indices(case.label, dataset_dir, images[0], manifest, table)
            counts = np.bincount(indices.ravel(), minlength=table.num_classes)
            class_voxels = {name: int(count) for name, count in zip(table.names, counts, strict=True)}
            channels = _with_foreground(channels, images, indices > 0)
            _refuse_label_maps(case, images, indices, manifest)
            offsets = {
                name: _offset(indices == index)
                for index, name in enumerate(table.names)
                if index and class_voxels[name]
            }
            if shapes:
                odd = odd_shapes(indices, table.names, images[0].grid.spacing_mm)
                findings += [Finding("warning", case.case, case.label, message) for message in odd]
            if not any(class_voxels[name] for name in table.foreground_names):
                message = "the label map holds background only; check that it belongs to this image"
                findings.append(Finding("warning", case.case, case.label, message))
        findings += [
            Finding("warning", case.case, case.images[-1], message) for message in _alike(images, manifest)
        ]
        grid = images[0].grid
        facts = CaseFacts(
            grid.size,
            grid.spacing_mm,
            channels,
            class_voxels,
            content_sha256(images),
            "".join(nibabel.aff2axcodes(grid.affine))[: grid.spatial_dims],
            offsets,
        )
    except _RejectedError as rejected:
        findings.append(Finding("error", case.case, rejected.file, rejected.message))
    return CaseReport(case.case, tuple(findings), facts)


def _checksum_findings(case: Case, dataset_dir: Path) -> list[Finding]:
    findings = []
    for path, expected in case.sha256.items():
        file = dataset_dir / path
        with _rejecting(path):
            found = file_sha256(file) if file.is_file() else expected
        if found != expected:
            message = (
                f"SHA-256 is {found[:12]}..., the manifest says {expected[:12]}...; fetch the file again, or "
                "check without checksums if this copy is meant"
            )
            findings.append(Finding("error", case.case, path, message))
    return findings


def _read(dataset_dir: Path, path: str) -> Volume:
    with _rejecting(path):
        if not (dataset_dir / path).exists():
            raise SegpipeError(f"missing below {dataset_dir}; fetch it, or remove the case from the manifest")
        return read_volume(dataset_dir / path)


def _channels(case: Case, images: list[Volume], manifest: Manifest) -> tuple[ChannelFacts, ...]:
    for path, image in zip(case.images[1:], images[1:], strict=True):
        _require_same_grid(images[0], path, image, CHANNEL_RULE)
    found = sum(image.num_channels for image in images)
    if found != manifest.num_channels:
        raise _RejectedError(
            case.images[0],
            f"the image has {found} channel(s) (size {images[0].grid.size}), modality names "
            f"{manifest.num_channels} ({', '.join(manifest.modality)}); split the file, or correct modality "
            "in the manifest",
        )
    facts: list[ChannelFacts] = []
    for path, image in zip(case.images, images, strict=True):
        with _rejecting(path):
            check_intensities(image)
        for channel in image.channels:
            percentiles = tuple(float(value) for value in np.percentile(channel, PERCENTILES))
            facts.append(
                ChannelFacts(
                    manifest.modality[len(facts)], percentiles, float(channel.mean()), float(channel.std())
                )
            )
    return tuple(facts)


def _refuse_label_maps(
    case: Case, images: Sequence[Volume], indices: NDArray[np.integer[Any]], manifest: Manifest
) -> None:
    """Refuse an image that is the label map, or was made from it: a network would be shown its answer."""
    files = [path for path, image in zip(case.images, images, strict=True) for _ in image.channels]
    channels = [channel for image in images for channel in image.channels]
    for path, name, channel in zip(files, manifest.modality, channels, strict=True):
        if all(np.ptp(channel[indices == index]) == 0 for index in np.unique(indices)):
            raise _RejectedError(
                path,
                f"{name} has one value in each class of the label map {case.label}: it is a label map, or was made "
                "from one, and would show the network its answer; leave it out of the channels",
            )


def _alike(images: Sequence[Volume], manifest: Manifest) -> list[str]:
    """Tell which channels of a case are the same."""
    channels = [channel for image in images for channel in image.channels]
    return [
        f"{manifest.modality[first]} and {manifest.modality[other]} are the same image; check which file is which"
        for first, other in combinations(range(len(channels)), 2)
        if np.array_equal(channels[first], channels[other])
    ]


def _with_foreground(
    facts: Sequence[ChannelFacts], images: Sequence[Volume], foreground: NDArray[np.bool_]
) -> tuple[ChannelFacts, ...]:
    if not foreground.any():
        return tuple(facts)
    channels = (channel for image in images for channel in image.channels)
    return tuple(
        replace(own, foreground=tuple(np.percentile(channel[foreground], PERCENTILES).tolist()))
        for own, channel in zip(facts, channels, strict=True)
    )


def _offset(mask: NDArray[np.bool_]) -> tuple[float, ...]:
    """Return how far the middle of a mask is from the middle of the image along each axis, as a share of it."""
    found = []
    for axis, length in enumerate(mask.shape):
        counts = mask.sum(axis=tuple(other for other in range(mask.ndim) if other != axis))
        middle = float(counts @ np.arange(length)) / float(counts.sum())
        found.append((middle + 0.5) / length - 0.5)
    return tuple(found)


def _label_indices(
    path: str, dataset_dir: Path, image: Volume, manifest: Manifest, table: LabelTable
) -> NDArray[np.integer[Any]]:
    label = _read(dataset_dir, path)
    if label.num_channels != 1:
        raise _RejectedError(
            path,
            f"the label map has {label.num_channels} channels, needs 1 with a class value a voxel; merge them",
        )
    _require_same_grid(image, path, label, "image and label grids differ")
    with _rejecting(path):
        return table.to_indices(label.array, manifest.labels)


def _require_same_grid(volume: Volume, other_path: str, other: Volume, rule: str) -> None:
    try:
        check_same_grid(volume, other, rule)
    except SegpipeError as error:
        raise _RejectedError(other_path, f"{error} or correct the manifest row") from error


def _with_odd_dimensions(
    reports: list[CaseReport], spatial_dims: int | None, first_image: dict[str, str]
) -> list[CaseReport]:
    """Add an error to each case that is 2D where 3D is wanted, or 3D where 2D is."""
    found = Counter(len(report.facts.size) for report in reports if report.facts)
    wanted = spatial_dims or (found.most_common(1)[0][0] if found else 0)
    checked = []
    for report in reports:
        if report.facts and len(report.facts.size) != wanted:
            message = (
                f"the image is {len(report.facts.size)}D, size {report.facts.size}; {wanted}D is wanted; "
                "convert it, or remove the case"
            )
            finding = Finding("error", report.case, first_image[report.case], message)
            report = replace(report, findings=(*report.findings, finding))
        checked.append(report)
    return checked

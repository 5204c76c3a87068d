"""Read all files of one case: findings on the files, and facts about the image and the label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from segpipe.dataset.file_findings import RejectedError, checksum_findings, rejecting
from segpipe.dataset.label_shapes import odd_shapes
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.reports import (
    PERCENTILES,
    CaseFacts,
    CaseReport,
    ChannelFacts,
    Finding,
    content_sha256,
)
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.volumes import (
    CHANNEL_REMEDY,
    CHANNEL_RULE,
    Volume,
    check_intensities,
    check_same_grid,
    label_frame,
    read_channel_headers,
    read_volume,
    resampled_volumes,
    volume_format,
)


def examine_case(
    case: Case, *, dataset_dir: Path, manifest: Manifest, table: LabelTable, checksums: bool, shapes: bool
) -> CaseReport:
    """Read every file of a case once and report its findings and facts; see `segpipe.dataset.examine_cases`."""
    findings: list[Finding] = []
    facts = None
    try:
        if checksums:
            findings.extend(checksum_findings(case, dataset_dir))
        images = _images(case, dataset_dir)
        content = content_sha256(images)
        if manifest.resample_channels:
            images = _on_one_grid(case, images)
        has_spacing = not any(volume_format(dataset_dir / path).is_2d_format for path in case.images)
        channels = _channels(case, images, manifest)
        class_voxels: Mapping[str, int] = {}
        offsets: Mapping[str, tuple[float, ...]] = {}
        if case.label is not None:
            indices = _label_indices(case, dataset_dir, images[0], manifest, table)
            counts = np.bincount(indices.ravel(), minlength=table.num_classes + 1)[: table.num_classes]
            indices = np.where(indices == table.ignored_index, 0, indices)
            class_voxels = {name: int(count) for name, count in zip(table.names, counts, strict=True)}
            if not counts.any():
                message = (
                    "nobody looked at any voxel of the label map (all have the value to ignore): nothing can be "
                    "learned or scored; label a part of it, or remove the case"
                )
                findings.append(Finding("error", case.case, case.label, message))
            channels = _with_foreground(channels, images, indices > 0)
            _refuse_label_maps(case, images, indices, manifest)
            offsets = {
                name: _offset(indices == index)
                for index, name in enumerate(table.names)
                if index and class_voxels[name]
            }
            if shapes:
                unit = "mm" if has_spacing else "pixels"
                odd = odd_shapes(indices, table.names, images[0].grid.spacing_mm, unit)
                findings += [Finding("warning", case.case, case.label, message) for message in odd]
            if counts.any() and not any(class_voxels[name] for name in table.foreground_names):
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
            content,
            "".join(nibabel.aff2axcodes(grid.affine))[: grid.spatial_dims],
            offsets,
            has_spacing,
        )
    except RejectedError as rejected:
        findings.append(Finding("error", case.case, rejected.file, rejected.message))
    return CaseReport(case.case, tuple(findings), facts)


def shown_by(case: Case, dataset_dir: Path) -> str | None:
    """Return the hash of a case's image content, see `content_sha256`; None where a file is missing or damaged."""
    try:
        return content_sha256(_images(case, dataset_dir))
    except RejectedError:
        return None


def _images(case: Case, dataset_dir: Path) -> list[Volume]:
    """Read the files of a case's image as they are stored, each on its own grid."""
    images = [_read(dataset_dir, path, case.frame) for path in case.images]
    if case.frame is not None and len(case.images) > 1:
        with rejecting(case.images[0]):
            read_channel_headers(
                [dataset_dir / path for path in case.images], frame=case.frame, resample=True
            )
    return images


def _read(dataset_dir: Path, path: str, frame: int | None = None) -> Volume:
    with rejecting(path):
        if not (dataset_dir / path).exists():
            raise SegpipeError(f"missing below {dataset_dir}; fetch it, or remove the case from the manifest")
        return read_volume(dataset_dir / path, frame=frame)


def _on_one_grid(case: Case, images: Sequence[Volume]) -> list[Volume]:
    with rejecting(case.images[0]):
        return resampled_volumes(images)


def _channels(case: Case, images: list[Volume], manifest: Manifest) -> tuple[ChannelFacts, ...]:
    for path, image in zip(case.images[1:], images[1:], strict=True):
        _require_same_grid(images[0], path, image, CHANNEL_RULE, CHANNEL_REMEDY)
    num_channels = sum(image.num_channels for image in images)
    if num_channels != manifest.num_channels:
        raise RejectedError(
            case.images[0],
            f"the image has {num_channels} channel(s) (size {images[0].grid.size}), modality names "
            f"{manifest.num_channels} ({', '.join(manifest.modality)}); split the file, or correct modality "
            f"in the manifest{_frames_remedy(images, manifest)}",
        )
    facts: list[ChannelFacts] = []
    for path, image in zip(case.images, images, strict=True):
        with rejecting(path):
            check_intensities(image)
        for channel in image.channels:
            percentiles = tuple(float(value) for value in np.percentile(channel, PERCENTILES))
            facts.append(
                ChannelFacts(
                    manifest.modality[len(facts)], percentiles, float(channel.mean()), float(channel.std())
                )
            )
    return tuple(facts)


def _frames_remedy(images: Sequence[Volume], manifest: Manifest) -> str:
    """Return the remedy for a file whose fourth axis may be time; empty for other files."""
    if len(images) != manifest.num_channels or not all(image.format.is_nifti for image in images):
        return ""
    return "; if the fourth axis is time, create the manifest with --frames"


def _refuse_label_maps(
    case: Case, images: Sequence[Volume], indices: NDArray[np.integer[Any]], manifest: Manifest
) -> None:
    """Refuse an image that is the label map or was made from it, since it would show the network the answer."""
    files = [path for path, image in zip(case.images, images, strict=True) for _ in image.channels]
    channels = [channel for image in images for channel in image.channels]
    for path, name, channel in zip(files, manifest.modality, channels, strict=True):
        if all(np.ptp(channel[indices == index]) == 0 for index in np.unique(indices)):
            raise RejectedError(
                path,
                f"{name} has one value in each class of the label map {case.label}: it is a label map, or was made "
                "from one, and would show the network its answer; leave it out of the channels",
            )


def _alike(images: Sequence[Volume], manifest: Manifest) -> list[str]:
    """Return a message for each pair of equal channels of a case."""
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
        replace(channel_facts, foreground=tuple(np.percentile(channel[foreground], PERCENTILES).tolist()))
        for channel_facts, channel in zip(facts, channels, strict=True)
    )


def _offset(mask: NDArray[np.bool_]) -> tuple[float, ...]:
    """Return the distance of a mask's middle from the image's middle along each axis, as a share of the image."""
    offsets = []
    for axis, length in enumerate(mask.shape):
        counts = mask.sum(axis=tuple(other for other in range(mask.ndim) if other != axis))
        middle = float(counts @ np.arange(length)) / float(counts.sum())
        offsets.append((middle + 0.5) / length - 0.5)
    return tuple(offsets)


def _label_indices(
    case: Case, dataset_dir: Path, image: Volume, manifest: Manifest, table: LabelTable
) -> NDArray[np.integer[Any]]:
    path = str(case.label)
    with rejecting(path):
        frame = label_frame(dataset_dir / path, case.frame, [dataset_dir / name for name in case.images])
    label = _read(dataset_dir, path, frame)
    if label.num_channels != 1:
        raise RejectedError(
            path,
            f"the label map has {label.num_channels} channels, needs 1 with a class value a voxel; merge them",
        )
    _require_same_grid(image, path, label, "image and label grids differ")
    with rejecting(path):
        return table.to_indices(label.array, manifest.labels)


def _require_same_grid(volume: Volume, other_path: str, other: Volume, rule: str, remedy: str = "") -> None:
    try:
        check_same_grid(volume, other, rule, remedy)
    except SegpipeError as error:
        raise RejectedError(other_path, f"{error} or correct the manifest row") from error

"""Which cases a bundle trains on, validates with or segments, checked before the first of them is used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import segpipe
from segpipe.dataset import (
    CaseReport,
    Side,
    content_hashes_of_tests,
    dataset_fingerprint,
    describe_split,
    load_manifest,
    refuse_leaks,
    require_valid,
    side_of_test_list,
    training_records,
    training_split,
    with_groups,
)
from segpipe.dataset.loading import CaseLoader
from segpipe.errors import SegpipeError
from segpipe.files import require_writable
from segpipe.labels import LabelTable
from segpipe.losses import ClassCounts
from segpipe.monai_run import refusal_ends_run
from segpipe.printable import printable
from segpipe.volumes import (
    Scan,
    Volume,
    VolumeHeader,
    check_collisions,
    existing_outputs,
    left_out_beside,
    left_out_note,
    look_for_scans,
    output_path,
    passed_over_note,
    read_header,
)
from segpipe.volumes.formats import KNOWN_FORMATS

_logger = logging.getLogger(__name__)

_NAMES_SHOWN = 5


class TrainingCases:
    """The two sides of one fold, every file of them read and checked once.

    Args:
        manifest: name of a shipped manifest, or a path.
        dataset_dir: where the manifest's files lie.
        fold: the fold that validates, or the name of one of the manifest's splits; "all" trains on every
            case and validates on none. (Not None: MONAI's run leaves out an override that is None, in silence.)
        labels: the bundle's label table.
        spatial_dims: of the scans, 2 or 3.
        checksums: compare every file with the manifest's SHA-256; False takes a copy that was compressed again.
        size: voxels along each axis that every image must have; None where they may differ. For images without a
            spacing, whose size is all that tells their scale.
        groups: class of the label table -> the manifest's classes that it unites, such as infected or not; None where
            the classes are the same.
        part: what is held out of a named split, validation or test.

    Raises:
        SegpipeError: with one message: no such manifest, another label table, a leak between the sides (a patient,
            a file, or the same picture in two files), an image of another size, or the findings of
            `segpipe.dataset.integrity` on the files.

    Attributes:
        about: of a named split, whose it is and how many of its cases are here; else empty.
        train: records for MONAI's datasets, one a training case.
        validation: the same of the held-out fold, or part of a split.
        file_values: value that this dataset's label files store -> class name, after `groups`.
        class_counts: of the training cases' label maps; None where they have none.
        manifest: that lists the cases, after `groups`.
        dataset_dir: where its files lie.
        held_out_cases: the cases of `validation`, as the manifest has them.
        held_out: validation case -> SHA-256 of what its image shows, see `segpipe.dataset.reports.content_sha256`.
        provenance: what is kept beside weights trained on them.
    """

    @refusal_ends_run()
    def __init__(
        self,
        manifest: str | Path,
        dataset_dir: str | Path,
        fold: int | str,
        labels: LabelTable,
        spatial_dims: int = 3,
        checksums: bool = True,
        size: Sequence[int] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        part: str = "validation",
    ) -> None:
        described = with_groups(load_manifest(manifest), groups or {})
        folder = Path(dataset_dir)
        held_out = held_out_fold(fold)
        train, validation = training_split(described, held_out, part)
        self.manifest, self.dataset_dir, self.held_out_cases = described, folder, tuple(validation)
        self.about = describe_split(described, held_out) if isinstance(held_out, str) else ""
        reports = require_valid(
            [*train, *validation], folder, described, labels, spatial_dims, checksums=checksums
        )
        if size is not None:
            _require_size(reports, _size(size, spatial_dims))
        self.train = training_records(train, folder)
        self.validation = training_records(validation, folder)
        self.file_values = described.labels
        self.class_counts = _class_counts(reports[: len(train)], labels)
        trained_on, self.held_out = _contents(reports[: len(train)]), _contents(reports[len(train) :])
        _refuse_same_content(described.name, trained_on, self.held_out)
        listed = [Side("training", "train", train), side_of_test_list(described)]
        refuse_leaks(described.name, listed, {**trained_on, **content_hashes_of_tests(described, folder)})
        self.provenance: dict[str, Any] = {
            "segpipe": segpipe.__version__,
            "manifest": {"name": described.name, "sha256": described.sha256},
            "fold": fold,
            "part": part,
            "validation_cases": self.held_out,
            "cases": trained_on,
            "fingerprint": dataset_fingerprint(reports[: len(train)]),
        }


def held_out_fold(fold: int | str) -> int | str | None:
    """Return the fold or split of which a part is held out; None where every case trains.

    Raises:
        SegpipeError: neither a number nor a name.
    """
    if not isinstance(fold, int | str) or isinstance(fold, bool):
        raise SegpipeError(
            f"fold is {fold!r}; give the number of the fold that validates, the name of a split, or all to train on "
            "every case"
        )
    return None if fold == "all" else fold


def _size(size: Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    whole = isinstance(size, list | tuple) and all(isinstance(n, int) and n > 0 for n in size)
    if not whole or len(size) != spatial_dims:
        raise SegpipeError(
            f"slice_size is {size!r}; must be {spatial_dims} whole numbers, such as [512, 512]"
        )
    return tuple(size)


def _require_size(reports: Sequence[CaseReport], size: tuple[int, ...]) -> None:
    others = [r for r in reports if r.facts is not None and r.facts.size != size]
    if others and others[0].facts is not None:
        raise SegpipeError(
            f"{others[0].case}: is {others[0].facts.size} voxels where {size} is wanted (x, y); of {len(reports)} "
            f"cases {len(others)} are of another size: without a spacing, size is scale; resample them, or train with "
            "the slice_size that all have"
        )


def _contents(reports: Sequence[CaseReport]) -> dict[str, str]:
    """Return case -> SHA-256 of what its image shows."""
    return {report.case: report.facts.content_sha256 for report in reports if report.facts is not None}


def _class_counts(reports: Sequence[CaseReport], labels: LabelTable) -> ClassCounts | None:
    """Sum up what the check of the cases has counted; the files are not read again."""
    maps = [report.facts.class_voxels for report in reports if report.facts is not None]
    if not all(maps):
        return None
    return ClassCounts.of_maps([[voxels[name] for name in labels.names] for voxels in maps], labels.names)


@refusal_ends_run()
def class_weights(
    cases: TrainingCases, weighting: Callable[[ClassCounts], torch.Tensor], power: float = 1.0
) -> torch.Tensor:
    """Weigh the classes by how often they occur in the training cases, and note it in what is kept beside weights.

    Args:
        cases: of the run; their `provenance` gets `class_weights`: counts and weights by class name.
        weighting: such as `segpipe.losses.median_frequency_weights`.
        power: of the weights; 0.5 takes their square roots, 0 makes all classes alike.

    Returns:
        float32 tensor of shape (C,), by class index.

    Raises:
        SegpipeError: a class has no voxel in the training cases, or these have no label maps.
    """
    counts = cases.class_counts
    if counts is None:
        raise SegpipeError("class weights: the training cases have no label maps to count classes in")
    weights = weighting(counts) ** power
    columns = (counts.class_voxels.tolist(), counts.map_voxels.tolist(), weights.tolist())
    cases.provenance["class_weights"] = {
        name: {"voxels": voxels, "map_voxels": map_voxels, "weight": weight}
        for name, voxels, map_voxels, weight in zip(counts.names, *columns, strict=True)
    }
    return weights


def _refuse_same_content(name: str, train: Mapping[str, str], validation: Mapping[str, str]) -> None:
    """Refuse a picture on both sides, be it under another name, compressed again or in another format."""
    owners = {content: case for case, content in train.items()}
    pairs = [(owners[content], case) for case, content in validation.items() if content in owners]
    if pairs:
        shown = ", ".join(f"{trained} and {held_out}" for trained, held_out in pairs[:_NAMES_SHOWN])
        more = f" and {len(pairs) - _NAMES_SHOWN} more pairs" if len(pairs) > _NAMES_SHOWN else ""
        raise SegpipeError(
            f"{name}: {len(pairs)} picture(s) would train and validate, the images have the same voxels: "
            f"{shown}{more}; remove one case of each pair, or put both into one fold"
        )


@dataclass(frozen=True)
class ScanRule:
    """Which scans a bundle takes.

    Attributes:
        spatial_dims: 2, 3 or both.
        num_channels: of each.
        slice_size: pixels along each side that 2D scans must have; None for any.
    """

    spatial_dims: tuple[int, ...]
    num_channels: int
    slice_size: tuple[int, ...] | None

    @classmethod
    def of(
        cls,
        spatial_dims: int | Sequence[int] = 3,
        num_channels: int = 1,
        slice_size: Sequence[int] | None = None,
    ) -> ScanRule:
        """Make the rule of what a configuration says.

        Raises:
            SegpipeError: a slice size that is not two whole numbers.
        """
        dims = (spatial_dims,) if isinstance(spatial_dims, int) else tuple(spatial_dims)
        return cls(dims, num_channels, None if slice_size is None else _size(slice_size, 2))

    def check(self, header: VolumeHeader | Volume) -> None:
        """Refuse a scan of another kind.

        Raises:
            SegpipeError: naming what it is and what is wanted.
        """
        grid = header.grid
        if grid.spatial_dims not in self.spatial_dims or header.num_channels != self.num_channels:
            either = " or ".join(f"{dims}D" for dims in self.spatial_dims)
            raise SegpipeError(
                f"{header.path}: {grid.spatial_dims}D with {header.num_channels} channel(s) where "
                f"{either} with {self.num_channels} wanted; give one file a scan, or "
                "choose another bundle"
            )
        if self.slice_size is not None and grid.spatial_dims == 2 and grid.size != self.slice_size:
            raise SegpipeError(
                f"{header.path}: a slice of {grid.size} pixels where {self.slice_size} is wanted (x, y): without "
                "a spacing, size is scale; resample it, or use weights and a --slice_size (segpipe predict: --set "
                "slice_size=[...]) that fit"
            )


@refusal_ends_run()
def inference_cases(
    dataset_dir: str | Path,
    output_dir: str | Path,
    spatial_dims: int | Sequence[int] = 3,
    num_channels: int = 1,
    slice_size: Sequence[int] | None = None,
    series_uid: str | None = None,
    overwrite: bool = False,
    strict: bool = False,
) -> list[dict[str, Any]]:
    """List the scans of a folder, or one scan, as records, after a look at every header.

    Files that are neither scans nor companions are passed over, and one printed line names them.

    Args:
        dataset_dir: a folder of NIfTI, MetaImage, NRRD, PNG or JPEG files and DICOM series folders at any depth, or
            one such file or series.
        output_dir: where the label maps will go.
        spatial_dims: of the scans the bundle takes, 2, 3 or both.
        num_channels: of the scans the bundle takes.
        slice_size: pixels along each side that 2D scans must have; None for any. They have no spacing, so that size is
            all that tells their scale.
        series_uid: which series of a DICOM folder that holds several.
        overwrite: replace files that lie where the label maps will go. Not by default: such a file may be
            somebody's scan, beside the folder that was given.
        strict: refuse files that are neither scans nor companions.

    Returns:
        records `{"case", "image", "output"}`; `output` is the label map's path below `output_dir`.

    Raises:
        SegpipeError: no scan, scans in formats that segpipe does not read, headers that cannot be read or are of
            another dimension, outputs that collide or exist, or an output folder that is among the scans or
            cannot be written in.
    """
    source, target = Path(dataset_dir), Path(output_dir)
    found = look_for_scans(source, strict=strict).without_segmentations()
    scans = found.scans
    if not scans and not found.refused:
        raise SegpipeError(f"{source}: no scan there{found.why_none}; segpipe reads {KNOWN_FORMATS}")
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise SegpipeError(
            f"{target}: lies inside the folder of scans {source}, whose next run would take the label maps for scans; "
            "choose another --output_dir"
        )
    check_collisions(scans, target)
    if found.passed_over:
        note = f"{passed_over_note(found.passed_over)}; give --cases#strict True to refuse them"
        _logger.warning("%s", printable(note))
    _require_free(scans, target, overwrite=overwrite)
    rule = ScanRule.of(spatial_dims, num_channels, slice_size)
    refused = [own.reason for own in found.refused]
    left_out = []
    for scan in scans:
        uid = series_uid if scan.path.is_dir() else None
        try:
            header = read_header(scan.path, series_uid=uid)
            rule.check(header)
            left_out += [f"{scan.name}/{file.path.name}" for file in left_out_beside(header, uid)]
        except SegpipeError as error:
            refused.append(str(error))
    if refused:
        raise SegpipeError(
            f"{len(refused)} of {len(scans) + len(found.refused)} scans cannot be segmented:", *refused
        )
    if left_out:
        _logger.warning("%s", printable(left_out_note(left_out)))
    return [
        {
            "case": scan.name,
            "image": str(scan.path),
            "output": str(output_path(scan, target).relative_to(target)),
        }
        for scan in scans
    ]


def _require_free(scans: Sequence[Scan], target: Path, *, overwrite: bool) -> None:
    """Refuse outputs that would replace a file, or that could not be written."""
    existing = existing_outputs(scans, target)
    if existing and not overwrite:
        shown = ", ".join(str(file) for file in existing[:_NAMES_SHOWN])
        more = f" and {len(existing) - _NAMES_SHOWN} more" if len(existing) > _NAMES_SHOWN else ""
        raise SegpipeError(
            f"{target}: {len(existing)} of the files to write exist already: {shown}{more}; choose another "
            "--output_dir, or add --overwrite True to replace them"
        )
    for file in existing:
        if file.is_dir():
            raise SegpipeError(f"{file}: a folder stands where a label map goes; choose another --output_dir")
    for folder in sorted({output_path(scan, target).parent for scan in scans}):
        require_writable(folder)


class RunLoader(CaseLoader):
    """The loader of a bundle: a case that cannot be loaded ends the process with its one message."""

    def __iter__(self) -> Iterator[Any]:
        """Yield batches."""
        with refusal_ends_run():
            yield from super().__iter__()

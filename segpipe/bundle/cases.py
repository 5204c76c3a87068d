"""Lists and checks the cases that a bundle trains on, validates with or segments, before the first one is used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch

import segpipe
from segpipe.bundle.given import given_cases
from segpipe.bundle.scan_rule import ChannelRule, ScanRule, whole_size
from segpipe.dataset import (
    CaseReport,
    Side,
    content_hashes_of_tests,
    dataset_fingerprint,
    load_manifest,
    refuse_leaks,
    require_valid,
    side_of_test_list,
    training_records,
    with_groups,
)
from segpipe.dataset.given_records import GIVEN
from segpipe.dataset.importing.channel_files import look_for_cases
from segpipe.dataset.loading import CaseLoader
from segpipe.dataset.run_division import run_division
from segpipe.errors import SegpipeError
from segpipe.files import require_writable
from segpipe.labels import LabelTable
from segpipe.losses import ClassCounts
from segpipe.monai_run import refusal_ends_run
from segpipe.printable import printable
from segpipe.volumes import (
    Scan,
    check_collisions,
    existing_outputs,
    ignored_files_note,
    left_out_beside,
    left_out_note,
    output_path,
    read_channel_headers,
)
from segpipe.volumes.formats import KNOWN_FORMATS

_logger = logging.getLogger(__name__)

_NAMES_SHOWN = 5


class TrainingCases:
    """The training and validation cases of one fold; every file is read and checked once.

    Where a program gives the running training its records (`train#dataset#data` is a list, as MONAI Label writes it),
    these are the cases: manifest, folder, fold and groups are not used, see `segpipe.dataset.given_records`.

    Args:
        manifest: name of a shipped manifest, or a path.
        dataset_dir: folder of the manifest's files.
        fold: the fold that validates, or the name of one of the manifest's splits; "all" trains on every case and
            validates on none. ("all" instead of None: MONAI's run silently drops an override that is None.)
        labels: the bundle's label table.
        spatial_dims: of the scans, 2 or 3.
        checksums: compare every file with the manifest's SHA-256; False accepts a recompressed copy.
        size: voxels along each axis that every image must have; None: any size. For images without spacing, where only
            the size determines the scale.
        groups: class of the label table -> the manifest's classes that it merges, such as infected or not; None: the
            classes are equal.
        part: held-out part of a named split, validation or test.
        resample_channels: whether the bundle brings channels on other grids onto the first channel's grid.

    Raises:
        SegpipeError: the manifest does not exist; it resamples channels and the bundle does not; its label table
            differs; the two sides share a patient, a file or an image content; an image has another size; or
            `segpipe.dataset.integrity` finds a problem in the files.

    Attributes:
        about: for a named split, its source and how many of its cases are present; else empty.
        chooses: whether the held-out cases may choose weights; test cases may not.
        train: records for MONAI's datasets, one per training case.
        validation: records of the held-out fold, or of the part of a split.
        file_values: value that this dataset's label files store -> class name, after `groups`.
        class_counts: counts over the training cases' label maps; None if they have none.
        class_cases: of each training case, the classes in its label map; None if the cases have none.
        manifest: manifest of the cases, after `groups`.
        channel_names: names of the channels.
        dataset_dir: folder of the files.
        held_out_cases: the cases of `validation`, in the manifest's form.
        held_out: validation case -> SHA-256 of its image content, see `segpipe.dataset.reports.content_sha256`.
        provenance: the data's part of the sidecar of weights that are trained on these cases.
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
        resample_channels: bool = False,
    ) -> None:
        given = given_cases(labels)
        if given is None:
            described, folder = with_groups(load_manifest(manifest), groups or {}), Path(dataset_dir)
        else:
            described, folder = given
            fold, part = GIVEN if described.splits else "all", "validation"
        if described.resample_channels and described.num_channels > 1 and not resample_channels:
            raise SegpipeError(
                f"{described.name}: its channels are resampled onto the first one's grid (resample_channels), and the "
                "bundle does not do so; plan the bundle again, or set resample_channels in train.yaml and "
                "inference.yaml to true"
            )
        held_out = held_out_fold(fold)
        division = run_division(described, held_out, part, folder)
        train, validation = division.train, division.held_out
        self.manifest, self.dataset_dir, self.held_out_cases = described, folder, tuple(validation)
        self.about, self.chooses = division.about, division.chooses
        reports = require_valid(
            [*train, *validation],
            folder,
            replace(described, resample_channels=resample_channels),
            labels,
            spatial_dims,
            checksums=checksums,
        )
        if size is not None:
            _require_size(reports, whole_size(size, spatial_dims))
        self.channel_names = described.modality
        self.train = training_records(train, folder)
        self.validation = training_records(validation, folder)
        self.file_values = described.labels
        self.class_counts = _class_counts(reports[: len(train)], labels)
        self.class_cases = _class_cases(reports[: len(train)])
        trained_on, self.held_out = _contents(reports[: len(train)]), _contents(reports[len(train) :])
        refuse_same_content(described.name, trained_on, self.held_out)
        listed = [Side("training", "train", train), side_of_test_list(described)]
        refuse_leaks(described.name, listed, {**trained_on, **content_hashes_of_tests(described, folder)})
        self.provenance: dict[str, Any] = {
            "segpipe": segpipe.__version__,
            "manifest": {"name": described.name, "sha256": described.sha256},
            "fold": fold if division.stand_in is None else division.stand_in,
            "part": part,
            "chooses": division.chooses,
            "validation_cases": self.held_out,
            "cases": trained_on,
            "fingerprint": dataset_fingerprint(reports[: len(train)]),
        }

    @property
    def counted(self) -> dict[str, int] | None:
        """Class -> voxels of the training cases, by class index; None if they have no label maps."""
        counts = self.class_counts
        return None if counts is None else dict(zip(counts.names, counts.class_voxels.tolist(), strict=True))


def held_out_fold(fold: int | str) -> int | str | None:
    """Return the fold or split that a part is held out of; None if every case trains.

    Raises:
        SegpipeError: the fold is neither a number nor a name.
    """
    if not isinstance(fold, int | str) or isinstance(fold, bool):
        raise SegpipeError(
            f"fold is {fold!r}; give the number of the fold that validates, the name of a split, or all to train on "
            "every case"
        )
    return None if fold == "all" else fold


def _require_size(reports: Sequence[CaseReport], size: tuple[int, ...]) -> None:
    others = [r for r in reports if r.facts is not None and r.facts.size != size]
    if others and others[0].facts is not None:
        raise SegpipeError(
            f"{others[0].case}: has size {others[0].facts.size} voxels, slice_size is {size} (x, y); {len(others)} "
            f"of {len(reports)} cases have another size. A 2D image has no spacing, so its size is its scale; "
            "resample these images, or train with the slice_size that all images have"
        )


def _contents(reports: Sequence[CaseReport]) -> dict[str, str]:
    """Return case -> SHA-256 of its image content."""
    return {report.case: report.facts.content_sha256 for report in reports if report.facts is not None}


def _class_counts(reports: Sequence[CaseReport], labels: LabelTable) -> ClassCounts | None:
    """Add up the counts from the check of the cases; no file is read again."""
    maps = [report.facts.class_voxels for report in reports if report.facts is not None]
    if not all(maps):
        return None
    return ClassCounts.of_maps([[voxels[name] for name in labels.names] for voxels in maps], labels.names)


def _class_cases(reports: Sequence[CaseReport]) -> list[frozenset[str]] | None:
    maps = [report.facts.class_voxels for report in reports if report.facts is not None]
    if not all(maps):
        return None
    return [frozenset(name for name, count in voxels.items() if count) for voxels in maps]


@refusal_ends_run()
def class_weights(
    cases: TrainingCases, weighting: Callable[[ClassCounts], torch.Tensor], power: float = 1.0
) -> torch.Tensor:
    """Return class weights from the training cases, and record them in the cases' provenance.

    Args:
        cases: cases of the run; their `provenance` gets `class_weights`: counts and weights by class name.
        weighting: function of the counts, such as `segpipe.losses.median_frequency_weights`.
        power: exponent of the weights; 0.5 takes square roots, 0 makes all weights equal.

    Returns:
        float32 tensor of shape (C,), by class index.

    Raises:
        SegpipeError: a class has no voxel in the training cases, or the cases have no label maps.
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


def refuse_same_content(name: str, train: Mapping[str, str], validation: Mapping[str, str]) -> None:
    """Refuse an image content on both sides, even under another name, recompressed or in another format.

    Args:
        name: of the data set.
        train: training case -> hash of its image content.
        validation: validation case -> hash of its image content.

    Raises:
        SegpipeError: the message names the pairs.
    """
    owners = {content: case for case, content in train.items()}
    pairs = [(owners[content], case) for case, content in validation.items() if content in owners]
    if pairs:
        shown = ", ".join(f"{trained} and {held_out}" for trained, held_out in pairs[:_NAMES_SHOWN])
        more = f" and {len(pairs) - _NAMES_SHOWN} more pairs" if len(pairs) > _NAMES_SHOWN else ""
        raise SegpipeError(
            f"{name}: {len(pairs)} image(s) would both train and validate, the voxels of each pair are equal: "
            f"{shown}{more}; remove one case of each pair, or put both into one fold"
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
    **channel_rule: Unpack[ChannelRule],
) -> list[dict[str, Any]]:
    """Return the scans of a folder, or one scan, as records, after checking every header.

    Files that are neither scans nor companions are ignored; one log line names them.

    Args:
        dataset_dir: a folder of NIfTI, MetaImage, NRRD, PNG or JPEG files and DICOM series folders at any depth, or
            one such file or series; or a table or manifest, see
            `segpipe.dataset.importing.channel_files.look_for_cases`.
        output_dir: folder of the label maps.
        spatial_dims: number of spatial dimensions of the scans that the bundle takes, 2, 3 or both.
        num_channels: number of channels of the scans that the bundle takes.
        slice_size: pixels along each side that 2D scans must have; None: any size. 2D images have no spacing, so only
            the size determines the scale.
        series_uid: DICOM series to read from folders that hold several.
        overwrite: replace files at the paths of the label maps. By default they are refused: such a file may be a scan.
        strict: refuse files that are neither scans nor companions.
        **channel_rule: channels, channel_order and resample_channels, see `segpipe.bundle.scan_rule.ChannelRule`.

    Returns:
        records `{"case", "image", "output"}`; `image` is a path, or a list with one path a channel; `output` is the
        label map's path below `output_dir`. A time frame of a manifest has its number, from 1, as `frame`.

    Raises:
        SegpipeError: there is no scan; a scan has an unknown format, an unreadable header or another number of
            dimensions; outputs collide or exist; or the output folder lies among the scans or is not writable.
    """
    source, target = Path(dataset_dir), Path(output_dir)
    rule = ScanRule.of(spatial_dims, num_channels, slice_size, **channel_rule)
    matches = look_for_cases(source, rule.channels, strict=strict)
    scans = matches.scans
    if not scans and not matches.refused:
        raise SegpipeError(f"{source}: no scan there{matches.why_none}; segpipe reads {KNOWN_FORMATS}")
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise SegpipeError(
            f"{target}: lies inside the folder of scans {source}, whose next run would take the label maps for scans; "
            "choose another --output_dir"
        )
    check_collisions(scans, target)
    if matches.ignored_files:
        note = f"{ignored_files_note(matches.ignored_files)}; give --cases#strict True to refuse them"
        _logger.warning("%s", printable(note))
    _require_free(scans, target, overwrite=overwrite)
    refused = [scan.reason for scan in matches.refused]
    left_out = []
    for scan in scans:
        uid = series_uid if scan.path.is_dir() else None
        try:
            header = read_channel_headers(scan.files, series_uid, frame=scan.frame, resample=rule.resamples)
            rule.check(header, len(scan.files))
            left_out += [f"{scan.name}/{file.path.name}" for file in left_out_beside(header, uid)]
        except SegpipeError as error:
            refused.append(str(error))
    if refused:
        raise SegpipeError(
            f"{len(refused)} of {len(scans) + len(matches.refused)} scans cannot be segmented:", *refused
        )
    if left_out:
        _logger.warning("%s", printable(left_out_note(left_out)))
    return [
        {
            "case": scan.name,
            "image": list(map(str, scan.files)) if scan.further else str(scan.path),
            "output": str(output_path(scan, target).relative_to(target)),
            **({} if scan.frame is None else {"frame": scan.frame}),
        }
        for scan in scans
    ]


def _require_free(scans: Sequence[Scan], target: Path, *, overwrite: bool) -> None:
    """Refuse outputs that would replace a file, or that cannot be written."""
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
            raise SegpipeError(
                f"{file}: a folder has the name of the label map to write; choose another --output_dir"
            )
    for folder in sorted({output_path(scan, target).parent for scan in scans}):
        require_writable(folder)


class RunLoader(CaseLoader):
    """The data loader of a bundle: a case that cannot be loaded ends MONAI's run with one message."""

    def __iter__(self) -> Iterator[Any]:
        """Yield batches."""
        with refusal_ends_run():
            yield from super().__iter__()

"""Ranges of the training cases of a bundle's weights, measured once, so that later scans can be compared with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from monai.data import MetaTensor

from segpipe import __version__
from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.bundle.train_overlap import TrainingRecord, TrainOverlap
from segpipe.dataset import Case, Manifest, load_manifest, require_valid
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError, shown
from segpipe.files import require_writable
from segpipe.inference.volumetry import class_volumes
from segpipe.prediction.segmenter import Segmenter
from segpipe.reference_ranges import Measures, ReferenceRanges, ranges_path
from segpipe.volumes import Grid


def write_reference_ranges(
    bundle: str | Path | BundleSource,
    manifest: str | Path,
    dataset_dir: str | Path,
    *,
    checksums: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Segment the cases that made the weights, and write the ranges of their measures beside the weights.

    These are the cases that trained and those that chose the epoch, see `segpipe.bundle.train_overlap`; of weights
    without a record, all training cases of the manifest, after a warning. Cases of a test list never count.

    Args:
        bundle: its folder, or a source that names weights, configuration and device too.
        manifest: of the data that the weights were trained on: a shipped one's name, or a path.
        dataset_dir: where its files lie.
        checksums: compare every file with the manifest's SHA-256.
        report: called with what the user should know.

    Returns:
        path of the file.

    Raises:
        SegpipeError: a bundle, weights or manifest that cannot be used; a case of the training that the manifest has
            not, or whose image did not train; a file with an error; fewer than five cases; or a folder that cannot
            be written in.
    """
    opened = open_bundle(bundle, with_ranges=False)
    target = ranges_path(opened.weights, opened.weights_sha256)
    require_writable(target.parent)
    described, folder = load_manifest(manifest), Path(dataset_dir)
    records = tuple(map(TrainingRecord.read, opened.weights))
    cases = _cases_of(records, described)
    reports = require_valid(cases, folder, described, described.label_table(), checksums=checksums)
    contents = {own.case: own.facts.content_sha256 for own in reports if own.facts is not None}
    overlap = TrainOverlap.of(records, described, cases, contents)
    if overlap.unknown:
        report(
            f"WARNING: which cases {shown(overlap.unknown)} was trained on is not known: all {len(cases)} training "
            f"cases of {described.name} are measured"
        )
    else:
        _require_trained(overlap, cases, opened.weights[0])
    segmenter = Segmenter(opened, report=report)
    measured = [
        measured_scan(segmenter, opened.read([folder / name for name in case.images]))
        for case in with_progress(cases, "measuring")
    ]
    about = {
        "segpipe": __version__,
        "manifest": {"name": described.name, "sha256": described.sha256},
        "precision": segmenter.precision,
    }
    ReferenceRanges.of(measured, opened.weights_sha256, about).write(target)
    return target


def measured_scan(segmenter: Segmenter, loaded: MetaTensor) -> Measures:
    """Return the measures of a scan and of what a bundle says of it.

    Args:
        segmenter: of the bundle.
        loaded: the scan, as the bundle reads it; transforms may change it.
    """
    bundle = segmenter.bundle
    grid = Grid.from_affine(loaded.shape[1:], loaded.affine)
    by_slices = segmenter.by_slices(grid)
    image, of_scan = segmenter.prepared(loaded, grid)
    found = segmenter.segment(image, grid, uncertainty=True)
    volumes = class_volumes(found.labels, bundle.labels.names, grid.spacing_mm)
    return of_scan.with_result(found.labels, grid, volumes, found.uncertainty, by_slices=by_slices)


def _cases_of(records: Sequence[TrainingRecord], manifest: Manifest) -> list[Case]:
    """Return the cases that have the names of those in the records; all training cases where a record is missing."""
    if not all(record.trained for record in records):
        return list(manifest.training)
    names = {case for record in records for case in (*record.trained, *record.chosen_by)}
    missing = sorted(names - {case.case for case in manifest.training})
    if missing:
        raise SegpipeError(
            f"{manifest.name}: has no case {missing[0]}, which {records[0].weights} was trained on ({len(missing)} of "
            f"{len(names)} are missing); give the --manifest of its training"
        )
    return [case for case in manifest.training if case.case in names]


def _require_trained(overlap: TrainOverlap, cases: Sequence[Case], weights: Path) -> None:
    """Refuse cases that have the name of a trained case, and another image."""
    made_with = {*overlap.trained, *overlap.chosen}
    other = next((case.case for case in cases if case.case not in made_with), None)
    if other is not None:
        raise SegpipeError(
            f"{other}: its image is not the one of this name that {weights} was trained on; give the --manifest and "
            "--dataset-dir of its training"
        )

"""Measurement of the reference ranges of a bundle's weights on their training cases, to compare later scans with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from monai.data import MetaTensor

from segpipe import __version__
from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.bundle.train_overlap import TrainingRecord, TrainOverlap
from segpipe.bundle_names import require_writable_bundle
from segpipe.dataset import Case, Manifest, load_manifest, require_valid
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError, shown
from segpipe.files import require_writable
from segpipe.inference.volumetry import class_volumes
from segpipe.prediction.segmenter import Segmenter
from segpipe.reference_ranges import Measures, ReferenceRanges, ranges_path, require_enough_patients
from segpipe.volumes import Grid


def write_reference_ranges(
    bundle: str | Path | BundleSource,
    manifest: str | Path,
    dataset_dir: str | Path,
    *,
    checksums: bool = True,
    most_patients: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Segment the training cases of weights, and write the ranges of their measures beside the weights.

    The cases are the training cases and the cases that chose the epoch, see `segpipe.bundle.train_overlap`. Weights
    without a record get all training cases of the manifest, after a warning. Cases of a test list never count.

    Args:
        bundle: folder of the bundle, or a source that also names weights, configuration and device.
        manifest: manifest of the weights' training data: name of a shipped manifest, or a path.
        dataset_dir: folder of the manifest's files.
        checksums: whether every file is compared with the manifest's SHA-256.
        most_patients: measure the cases of at most this many patients, evenly from the manifest; None: of all.
        report: called with each message for the user.

    Returns:
        Path of the written file.

    Raises:
        SegpipeError: a bundle, weights or manifest cannot be used; the manifest lacks a training case, or has another
            image of this name; a file has an error; there are fewer than five patients, which is said before any
            scan is read; or the folder cannot be written in.
    """
    opened = open_bundle(bundle, with_ranges=False)
    target = ranges_path(opened.weights, opened.weights_sha256)
    require_writable_bundle(target.parent, "reference ranges")
    require_writable(target.parent)
    described, folder = load_manifest(manifest), Path(dataset_dir)
    records = tuple(map(TrainingRecord.read, opened.weights))
    cases = of_some_patients(cases_of(records, described), most_patients)
    patients = [patient_of(case) for case in cases]
    require_enough_patients(len(set(patients)), len(cases))
    if unknown := sum(case.patient is None for case in cases):
        report(
            f"WARNING: the patient of {unknown} of {len(cases)} training cases is not known: each counts as a patient "
            "of its own, so the ranges are too narrow if some are of one patient"
        )
    examined = replace(described, resample_channels=described.resample_channels or opened.takes.resamples)
    reports = require_valid(cases, folder, examined, described.label_table(), checksums=checksums)
    contents = {
        case_report.case: case_report.facts.content_sha256
        for case_report in reports
        if case_report.facts is not None
    }
    overlap = TrainOverlap.of(records, described, cases, contents)
    if overlap.unknown:
        report(
            f"WARNING: the training cases of {shown(overlap.unknown)} are not known: all {len(cases)} training "
            f"cases of {described.name} are measured"
        )
    else:
        require_trained(overlap, cases, opened.weights[0])
    segmenter = Segmenter(opened, report=report)
    measured = [
        measured_scan(segmenter, opened.read([folder / name for name in case.images], case.frame))
        for case in with_progress(cases, "measuring")
    ]
    about = {
        "segpipe": __version__,
        "manifest": {"name": described.name, "sha256": described.sha256},
        "precision": segmenter.precision,
    }
    ReferenceRanges.of(measured, opened.weights_sha256, about, patients).write(target)
    return target


def measured_scan(segmenter: Segmenter, loaded: MetaTensor) -> Measures:
    """Return the measures of a scan and of its segmentation by a bundle.

    Args:
        segmenter: segmenter of the bundle.
        loaded: scan as the bundle loads it; transforms may change the tensor.
    """
    bundle = segmenter.bundle
    grid = Grid.from_affine(loaded.shape[1:], loaded.affine)
    by_slices = segmenter.by_slices(grid)
    image, of_scan = segmenter.prepared(loaded, grid)
    segmented = segmenter.segment(image, grid, uncertainty=True)
    volumes = class_volumes(segmented.labels, bundle.labels, grid.spacing_mm)
    return of_scan.with_result(
        segmented.labels,
        grid,
        volumes,
        segmented.uncertainty,
        by_slices=by_slices,
        targets=bundle.labels.target_classes,
    )


def cases_of(records: Sequence[TrainingRecord], manifest: Manifest) -> list[Case]:
    """Return the manifest's cases that the records name; all training cases if a record is missing."""
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


def of_some_patients(cases: Sequence[Case], most: int | None) -> list[Case]:
    """Return the cases of at most so many patients, evenly chosen in the order of the cases."""
    patients = list(dict.fromkeys(map(patient_of, cases)))
    if most is None or len(patients) <= most:
        return list(cases)
    chosen = {patients[place * len(patients) // most] for place in range(most)}
    return [case for case in cases if patient_of(case) in chosen]


def patient_of(case: Case) -> str:
    """Return the patient of a case; a name of its own if the patient is not known."""
    return f"case {case.case}" if case.patient is None else f"patient {case.patient}"


def require_trained(overlap: TrainOverlap, cases: Sequence[Case], weights: Path) -> None:
    """Refuse cases that have the name of a training case but another image."""
    made_with = {*overlap.trained, *overlap.chosen}
    other = next((case.case for case in cases if case.case not in made_with), None)
    if other is not None:
        raise SegpipeError(
            f"{other}: its image is not the image of this name on which {weights} was trained; give the --manifest "
            "and --dataset-dir of its training"
        )

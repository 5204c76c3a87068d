"""Measurement of the reference ranges of a bundle's weights on their training cases, to compare later scans with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from monai.data import MetaTensor

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.dataset import load_manifest, require_valid
from segpipe.dataset.progress import with_progress
from segpipe.inference.volumetry import class_volumes
from segpipe.prediction.range_cases import cases_to_measure, require_trained, write_measured
from segpipe.prediction.segmenter import Segmenter
from segpipe.reference_ranges import Measures
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
    described, folder = load_manifest(manifest), Path(dataset_dir)
    cases = cases_to_measure(opened, described, most_patients, report)
    examined = replace(described, resample_channels=described.resample_channels or opened.takes.resamples)
    reports = require_valid(cases, folder, examined, described.label_table(), checksums=checksums)
    contents = {one.case: one.facts.content_sha256 for one in reports if one.facts is not None}
    require_trained(opened, described, cases, contents, report)
    segmenter = Segmenter(opened, report=report)
    measured = [
        measured_scan(segmenter, opened.read([folder / name for name in case.images], case.frame))
        for case in with_progress(cases, "measuring")
    ]
    return write_measured(opened, described, cases, measured, segmenter.precision)


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

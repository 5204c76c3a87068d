"""Calibration of the predicted Dice of a bundle's label maps, on the cases that the weights of folds held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segpipe import __version__
from segpipe.bundle.open import OpenBundle, open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.bundle_names import require_writable_bundle
from segpipe.confidence import (
    Assessment,
    ConfidenceCalibration,
    HeldOutTarget,
    TargetModel,
    assess,
    confidence_path,
)
from segpipe.dataset import (
    Case,
    Manifest,
    dataset_dir_of,
    evaluation_split_of,
    load_manifest,
    require_valid,
)
from segpipe.dataset.importing.channel_files import case_files
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError, counted, shown
from segpipe.evaluation.coding import Coding
from segpipe.files import file_sha256, require_writable
from segpipe.model_evaluation.fold_runs import FoldRun, fold_runs, folds_left_out, require_configuration_of
from segpipe.prediction.held_out_confidence import HeldOutCases, measured_case
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import label_frame, read_volume

_FEWEST_FOLDS = 2  # with fewer, the calibration is written, and nothing shows how good it is


@dataclass(frozen=True)
class CalibratedConfidence:
    """The result of a calibration.

    Attributes:
        path: the written file.
        calibration: its content.
        assessments: name of the target -> how good the prediction is on folds that were left out; None with too few
            folds or patients to tell.
        left_out: name of the target -> why nothing is predicted for it.
    """

    path: Path
    calibration: ConfidenceCalibration
    assessments: Mapping[str, Assessment | None]
    left_out: Mapping[str, str]


def calibrate_confidence(
    bundle: BundleSource,
    manifest: str,
    fold_weights: Sequence[str | Path],
    dataset_dir: Path | None = None,
    *,
    precision: str = "auto",
    checksums: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> CalibratedConfidence:
    """Segment the held-out cases of each fold, and write beside a bundle's weights how their Dice is predicted.

    Args:
        bundle: the bundle, and the weights that get the calibration, such as weights that trained on all cases.
        manifest: name of a shipped manifest, or the path of a JSON file.
        fold_weights: weights of several folds with the same configuration as the bundle's weights.
        dataset_dir: folder of the manifest's files; default: the folder that the manifest names.
        precision: of the network's computation, see `PredictOptions`.
        checksums: whether every file is compared with the manifest's SHA-256.
        report: called with each message for the user.

    Raises:
        SegpipeError: the runs do not fit together or to the weights, see `segpipe.model_evaluation.fold_runs`; a file
            has an error; no target has a label in the cases of 10 patients; or the weights' folder cannot be written.
    """
    described = load_manifest(manifest)
    runs = fold_runs(fold_weights, described)
    if not runs:
        raise SegpipeError(
            "--fold-weights is missing: give the weights of each fold, such as best.pt of its run"
        )
    opened = open_bundle(bundle, with_ranges=False)
    path = confidence_path(opened.weights, opened.weights_sha256)
    require_writable_bundle(path.parent, "a confidence calibration")
    require_writable(path.parent)
    if len(opened.weights) > 1:
        raise SegpipeError(
            f"{opened.weights[0]} and {len(opened.weights) - 1} more: an ensemble's scores are less certain than those "
            "of one fold's weights, which the calibration is measured on; give one file with --weights"
        )
    for weights in opened.weights:
        require_configuration_of(runs[0], weights)
    folder = dataset_dir_of(manifest, described, dataset_dir)
    left_out = folds_left_out(runs, described)
    if left_out:
        report(f"no run of fold {shown(left_out)} is given: the cases of these folds take no part")
    held_out = HeldOutCases(opened.labels)
    settings: Mapping[str, Any] = {}
    for run in runs:
        settings = _measure(run, bundle, described, folder, held_out, precision, checksums, report)
    return _written(path, opened, held_out, runs, described, settings)


def _measure(
    run: FoldRun,
    bundle: BundleSource,
    manifest: Manifest,
    folder: Path,
    held_out: HeldOutCases,
    precision: str,
    checksums: bool,
    report: Callable[[str], None],
) -> Mapping[str, Any]:
    """Add the held-out cases of a run, and return the settings of their segmentation."""
    opened = open_bundle(replace(bundle, weights=[run.weights]), with_ranges=False)
    split = evaluation_split_of(manifest, run.split, run.part)
    cases = [case for case in split.cases if case.label is not None]
    examined = replace(manifest, resample_channels=manifest.resample_channels or opened.takes.resamples)
    require_valid(cases, folder, examined, manifest.label_table(), checksums=checksums)
    segmenter = Segmenter(opened, precision, report=report)
    segmenter.scans = len(cases)
    coding = Coding(opened.labels, manifest.labels)
    for case in with_progress(cases, run.name):
        files = case_files(case, manifest, folder, opened.takes.channels)
        loaded = opened.read(files, case.frame)
        stored = read_volume(folder / str(case.label), frame=_label_frame(case, folder)).array
        held_out.add(
            measured_case(segmenter, loaded, coding.reference_indices(stored)),
            case.patient or case.case,
            run.name,
        )
    return segmenter.score_settings()


def _written(
    path: Path,
    opened: OpenBundle,
    held_out: HeldOutCases,
    runs: Sequence[FoldRun],
    manifest: Manifest,
    settings: Mapping[str, Any],
) -> CalibratedConfidence:
    models: dict[str, TargetModel] = {}
    left_out: dict[str, str] = {}
    assessments: dict[str, Assessment | None] = {}
    for name, cases in held_out.targets.items():
        try:
            models[name] = TargetModel.fitted(cases, name)
        except SegpipeError as error:
            left_out[name] = str(error)
            continue
        assessments[name] = _assessment(cases, name)
    if not models:
        raise SegpipeError(next(iter(left_out.values())))
    about = {
        "segpipe": __version__,
        "manifest": {"name": manifest.name, "sha256": manifest.sha256},
        "folds": {run.name: file_sha256(run.weights) for run in runs},
        "cases": counted(len(held_out.measured), "held-out case"),
        "assessment": {name: _plain(one) for name, one in assessments.items()},
    }
    calibration = ConfidenceCalibration(models, opened.weights_sha256, settings, about, held_out.temperature)
    calibration.write(path)
    return CalibratedConfidence(path, calibration, assessments, left_out)


def _assessment(cases: HeldOutTarget, name: str) -> Assessment | None:
    """Return how good the prediction is on folds that are left out; None where too few remain."""
    if len(set(cases.folds)) < _FEWEST_FOLDS:
        return None
    try:
        return assess(cases, name)
    except SegpipeError:  # without one fold, too few patients remain
        return None


def _plain(assessment: Assessment | None) -> dict[str, Any] | None:
    if assessment is None:
        return None
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in asdict(assessment).items()
    }


def _label_frame(case: Case, folder: Path) -> int | None:
    return label_frame(folder / str(case.label), case.frame, [folder / name for name in case.images])

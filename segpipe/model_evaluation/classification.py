"""Evaluation of a classification bundle on the images of a manifest: classifies and scores them, writes the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segpipe.bundle.image_cases import require_same_categories
from segpipe.bundle.open_classifier import OpenClassifier, open_classifier
from segpipe.bundle.source import BundleSource
from segpipe.bundle_names import require_writable_bundle
from segpipe.calibration import Calibration
from segpipe.dataset import (
    Case,
    EvaluationSplit,
    Manifest,
    dataset_dir_of,
    evaluation_split_of,
    examine_images,
    load_manifest,
)
from segpipe.dataset.targets import target_of
from segpipe.errors import SegpipeError, counted, shown
from segpipe.evaluation.classification import (
    ClassificationSummary,
    ClassifiedImages,
    summarise_images,
    write_classification,
)
from segpipe.evaluation.classification.predictions import units_of
from segpipe.model_evaluation.card import card_command
from segpipe.model_evaluation.description import (
    EvaluatedBy,
    about_plain,
    bundle_title,
    configuration_text,
    data_rows,
    model_rows,
)
from segpipe.model_evaluation.image_card import write_image_card
from segpipe.model_evaluation.options import EvaluateOptions
from segpipe.model_evaluation.validity import errors_in_words, validity_of
from segpipe.prediction.classify import classify_images
from segpipe.prediction.image_options import ClassifyOptions, ImagePrediction
from segpipe.prediction.options import Cohort, Outcome
from segpipe.report import ReportContext, require_evaluation_writable
from segpipe.report.classification import Unscored, write_classification_report
from segpipe.volumes import Scan, volume_format

PREDICTIONS = "predictions"


@dataclass(frozen=True)
class ImageEvaluation:
    """The result of an evaluation.

    Attributes:
        images: the scored images.
        summary: their scores.
        reasons: case -> why it has no score.
        warnings: limits of the scores' validity.
        card: files of the bundle that were written.
        by: the bundle, the data and the program that made the scores.
    """

    images: ClassifiedImages
    summary: ClassificationSummary
    reasons: Mapping[str, str]
    warnings: Sequence[str]
    card: Sequence[Path]
    by: EvaluatedBy


def evaluate_classifier(
    bundle: str | Path | BundleSource,
    manifest: str,
    output: Path,
    options: EvaluateOptions,
    dataset_dir: Path | None = None,
    watch: Callable[[ImagePrediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
    predicting: AbstractContextManager[object] | None = None,
) -> ImageEvaluation:
    """Classify images of a manifest with a bundle and score them against their classes or findings.

    Predictions go below `output/predictions`; a later call keeps them and continues. `metrics.csv`, `summary.json` and
    `report.html` go into `output`. An image that cannot be read or classified has no scores; the result has the reason.

    Args:
        bundle: folder of the bundle, or a source that also names weights, configuration and device.
        manifest: name of a shipped manifest, or the path of a JSON file.
        output: folder of the results.
        options: which cases are scored, and how; without groups and tolerance.
        dataset_dir: folder of the manifest's files; default: the folder that the manifest names.
        watch: see `segpipe.prediction.classify.classify`.
        report: called with each message that the user should read before the end.
        predicting: context that is entered while images are classified.

    Raises:
        SegpipeError: no such bundle, manifest, part or weights; the names differ; the output cannot be written; nothing
            could be scored; an option is of segmentations; or the weights were trained on the images, or may have been,
            and a card or held-out images are wanted.
    """
    _refuse_options_of_masks(options)
    how = ClassifyOptions(precision=options.precision)
    how.check()
    require_evaluation_writable(output)
    described = load_manifest(manifest)
    source = BundleSource.of(bundle)
    if options.card:
        require_writable_bundle(Path(source.root), "a card")
    opened = open_classifier(source)
    require_same_categories(described, opened.categories)
    folder = dataset_dir_of(manifest, described, dataset_dir)
    part = evaluation_split_of(described, options.split, options.part)
    checked, reasons, contents = _checked(described, part, folder, opened, checksums=options.checksums)
    validity = validity_of(
        opened, described, checked, contents, options, report, _calibration_warnings(opened.calibration)
    )
    cohort = Cohort(tuple(_scan(case, folder) for case in checked))
    with predicting or nullcontext():
        predictions = (
            classify_images(cohort, opened, output / PREDICTIONS, how, watch, report) if checked else []
        )
    reasons |= {one.case: one.reason for one in predictions if one.outcome is Outcome.FAILED}
    images = _images(part, described, checked, predictions, opened, folder, reasons)
    summary = summarise_images(images)
    by = validity.evaluated_by(opened, described, part, output / PREDICTIONS, images.cases, summary.cautions)
    unscored = dict(sorted(reasons.items()))
    evaluation = ImageEvaluation(images, summary, unscored, by.warnings, (), by)
    write_image_evaluation(evaluation, output)
    if not options.card:
        return evaluation
    written = write_image_card(by, images, summary, unscored, card_command(by, manifest, source, options))
    return replace(evaluation, card=written)


def write_image_evaluation(
    evaluation: ImageEvaluation, output: Path, sections: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
) -> None:
    """Write `metrics.csv`, `summary.json` and `report.html`.

    Args:
        evaluation: the scores, and what made them.
        output: folder of the files.
        sections: further sections of the page: title and rows.
    """
    images, summary, by = evaluation.images, evaluation.summary, evaluation.by
    title = f"{bundle_title(by)}: evaluation"
    context = _context(by, images, summary)
    context = replace(context, sections=[*sections, *context.sections])
    write_classification_report(images, summary, output, context, Unscored(evaluation.reasons), title)
    write_classification(images, summary, output, about_plain(by), reasons=evaluation.reasons)


def _refuse_options_of_masks(options: EvaluateOptions) -> None:
    given = [
        name
        for name, is_given in (
            ("--group", bool(options.groups)),
            ("--tolerance-mm", options.tolerance_mm != EvaluateOptions.tolerance_mm),
        )
        if is_given
    ]
    if given:
        raise SegpipeError(
            f"evaluate: {', '.join(given)} is of segmentations; leave it out for a classification"
        )


def _checked(
    manifest: Manifest, part: EvaluationSplit, folder: Path, opened: OpenClassifier, *, checksums: bool
) -> tuple[list[Case], dict[str, str], dict[str, str]]:
    """Check the files of the cases.

    Returns:
        The cases that can be classified and scored, why the others cannot, and the content hash of each image.
    """
    exclusive = opened.categories.exclusive
    reasons = {
        case.case: "the manifest has no class of it" for case in part.cases if exclusive and not case.classes
    }
    labelled = [case for case in part.cases if case.case not in reasons]
    if not labelled:
        raise SegpipeError(
            f"{manifest.name}: none of the {len(part.cases)} cases of {part.name} has a class to score against; give "
            "another split"
        )
    window = getattr(opened.preprocessing.transforms[0], "window", None)
    reports = examine_images(labelled, folder, manifest, checksums=checksums, window=window)
    contents = {}
    for image_report in reports:
        if errors := errors_in_words(image_report.findings):
            reasons[image_report.case] = errors
        elif image_report.facts is not None:
            contents[image_report.case] = image_report.facts.content_sha256
    return [case for case in labelled if case.case not in reasons], reasons, contents


def _scan(case: Case, folder: Path) -> Scan:
    path = folder / case.images[0]
    return Scan(path, volume_format(path), case.case)


def _images(
    part: EvaluationSplit,
    manifest: Manifest,
    cases: Sequence[Case],
    predictions: Sequence[ImagePrediction],
    opened: OpenClassifier,
    folder: Path,
    reasons: Mapping[str, str],
) -> ClassifiedImages:
    probabilities = {one.case: one.probabilities for one in predictions if one.outcome is not Outcome.FAILED}
    scored = sorted((case for case in cases if case.case in probabilities), key=lambda case: case.case)
    if not scored:
        why = shown((f"{case}: {reason}" for case, reason in reasons.items()), "; ", most=3)
        raise SegpipeError(
            f"{part.name} of {manifest.name}: none of {len(part.cases)} images can be scored: {why}"
        )
    targets = np.array([target_of(case, opened.categories) for case in scored])
    if not opened.categories.exclusive and np.isnan(targets).all():
        raise SegpipeError(
            f"{manifest.name}: every finding is unknown in every image of {part.name}: nothing can be scored; give "
            "another split"
        )
    return ClassifiedImages.of_calibrated(
        [case.case for case in scored],
        units_of(scored),
        [probabilities[case.case] for case in scored],
        targets,
        opened.calibration,
        [str(folder / case.images[0]) for case in scored],
    )


def _calibration_warnings(calibration: Calibration) -> list[str]:
    if calibration.weights_sha256:
        return []
    return [
        "The weights have no calibration: probabilities are the network's own, and every threshold is one half."
    ]


def _calibration_in_words(by: EvaluatedBy) -> str:
    calibration = by.opened.calibration if isinstance(by.opened, OpenClassifier) else None
    if calibration is None or not calibration.weights_sha256:
        return "none"
    cases = calibration.about.get("cases")
    fitted = f", fitted on {counted(int(cases), 'validation case')}" if cases else ""
    values = ", ".join(f"{temperature:.3g}" for temperature in calibration.temperature)
    names = "" if calibration.categories.exclusive else " (one a finding)"
    return f"temperature {values}{names}{fitted}; thresholds of the same cases"


def _context(by: EvaluatedBy, images: ClassifiedImages, summary: ClassificationSummary) -> ReportContext:
    truth = "its classes" if images.categories.exclusive else "its findings"
    return ReportContext(
        lead=f"Classified by the bundle {by.bundle_name}: {by.part_in_words}, against {truth}.",
        warnings=by.warnings,
        sections=[
            ("Data", data_rows(by, len(images.cases), summary.patients)),
            ("Model", [*model_rows(by), ("calibration", _calibration_in_words(by))]),
        ],
        configurations=[("Configuration of the bundle", configuration_text(by))],
    ).by(by.program)

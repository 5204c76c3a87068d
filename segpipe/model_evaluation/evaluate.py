"""Evaluation of a bundle on the cases of a manifest: segments and scores the cases, and writes the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.bundle.open import OpenBundle, open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.bundle_names import require_writable_bundle
from segpipe.dataset import (
    Case,
    EvaluationSplit,
    Manifest,
    dataset_dir_of,
    evaluation_split_of,
    examine_cases,
    load_manifest,
    with_groups,
)
from segpipe.dataset.importing.channel_files import case_files
from segpipe.errors import SegpipeError, shown
from segpipe.evaluation.scored_cases import Pair, ScoredCases, require_tolerance
from segpipe.evaluation.scoring import score_pairs
from segpipe.evaluation.summary import summarise, write_scores
from segpipe.labels import LabelTable
from segpipe.model_evaluation.card import card_command, write_card
from segpipe.model_evaluation.description import about_plain, context_of
from segpipe.model_evaluation.expected_agreement import expected_agreement
from segpipe.model_evaluation.options import EvaluateOptions, Evaluation
from segpipe.model_evaluation.validity import errors_in_words, validity_of
from segpipe.prediction.options import Cohort, Outcome, Prediction, PredictOptions, require_places
from segpipe.prediction.predict import predict_scans
from segpipe.report import DrawnScan, require_evaluation_writable, write_report
from segpipe.volumes import Scan, label_frame, volume_format

PREDICTIONS = "predictions"


def evaluate(
    bundle: str | Path | BundleSource,
    manifest: str,
    output: Path,
    options: EvaluateOptions,
    dataset_dir: Path | None = None,
    watch: Callable[[Prediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
    predicting: AbstractContextManager[object] | None = None,
) -> Evaluation:
    """Segment cases of a manifest with a bundle and score them against their references.

    Label maps go below `output/predictions`; a later call keeps them and continues. `metrics.csv`, `summary.json` and
    `report.html` go into `output`. A case that cannot be read, checked or segmented has no scores; the result
    has the reason.

    Args:
        bundle: folder of the bundle, or a source that also names weights, configuration and device.
        manifest: name of a shipped manifest, or the path of a JSON file.
        output: folder of the results.
        options: which cases are scored, and how.
        dataset_dir: folder of the manifest's files; default: the folder that the manifest names.
        watch: see `segpipe.prediction.predict.predict`.
        report: called with each message that the user should read before the end.
        predicting: context that is entered while scans are segmented.

    Raises:
        SegpipeError: no such bundle, manifest, part or weights; labels differ; the output cannot be written;
            nothing could be scored; or the weights were trained on the cases, or may have been, and a card or held-out
            cases are wanted.
    """
    require_tolerance(options.tolerance_mm)
    engine = "openvino" if options.precision == "int8" else "torch"
    how = PredictOptions(precision=options.precision, overlays=False, engine=engine)
    how.check()
    require_evaluation_writable(output)
    described = _manifest_of_masks(manifest, options)
    folder = dataset_dir_of(manifest, described, dataset_dir)
    part = evaluation_split_of(described, options.split, options.part)
    source = BundleSource.of(bundle)
    if options.card:
        require_writable_bundle(Path(source.root), "a card")
    opened = open_bundle(source)
    checked = _checked(described, part, folder, opened, checksums=options.checksums)
    validity = validity_of(opened, described, checked.cases, checked.contents, options, report)
    with predicting or nullcontext():
        scans = [_scan(case, described, folder, opened) for case in checked.cases]
        predictions = _predictions(opened, scans, output / PREDICTIONS, how, watch, report)
    scores = _scores(described, part, folder, checked, predictions, opened.labels, options.tolerance_mm)
    summary = summarise(scores)
    scan_warnings = _scan_warnings(opened, [predictions[case] for case in scores.pairs])
    by = validity.evaluated_by(
        opened, described, part, output / PREDICTIONS, scores.pairs, scores.warnings, scan_warnings
    )
    by = replace(by, expected=expected_agreement(opened.confidence, predictions, scores))
    drawn = {case.case: _drawn_scan(case, described, folder) for case in checked.cases}
    evaluation = Evaluation(scores, summary, by.warnings, (), by, drawn)
    write_evaluation(evaluation, output)
    if not options.card:
        return evaluation
    written = write_card(by, scores, summary, card_command(by, manifest, source, options))
    return replace(evaluation, card=written)


def write_evaluation(
    evaluation: Evaluation, output: Path, sections: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
) -> None:
    """Write `metrics.csv`, `summary.json` and `report.html`.

    Args:
        evaluation: the scores, and what made them.
        output: folder of the files.
        sections: further sections of the page: title and rows.

    Raises:
        SegpipeError: see `segpipe.report.write_report`.
    """
    scores, summary, by = evaluation.scores, evaluation.summary, evaluation.by
    title, context = context_of(by, scores)
    context = replace(context, sections=[*sections, *context.sections])
    write_report(scores, summary, output, evaluation.scans, context, title)
    write_scores(scores, summary, output, about_plain(by))


def _manifest_of_masks(manifest: str, options: EvaluateOptions) -> Manifest:
    """Return the manifest with its classes united; refuse a manifest without label maps."""
    described = with_groups(load_manifest(manifest), options.groups)
    if described.target != "mask":
        raise SegpipeError(
            f"{described.name}: its cases have no label maps (target {described.target}) to score, and the bundle "
            "is for segmentation; give a bundle for classification, or another manifest"
        )
    return described


@dataclass(frozen=True)
class _CheckedCases:
    """Cases whose files were checked.

    Attributes:
        cases: cases that can be segmented and scored.
        contents: case -> content hash of its image.
        reasons: case -> why it is not scored, for the other cases.
    """

    cases: Sequence[Case]
    contents: Mapping[str, str]
    reasons: Mapping[str, str]


def _checked(
    manifest: Manifest, part: EvaluationSplit, folder: Path, opened: OpenBundle, *, checksums: bool
) -> _CheckedCases:
    """Check the files of the cases."""
    labelled, reasons = _labelled(manifest, part)
    manifest = replace(manifest, resample_channels=manifest.resample_channels or opened.takes.resamples)
    reports = examine_cases(labelled, folder, manifest, opened.labels, checksums=checksums)
    for case_report in reports:
        if errors := errors_in_words(case_report.findings):
            reasons[case_report.case] = errors
    return _CheckedCases(
        cases=[case for case in labelled if case.case not in reasons],
        contents={
            case_report.case: case_report.facts.content_sha256
            for case_report in reports
            if case_report.facts and case_report.case not in reasons
        },
        reasons=reasons,
    )


def _scores(
    manifest: Manifest,
    part: EvaluationSplit,
    folder: Path,
    checked: _CheckedCases,
    predictions: Mapping[str, Prediction],
    labels: LabelTable,
    tolerance_mm: float,
) -> ScoredCases:
    """Score the predictions against the references."""
    reasons = {**checked.reasons, **_unpredicted(predictions)}
    pairs = [
        Pair(case.case, case.patient or case.case, path, folder / str(case.label), _label_frame(case, folder))
        for case in checked.cases
        if case.case not in reasons and (path := predictions[case.case].label_map) is not None
    ]
    if not pairs:
        raise SegpipeError(
            f"{part.name} of {manifest.name}: none of {len(part.cases)} cases can be scored: {_first(reasons)}"
        )
    return score_pairs(
        pairs,
        labels,
        manifest.labels,
        knows_patients=any(case.patient for case in checked.cases),
        reasons=dict(sorted(reasons.items())),
        tolerance_mm=tolerance_mm,
    )


def _labelled(manifest: Manifest, part: EvaluationSplit) -> tuple[list[Case], dict[str, str]]:
    """Return the cases with a label map, and why the others are not scored."""
    reasons = {case.case: "the manifest has no label map of it" for case in part.cases if case.label is None}
    labelled = [case for case in part.cases if case.label is not None]
    if not labelled:
        raise SegpipeError(
            f"{manifest.name}: none of the {len(part.cases)} cases of {part.name} has a label map to score against; "
            "give another split"
        )
    return labelled, reasons


def _scan(case: Case, manifest: Manifest, folder: Path, opened: OpenBundle) -> Scan:
    first, *further = case_files(case, manifest, folder, opened.takes.channels)
    return Scan(first, volume_format(first), case.case, tuple(further), case.frame)


def _label_frame(case: Case, folder: Path) -> int | None:
    """Return the number of a case's time frame in its reference; None for a reference of one frame."""
    return label_frame(folder / str(case.label), case.frame, [folder / name for name in case.images])


def _drawn_scan(case: Case, manifest: Manifest, folder: Path) -> DrawnScan:
    return DrawnScan(tuple(folder / name for name in case.images), manifest.modality, case.frame)


def _predictions(
    opened: OpenBundle,
    scans: Sequence[Scan],
    folder: Path,
    how: PredictOptions,
    watch: Callable[[Prediction, int, int], None] | None,
    report: Callable[[str], None] | None,
) -> dict[str, Prediction]:
    """Segment the cases and return the outcome of each."""
    require_places(scans, folder, how)
    cohort = Cohort(tuple(scans))
    predictions = predict_scans(cohort, opened, folder, how, watch, report) if scans else []
    return {prediction.case: prediction for prediction in predictions}


def _scan_warnings(opened: OpenBundle, predictions: Sequence[Prediction]) -> dict[str, Sequence[str]] | None:
    if opened.reference_ranges is None:
        return None
    return {prediction.case: prediction.warnings for prediction in predictions if prediction.warnings}


def _unpredicted(predictions: Mapping[str, Prediction]) -> dict[str, str]:
    """Return case -> why the network made no label map of it."""
    reasons = {}
    for case, prediction in predictions.items():
        if prediction.outcome is Outcome.FAILED:
            reasons[case] = prediction.reason
        elif prediction.outcome is Outcome.KEPT:
            reasons[case] = (
                f"{prediction.label_map} was corrected by hand and is no longer the network's; remove it, or choose "
                "another --output"
            )
    return reasons


def _first(reasons: Mapping[str, str]) -> str:
    return shown((f"{case}: {reason}" for case, reason in reasons.items()), "; ", most=3)

"""Limits of the validity of scores, whatever the task: cases of the training, unknown patients, files with errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.bundle.open import OpenBundle
from segpipe.bundle.open_classifier import OpenClassifier
from segpipe.bundle.train_overlap import TrainingRecord, TrainOverlap
from segpipe.dataset import Case, EvaluationSplit, Finding, Manifest
from segpipe.evaluation.scored_cases import patient_warnings
from segpipe.model_evaluation.description import EvaluatedBy
from segpipe.model_evaluation.options import EvaluateOptions
from segpipe.prediction.ledger import Ledger
from segpipe.report import program


@dataclass(frozen=True)
class Validity:
    """The judgement of the cases to score before anything is predicted.

    Attributes:
        records: training records of the weights.
        overlap: overlap of the training with the cases.
        warnings: limits of the scores' validity, a sentence each.
    """

    records: tuple[TrainingRecord, ...]
    overlap: TrainOverlap
    warnings: tuple[str, ...]

    def evaluated_by(
        self,
        opened: OpenBundle | OpenClassifier,
        manifest: Manifest,
        part: EvaluationSplit,
        predictions: Path,
        scored: Iterable[str],
        further: Sequence[str],
        scan_warnings: dict[str, Sequence[str]] | None = None,
    ) -> EvaluatedBy:
        """Return the description of an evaluation.

        Args:
            opened: the bundle.
            manifest: manifest of the cases.
            part: the part that was scored.
            predictions: folder of the predictions, with their ledger.
            scored: names of the scored cases.
            further: warnings of the scores themselves.
            scan_warnings: see `EvaluatedBy`.
        """
        ledger = Ledger(predictions).entries
        return EvaluatedBy(
            opened=opened,
            records=self.records,
            overlap=self.overlap,
            manifest=manifest,
            part=part,
            precisions=tuple(sorted({ledger[case].precision for case in scored})),
            warnings=[*self.warnings, *further],
            scan_warnings=scan_warnings,
            program=program(),
        )


def validity_of(
    opened: OpenBundle | OpenClassifier,
    manifest: Manifest,
    cases: Sequence[Case],
    contents: Mapping[str, str],
    options: EvaluateOptions,
    report: Callable[[str], None] | None,
    further: Sequence[str] = (),
) -> Validity:
    """Judge the cases to score.

    Args:
        opened: the bundle.
        manifest: manifest of the cases.
        cases: the cases.
        contents: case -> content hash of its image.
        options: whether a card or held-out cases are wanted.
        report: called with each warning.
        further: warnings of the task.

    Raises:
        SegpipeError: the weights were trained on the cases, or may have been, and a card or held-out cases are wanted.
    """
    records = tuple(map(TrainingRecord.read, opened.weights))
    overlap = TrainOverlap.of(records, manifest, cases, contents)
    warnings = (*overlap.warnings(), *patient_warnings([case.patient for case in cases]), *further)
    for warning in warnings:
        if report is not None:
            report(warning)
    if options.card or options.held_out:
        overlap.require_held_out(
            "--card" if options.card else str(opened.root),
            "give a split that was held out, or --weights of a training that held this one out",
            known=True,
        )
    return Validity(records, overlap, warnings)


def errors_in_words(findings: Iterable[Finding]) -> str:
    """Return a case's errors with their files; empty without an error."""
    return "; ".join(
        f"{finding.file}: {finding.message}" for finding in findings if finding.severity == "error"
    )

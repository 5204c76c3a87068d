"""The page and the record of an evaluation of a bundle: data, model, configuration, program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from segpipe.bundle.open import OpenBundle
from segpipe.bundle.open_classifier import OpenClassifier
from segpipe.bundle.scored_weights import EvaluationRecord
from segpipe.bundle.train_overlap import TrainingRecord, TrainOverlap
from segpipe.confidence import Assessment
from segpipe.dataset import EvaluationSplit, Manifest
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.model_evaluation.expected_agreement import in_words
from segpipe.report import ReportContext, context_rows

_MOST_SHOWN = 50  # cases with warnings


@dataclass(frozen=True)
class EvaluatedBy:
    """The bundle, the data and the program that made scores.

    Attributes:
        opened: the bundle.
        records: training record of each weights file.
        overlap: overlap of the training with the cases.
        manifest: manifest that lists the cases.
        part: part of the manifest that was scored.
        precisions: number formats in which the networks computed.
        warnings: limits of the scores' validity.
        scan_warnings: case -> its differences from the training cases; None where nothing was compared.
        program: see `segpipe.report.program`.
        expected: class -> how well its Dice was expected; empty without a calibration.
    """

    opened: OpenBundle | OpenClassifier
    records: Sequence[TrainingRecord]
    overlap: TrainOverlap
    manifest: Manifest
    part: EvaluationSplit
    precisions: Sequence[str]
    warnings: Sequence[str]
    scan_warnings: Mapping[str, Sequence[str]] | None
    program: Mapping[str, str]
    expected: Mapping[str, Assessment] = field(default_factory=dict)

    @property
    def bundle_name(self) -> str:
        """Name of the bundle's folder."""
        return self.opened.root.resolve().name

    @property
    def part_in_words(self) -> str:
        """Part of the manifest that was scored, in words."""
        return f"{self.part.name} of the manifest {self.manifest.name}"


def context_of(by: EvaluatedBy, scores: ScoredCases) -> tuple[str, ReportContext]:
    """Return the title of the page, and the texts around its figures."""
    name = bundle_title(by)
    patients = len({row.patient for row in scores.rows}) if scores.knows_patients else None
    context = ReportContext(
        lead=f"Segmented by the bundle {by.bundle_name}: {by.part_in_words}, against its reference label maps.",
        warnings=by.warnings,
        sections=[
            ("Data", data_rows(by, len(scores.rows), patients)),
            ("Model", model_rows(by)),
            *_unlike_training(by, len(scores.rows)),
            *_expected(by),
        ],
        configurations=[("Configuration of the bundle", configuration_text(by))],
    )
    return f"{name}: evaluation", context.by(by.program)


def about_plain(by: EvaluatedBy) -> dict[str, Any]:
    """Return the description for `summary.json`, in plain types."""
    scan_warnings = by.scan_warnings
    if scan_warnings is not None:
        scan_warnings = {case: list(warnings) for case, warnings in scan_warnings.items()}
    expected = {name: _finite(asdict(one)) for name, one in by.expected.items()}
    plain = EvaluationRecord(
        bundle=by.bundle_name,
        bundle_version=by.opened.metadata.get("version"),
        manifest={"name": by.manifest.name, "sha256": by.manifest.sha256},
        part=by.part.name,
        weights=weights_plain(by),
        overlap=by.overlap.as_plain(),
        precision=list(by.precisions),
        device=str(by.opened.device),
        warnings=list(by.warnings),
        scan_warnings=scan_warnings,
    ).as_plain(by.program)
    return {**plain, "expected": expected} if expected else plain


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with None in place of NaN, which JSON lacks."""
    return {
        name: None if isinstance(value, float) and value != value else value for name, value in values.items()
    }


def weights_plain(by: EvaluatedBy) -> list[dict[str, Any]]:
    """Return each weights file with its hash and its training record."""
    return [record.as_plain() for record in by.records]


def bundle_title(by: EvaluatedBy) -> str:
    """Return the name in the bundle's metadata, or that of its folder."""
    return str(by.opened.metadata.get("name") or by.bundle_name)


def data_rows(by: EvaluatedBy, scored: int, patients: int | None) -> Sequence[tuple[str, str]]:
    """Return the description of the data.

    Args:
        by: description of the evaluation.
        scored: number of cases that were scored.
        patients: number of their patients; None where no patient is known.
    """
    manifest = by.manifest
    return context_rows(
        [
            ("data set", manifest.name),
            ("description", manifest.description),
            ("source", manifest.source),
            ("reference", manifest.reference),
            ("licence", manifest.licence),
            ("citation", manifest.citation),
            ("modality", ", ".join(manifest.modality)),
            ("classes", ", ".join(f"{name} (stored {value})" for value, name in manifest.labels.items())),
            ("scored", f"{by.part.name}: {scored} of {len(by.part.cases)} cases"),
            ("split", by.part.about),
            (
                "patients",
                f"{patients} of the cases scored" if patients is not None else manifest.patients or "unknown",
            ),
            ("in the manifest", f"{len(manifest.training)} training cases, {len(manifest.test)} test cases"),
            ("checksums", manifest.checksums),
            ("manifest SHA-256", manifest.sha256),
        ]
    )


def model_rows(by: EvaluatedBy) -> Sequence[tuple[str, str]]:
    """Return the description of the bundle and its weights."""
    metadata = by.opened.metadata
    rows: list[tuple[str, object]] = [
        ("model", bundle_title(by)),
        ("bundle", f"{by.bundle_name}, version {metadata.get('version', 'unknown')}"),
        ("description", metadata.get("description")),
        ("intended use", metadata.get("intended_use")),
    ]
    for weights in weights_plain(by):
        rows.append(("weights", f"{weights['file']}, SHA-256 {weights['sha256']}"))
        rows.append(("trained on", training_in_words(weights)))
    rows.append(("computed", f"on {by.opened.device} in {', '.join(by.precisions)}"))
    return context_rows(rows)


def _expected(by: EvaluatedBy) -> list[tuple[str, Sequence[tuple[str, str]]]]:
    """Return a section on the expected Dice; none without a calibration."""
    rows = [(name, in_words(one)) for name, one in by.expected.items()]
    return [("Dice that was expected without the references", rows)] if rows else []


def _unlike_training(by: EvaluatedBy, cases: int) -> list[tuple[str, Sequence[tuple[str, str]]]]:
    """Return a section of the cases that differ from the training cases; none where nothing was compared."""
    if by.scan_warnings is None:
        return []
    shown = [(case, "; ".join(warnings)) for case, warnings in list(by.scan_warnings.items())[:_MOST_SHOWN]]
    rest = len(by.scan_warnings) - len(shown)
    rows = [("warned of", f"{len(by.scan_warnings)} of {cases} cases"), *shown]
    return [
        ("Unlike the training cases", [*rows, ("and", f"{rest} more, in summary.json")] if rest else rows)
    ]


def training_in_words(weights: Mapping[str, Any]) -> str:
    """Return the training record of weights in words, see `weights_plain`."""
    if not weights["cases"]:
        return "not known"
    text = f"{weights['cases']} cases of {weights['trained_on']}"
    if weights["fold"] is not None:
        text += f", {_held_out_in_words(weights['fold'])}"
    text += f", epoch {weights['epoch']}" if weights["epoch"] is not None else ""
    return text + (f", at commit {weights['commit']}" if weights["commit"] else "")


def _held_out_in_words(fold: int | str) -> str:
    """Return the fold or split that was held out, in words."""
    if fold == "all":
        return "none held out"
    return f"fold {fold} held out" if isinstance(fold, int) else f"split {fold}"


def configuration_text(by: EvaluatedBy) -> str:
    """Return the bundle's configuration as YAML."""
    plain = json.loads(json.dumps(by.opened.configuration, default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)

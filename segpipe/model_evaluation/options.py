"""The options and the result of `segpipe evaluate --bundle`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.evaluation.summary import Summary
from segpipe.model_evaluation.description import EvaluatedBy
from segpipe.report import DrawnScan


@dataclass(frozen=True)
class EvaluateOptions:
    """Which cases of a manifest are scored, and how.

    Attributes:
        split: fold, named split, test or train; see `segpipe.dataset.evaluation_split_of`.
        part: part of a named split, validation or test.
        groups: class of the bundle -> the manifest's classes that it unites.
        precision: see `PredictOptions`.
        checksums: whether files are compared with the manifest's SHA-256.
        tolerance_mm: tolerance of the surface Dice.
        card: whether the results are written into the bundle.
        held_out: whether cases that the weights were trained on, or may have been, are refused.
    """

    split: str = "test"
    part: str | None = None
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    precision: str = "auto"
    checksums: bool = True
    tolerance_mm: float = 1.0
    card: bool = False
    held_out: bool = False


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        scores: scores of the cases.
        summary: summary of the same cases.
        warnings: limits of the scores' validity.
        card: files of the bundle that were written.
        by: the bundle, the data and the program that made the scores.
        scans: case -> its scan, for the page.
    """

    scores: ScoredCases
    summary: Summary
    warnings: Sequence[str]
    card: Sequence[Path]
    by: EvaluatedBy
    scans: Mapping[str, DrawnScan]

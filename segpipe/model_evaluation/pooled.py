"""The held-out cases of several folds as one evaluation: each case has the scores of the run that held it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.bundle.train_overlap import TrainOverlap
from segpipe.dataset import EvaluationSplit
from segpipe.errors import shown
from segpipe.evaluation.classification import ClassifiedImages, summarise_images
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.evaluation.summary import summarise
from segpipe.model_evaluation.classification import ImageEvaluation, write_image_evaluation
from segpipe.model_evaluation.description import EvaluatedBy
from segpipe.model_evaluation.evaluate import write_evaluation
from segpipe.model_evaluation.options import Evaluation

FOLDS_SECTION = "Folds"


def pooled(folds: Mapping[str, Evaluation], output: Path) -> Evaluation:
    """Summarise the cases of several folds as one set, and write `metrics.csv`, `summary.json` and `report.html`.

    Args:
        folds: name of a fold -> its evaluation, with the weights that held it out; at least one.
        output: folder of the files.

    Raises:
        SegpipeError: see `segpipe.report.write_report`.
    """
    parts = list(folds.values())
    scores = _pooled_scores([one.scores for one in parts])
    by = _pooled_by(folds, [one.by for one in parts], [one.scores.warnings for one in parts], scores.warnings)
    scans = dict(chain.from_iterable(one.scans.items() for one in parts))
    evaluation = Evaluation(scores, summarise(scores), by.warnings, (), by, scans)
    rows = [(name, _segmented_in_words(one)) for name, one in folds.items()]
    write_evaluation(evaluation, output, [(FOLDS_SECTION, rows)])
    return evaluation


def pooled_images(folds: Mapping[str, ImageEvaluation], output: Path) -> ImageEvaluation:
    """Summarise the images of several folds as one set; see `pooled`.

    Every image has the probabilities and the decision of the weights that held it out, with their own calibration.
    """
    parts = list(folds.values())
    images = _pooled_images([one.images for one in parts])
    summary = summarise_images(images)
    cautions = [list(one.summary.cautions) for one in parts]
    by = _pooled_by(folds, [one.by for one in parts], cautions, summary.cautions)
    reasons = dict(sorted(chain.from_iterable(one.reasons.items() for one in parts)))
    evaluation = ImageEvaluation(images, summary, reasons, by.warnings, (), by)
    rows = [(name, _classified_in_words(one)) for name, one in folds.items()]
    write_image_evaluation(evaluation, output, [(FOLDS_SECTION, rows)])
    return evaluation


def _pooled_scores(parts: Sequence[ScoredCases]) -> ScoredCases:
    reasons = dict(sorted(chain.from_iterable(one.reasons.items() for one in parts)))
    return replace(
        parts[0],
        rows=tuple(sorted((row for one in parts for row in one.rows), key=lambda row: row.case)),
        without_prediction=tuple(sorted(chain.from_iterable(one.without_prediction for one in parts))),
        knows_patients=any(one.knows_patients for one in parts),
        reasons=reasons,
        pairs=dict(sorted(chain.from_iterable(one.pairs.items() for one in parts))),
    )


def _pooled_images(parts: Sequence[ClassifiedImages]) -> ClassifiedImages:
    """Return the images of several sets, sorted by case."""
    cases = [case for one in parts for case in one.cases]
    order = sorted(range(len(cases)), key=cases.__getitem__)

    def texts(name: str) -> tuple[str, ...]:
        found = [text for one in parts for text in getattr(one, name)]
        return tuple(found[place] for place in order) if len(found) == len(order) else ()

    known = any(one.patients is not None for one in parts)
    units = [unit for one in parts for unit in one.drawn]

    def rows(name: str) -> Any:
        found = [getattr(one, name) for one in parts]
        return None if any(one is None for one in found) else np.concatenate(found)[order]

    same = len({one.thresholds for one in parts}) == 1
    return replace(
        parts[0],
        cases=tuple(cases[place] for place in order),
        patients=tuple(units[place] for place in order) if known else None,
        thresholds=parts[0].thresholds if same else None,
        files=texts("files"),
        warnings=texts("warnings"),
        **{name: rows(name) for name in ("probabilities", "present", "decided", "chosen", "before")},
    )


def _pooled_by(
    folds: Iterable[str],
    parts: Sequence[EvaluatedBy],
    of_scores: Sequence[Sequence[str]],
    warnings: Sequence[str],
) -> EvaluatedBy:
    """Return the description of the pooled evaluation.

    Args:
        folds: names of the folds.
        parts: descriptions of each fold's evaluation.
        of_scores: warnings on the scores of each fold alone, which do not hold for all folds.
        warnings: warnings on the scores of all folds.
    """
    overlaps = [one.overlap for one in parts]
    overlap = TrainOverlap(
        total=sum(one.total for one in overlaps),
        **{
            name: tuple(sorted(chain.from_iterable(getattr(one, name) for one in overlaps)))
            for name in ("trained", "patients", "chosen", "unknown")
        },
    )
    further = [
        warning
        for one, own in zip(parts, of_scores, strict=True)
        for warning in one.warnings
        if warning not in own and warning not in one.overlap.warnings()
    ]
    compared = [one.scan_warnings for one in parts if one.scan_warnings is not None]
    names = list(folds)
    numbers = shown((name.removeprefix("fold ") for name in names), most=len(names))
    return replace(
        parts[0],
        records=[record for one in parts for record in one.records],
        overlap=overlap,
        part=EvaluationSplit(
            f"fold {numbers}" if len(names) == 1 else f"folds {numbers}",
            tuple(chain.from_iterable(one.part.cases for one in parts)),
            "each case is scored with the weights that held it out",
        ),
        precisions=tuple(sorted({precision for one in parts for precision in one.precisions})),
        warnings=list(dict.fromkeys([*overlap.warnings(), *further, *warnings])),
        scan_warnings=dict(chain.from_iterable(one.items() for one in compared)) if compared else None,
        expected={},  # a calibration is of the weights of one fold
    )


def _segmented_in_words(evaluation: Evaluation) -> str:
    means = {name: figures["dice"].interval for name, figures in evaluation.summary.by_class.items()}
    of_classes = ", ".join(
        f"{name} {interval.mean:.3f}" for name, interval in means.items() if interval.cases
    )
    return f"{len(evaluation.scores.rows)} cases; Dice {of_classes or 'of no class'}"


def _classified_in_words(evaluation: ImageEvaluation) -> str:
    scores = evaluation.summary.overall
    named = {"accuracy": "accuracy", "macro_auroc": "mean AUROC"}
    values = ", ".join(
        f"{words} {scores[name].value:.3f}"
        for name, words in named.items()
        if name in scores and not np.isnan(scores[name].value)
    )
    return f"{len(evaluation.images.cases)} images; {values or 'no score'}"

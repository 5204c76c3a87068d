"""Results of an evaluation of a classifier, written into the bundle's README and metadata.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.errors import counted
from segpipe.evaluation.classification import ClassificationSummary, ClassifiedImages, Score
from segpipe.evaluation.classification.comparison import TITLES
from segpipe.evaluation.summary import CONFIDENCE
from segpipe.model_evaluation.card import (
    earlier_section,
    filled,
    made_in_words,
    shipped,
    weights_in_words,
    write_results,
)
from segpipe.model_evaluation.description import EvaluatedBy, weights_plain

_OVERALL = ("accuracy", "balanced_accuracy", "macro_auroc", "macro_auprc", "brier", "ece")
_NAMES = ("auroc", "auprc", "sensitivity", "specificity", "ppv", "npv")
_THIS = "this bundle"


def write_image_card(
    by: EvaluatedBy,
    images: ClassifiedImages,
    summary: ClassificationSummary,
    reasons: Mapping[str, str],
    command: str,
) -> list[Path]:
    """Write results into `docs/README.md` and `configs/metadata.json` of a bundle, and replace earlier results.

    The first table has a row for this bundle. Further rows of this table, such as a baseline's, stay as they are.

    Args:
        by: description of the evaluation.
        images: the scored images.
        summary: their scores.
        reasons: case -> why it has no score.
        command: see `segpipe.model_evaluation.card.card_command`.

    Returns:
        The two files.

    Raises:
        SegpipeError: see `segpipe.model_evaluation.card.write_card`.
    """
    kept = other_rows(earlier_section(by.opened.root))
    section = _section(by, images, summary, reasons, kept, command)
    entries = {
        "eval_metrics": _eval_metrics(summary),
        "evaluation": _details(by, images, summary, reasons, command),
    }
    return write_results(by.opened.root, section, entries)


def other_rows(section: str) -> list[str]:
    """Return the rows of other models in the first table of a section, word for word."""
    rows: list[str] = []
    lines = iter(section.splitlines())
    for line in lines:
        if line.startswith("| model |"):
            next(lines, None)  # the line below the heads
            for row in lines:
                if not row.startswith("|"):
                    return rows
                if not row.startswith(f"| {_THIS} |"):
                    rows.append(row)
    return rows


def _section(
    by: EvaluatedBy,
    images: ClassifiedImages,
    summary: ClassificationSummary,
    reasons: Mapping[str, str],
    kept: list[str],
    command: str,
) -> str:
    kind = "class" if images.categories.exclusive else "finding"
    return "\n".join(
        [
            "## Evaluation",
            "",
            *(f"{filled(paragraph)}\n" for paragraph in _paragraphs(by, images, summary, reasons)),
            f"| model | {' | '.join(TITLES[metric] for metric in _OVERALL)} |",
            f"|---|{'---|' * len(_OVERALL)}",
            f"| {_THIS} | {' | '.join(_cell(summary.overall[metric]) for metric in _OVERALL)} |",
            *kept,
            "",
            f"| {kind} | {' | '.join(TITLES[metric] for metric in _NAMES)} | positives |",
            f"|---|{'---|' * len(_NAMES)}---|",
            *(
                f"| {name} | {' | '.join(_cell(one.scores[metric]) for metric in _NAMES)} | "
                f"{one.positives} of {one.images} |"
                for name, one in summary.by_name.items()
            ),
            "",
            f"```bash\n{command}\n```",
        ]
    )


def _paragraphs(
    by: EvaluatedBy, images: ClassifiedImages, summary: ClassificationSummary, reasons: Mapping[str, str]
) -> list[str]:
    whose = "" if summary.patients is None else f" of {counted(summary.patients, 'patient')}"
    drawn = (
        "images are drawn as if each were of another patient, which is not known"
        if summary.patients is None
        else "patients are drawn with all their images"
    )
    lines = [
        f"{by.part_in_words[0].upper()}{by.part_in_words[1:]}: {counted(len(images.cases), 'image')}{whose}. In "
        f"brackets are {CONFIDENCE * 100:g} % intervals (bootstrap; {drawn})."
    ]
    if len(summary.averaged) < images.categories.num:
        lines.append(f"Means over findings or classes are over {', '.join(summary.averaged)}.")
    before = summary.overall.get("ece_before")
    was = "" if before is None else f"; before the temperature it was {before.value:.3f}"
    lines.append(
        f"Perfectly calibrated probabilities would show a calibration error of {summary.floor.mean:.3f} on these "
        f"images{was}."
    )
    if reasons:
        left_out = f"{len(reasons)} of {len(by.part.cases)} images"
        lines.append(f"Not in these figures: {left_out}, which could not be scored; summary.json says why.")
    return [*lines, *weights_in_words(by), *by.warnings, made_in_words(by)]


def _cell(score: Score) -> str:
    if math.isnan(score.value):
        return "-"
    return f"{score.value:.3f}" + (f" ({score.low:.3f} to {score.high:.3f})" if score.is_known else "")


def _eval_metrics(summary: ClassificationSummary) -> dict[str, float]:
    """Return name -> score, as in MONAI's model zoo."""
    scores = {metric: score.value for metric, score in summary.overall.items()}
    for name, one in summary.by_name.items():
        scores |= {f"{name}_{metric}": one.scores[metric].value for metric in _NAMES}
    return {name: round(value, 4) for name, value in scores.items() if math.isfinite(value)}


def _details(
    by: EvaluatedBy,
    images: ClassifiedImages,
    summary: ClassificationSummary,
    reasons: Mapping[str, str],
    command: str,
) -> dict[str, Any]:
    return {
        "manifest": {"name": by.manifest.name, "sha256": by.manifest.sha256},
        "part": by.part.name,
        "cases": len(images.cases),
        "cases_left_out": len(reasons),
        "patients": summary.patients,
        "confidence": CONFIDENCE,
        "intervals": {
            "overall": {metric: _interval(score) for metric, score in summary.overall.items()},
            **{
                name: {metric: _interval(one.scores[metric]) for metric in _NAMES}
                for name, one in summary.by_name.items()
            },
        },
        "calibration_error_if_perfect": round(summary.floor.mean, 4),
        "weights": [{**weights, "in_models": shipped(by, weights)} for weights in weights_plain(by)],
        "precision": list(by.precisions),
        "warnings": list(by.warnings),
        "segpipe": by.program["segpipe"],
        "commit": by.program["commit"],
        "date": by.program["made"][:10],
        "command": command,
    }


def _interval(score: Score) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in score.as_plain().items()}

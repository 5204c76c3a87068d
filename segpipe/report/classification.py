"""The page of an evaluation of classified images: one HTML file that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from segpipe.evaluation.classification import ClassificationSummary, ClassifiedImages, Score
from segpipe.evaluation.classification.calibration_error import BINS, reliability
from segpipe.evaluation.classification.comparison import TITLES
from segpipe.evaluation.classification.curves import name_curves
from segpipe.evaluation.classification.statistics import FEWEST_IMAGES, NAME_METRICS, RESAMPLES
from segpipe.files import write_text
from segpipe.labels import class_color
from segpipe.report.context import ReportContext
from segpipe.report.mistakes import MOST_MISTAKES, MistakesOf, confident_mistakes
from segpipe.report.page import REPORT_FILE
from segpipe.report.rendering import case_table, css_color, render
from segpipe.report.score_charts import curve_chart, reliability_chart, score_histogram

_REASONS_SHOWN = 50
_INK = "var(--accent)"
_HEADLINE = ("accuracy", "balanced_accuracy", "macro_auroc", "ece")
_SHOWN = tuple(metric for metric in NAME_METRICS if metric != "ece_before")


@dataclass(frozen=True)
class Unscored:
    """Images without a score.

    Attributes:
        reasons: case -> why it has no prediction.
        without_reference: predictions without a known truth.
    """

    reasons: Mapping[str, str] = field(default_factory=dict)
    without_reference: Sequence[str] = ()


def write_classification_report(
    images: ClassifiedImages,
    summary: ClassificationSummary,
    folder: Path,
    context: ReportContext,
    unscored: Unscored | None = None,
    title: str = "Evaluation",
) -> None:
    """Write `report.html`.

    Args:
        images: the scored images.
        summary: their scores.
        folder: folder of the page.
        context: texts around the figures.
        unscored: images without a score.
        title: title of the page.
    """
    page = render_classification(title, images, summary, context, unscored or Unscored())
    write_text(folder / REPORT_FILE, page)


def render_classification(
    title: str,
    images: ClassifiedImages,
    summary: ClassificationSummary,
    context: ReportContext,
    unscored: Unscored,
) -> str:
    """Return the page; see `write_classification_report`."""
    exclusive = images.categories.exclusive
    colors = name_colors(images.categories.names)
    galleries = confident_mistakes(images)
    return render(
        "classification.html",
        context,
        title=title,
        exclusive=exclusive,
        images=images,
        summary=summary,
        unscored=unscored,
        reasons=list(unscored.reasons.items())[:_REASONS_SHOWN],
        titles=TITLES,
        headline=[(TITLES[metric], summary.overall[metric]) for metric in _HEADLINE],
        columns=_SHOWN,
        table=[
            (name, colors[name], one, _threshold(images, place))
            for place, (name, one) in enumerate(summary.by_name.items())
        ],
        value=score_text,
        span=span_text,
        confusion=_confusion(images, summary),
        charts=[_charts(images, place, colors[name]) for place, name in enumerate(images.categories.names)],
        reliabilities=_reliabilities(images, summary, colors),
        bins=BINS,
        galleries=galleries,
        colors=colors,
        without_picture=_without_picture(galleries),
        most_mistakes=MOST_MISTAKES,
        fewest=FEWEST_IMAGES,
        resamples=RESAMPLES,
        data=_image_table(images),
    )


def name_colors(names: Sequence[str]) -> dict[str, str]:
    """Return the CSS colour of each class or finding."""
    return {name: css_color(class_color(place)) for place, name in enumerate(names, 1)}


def score_text(score: Score, signed: bool = False) -> str:
    """Return a score as text; a dash where it has no value."""
    return "\u2013" if np.isnan(score.value) else f"{score.value:{'+' if signed else ''}.3f}"


def span_text(score: Score, signed: bool = False) -> str:
    """Return the ends of a score's interval as text; empty where there is none."""
    sign = "+" if signed else ""
    return f"{score.low:{sign}.3f} to {score.high:{sign}.3f}" if score.is_known else ""


def _threshold(images: ClassifiedImages, place: int) -> float | None:
    return None if images.thresholds is None else images.thresholds[place]


def _confusion(images: ClassifiedImages, summary: ClassificationSummary) -> list[dict[str, Any]]:
    if summary.confusion is None:
        return []
    return [
        {
            "name": name,
            "counts": row.tolist(),
            "shares": [count / max(int(row.sum()), 1) for count in row.tolist()],
            "images": int(row.sum()),
        }
        for name, row in zip(images.categories.names, summary.confusion, strict=True)
    ]


def _charts(images: ClassifiedImages, place: int, color: str) -> dict[str, Any]:
    curves = name_curves(images, place)
    present = images.present[:, place]
    probabilities = images.probabilities[:, place]
    histogram = score_histogram(
        probabilities[present == 1], probabilities[present == 0], color, _threshold(images, place)
    )
    drawings: dict[str, Any] = {
        "name": images.categories.names[place],
        "color": color,
        "histogram": histogram,
    }
    if curves is not None:
        roc, precision_recall = curves
        drawings["roc"] = curve_chart(roc, color, ("1 - specificity", "sensitivity"))
        drawings["precision_recall"] = curve_chart(
            precision_recall, color, ("sensitivity (recall)", "PPV (precision)")
        )
    return drawings


def _reliabilities(
    images: ClassifiedImages, summary: ClassificationSummary, colors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the diagrams: of the decided class, or of each finding with a known image."""
    if images.categories.exclusive:
        before = images.confidence_before
        correct = images.correct.astype(np.float64)
        drawing = reliability_chart(
            reliability(images.confidence, correct),
            None if before is None else reliability(before, correct),
            _INK,
        )
        return [
            {"name": "decided class", "scores": summary.overall, "floor": summary.floor, "drawing": drawing}
        ]
    diagrams = []
    for place, (name, one) in enumerate(summary.by_name.items()):
        known = images.known[:, place]
        if known.any():
            present = images.present[known, place]
            before = None if images.before is None else images.before[known, place]
            drawing = reliability_chart(
                reliability(images.probabilities[known, place], present),
                None if before is None else reliability(before, present),
                colors[name],
            )
            diagrams.append({"name": name, "scores": one.scores, "floor": one.floor, "drawing": drawing})
    return diagrams


def _without_picture(galleries: Sequence[MistakesOf]) -> int:
    return sum(mistake.picture is None for group in galleries for mistake in group.shown)


def _image_table(images: ClassifiedImages) -> Markup:
    """Return the table of images: truth, decision and probabilities; of classes the least probable truth first."""
    names = images.categories.names
    words = [{"title": title, "words": True} for title in ("true", "decision")]
    columns: list[dict[str, Any]] = [
        *words,
        *({"title": f"p({name})", "digits": 3, "signed": False} for name in names),
    ]
    rows: list[list[float | str]] = [
        [images.truth_in_words(row), images.decision_in_words(row), *images.probabilities[row].tolist()]
        for row in range(len(images.cases))
    ]
    if images.categories.exclusive:
        columns.insert(2, {"title": "p(true class)", "digits": 3, "signed": False})
        for row, target in enumerate(images.targets.tolist()):
            rows[row].insert(2, float(images.probabilities[row, target]))
    sort_key = (2 if images.patients else 1) + 2
    return case_table(
        images.cases,
        images.patients,
        ["all"],
        columns,
        [rows],
        (sort_key, False) if images.categories.exclusive else (0, False),
    )

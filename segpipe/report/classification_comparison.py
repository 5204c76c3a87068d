"""The page of a comparison of two classifications of the same images, as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from segpipe.evaluation.classification.comparison import (
    BOOTSTRAP,
    DELONG,
    MCNEMAR,
    OVERALL,
    SIGN_FLIP,
    TITLES,
    ClassificationComparison,
    PairedScore,
)
from segpipe.files import write_text
from segpipe.report.charts import MOST_POINTS, Row, against
from segpipe.report.classification import name_colors, score_text, span_text
from segpipe.report.comparison import COMPARISON_FILE, comparison_context, description_warnings
from segpipe.report.context import ReportContext
from segpipe.report.rendering import case_table, render

_HEADLINE = ("accuracy", "macro_auroc")


def write_classification_comparison(
    names: Sequence[str],
    comparison: ClassificationComparison,
    summaries: Sequence[Mapping[str, Any]],
    folder: Path,
) -> Path:
    """Write `comparison.html` and return its path.

    Args:
        names: names of the two models.
        comparison: comparison of the two models.
        summaries: content of each model's `summary.json`; may be empty.
        folder: folder of the page.
    """
    context = comparison_context(
        names, summaries, description_warnings(names, summaries), "Two models on the same images."
    )
    path = folder / COMPARISON_FILE
    write_text(path, _page(names, comparison, context))
    return path


def paired_rows(comparison: ClassificationComparison, name: str) -> list[dict[str, Any]]:
    """Return a row for each metric that both models have.

    Args:
        comparison: comparison of the two models.
        name: class or finding, or `OVERALL`.

    Returns:
        `title` of the metric, `scores` of both models and their `difference` as text with its interval, the `test` with
        its p-value, number of `images`, `direction` of the first model.
    """
    return [_row(score) for score in comparison.scores[name].values() if not np.isnan(score.difference.value)]


def _row(score: PairedScore) -> dict[str, Any]:
    return {
        "metric": score.metric,
        "title": TITLES[score.metric],
        "scores": [(score_text(one), span_text(one)) for one in score.scores],
        "difference": (score_text(score.difference, signed=True), span_text(score.difference, signed=True)),
        "test": f"{score.test}: p = {score.p_value:.2g}" if score.test else "",
        "images": score.images,
        "direction": score.direction,
    }


def _page(names: Sequence[str], comparison: ClassificationComparison, context: ReportContext) -> str:
    first, _ = comparison.images
    colors = name_colors(first.categories.names)
    tests = {score.test for of_name in comparison.scores.values() for score in of_name.values()}
    return render(
        "classification_comparison.html",
        context,
        title=f"{names[0]} against {names[1]}",
        names=names,
        case_word="image",
        cases=first.cases,
        knows_patients=comparison.patients is not None,
        patients=comparison.patients,
        clustered=comparison.clustered,
        delong=DELONG in tests,
        accuracy_test=next((test for test in (MCNEMAR, SIGN_FLIP, BOOTSTRAP) if test in tests), ""),
        headline=[
            (f"{TITLES[metric]}, {name}", score_text(comparison.scores[OVERALL][metric].scores[which]))
            for metric in _HEADLINE
            for which, name in enumerate(names)
        ],
        words=[
            score.in_words(names)
            for of_name in comparison.scores.values()
            for score in of_name.values()
            if score.differs
        ],
        groups=[(name, colors.get(name, ""), paired_rows(comparison, name)) for name in comparison.scores],
        charts=[
            (name, _chart(comparison, place, names, colors[name]))
            for place, name in enumerate(first.categories.names)
        ],
        most_points=MOST_POINTS,
        data=_images(comparison, names),
    )


def _chart(comparison: ClassificationComparison, place: int, names: Sequence[str], color: str) -> Markup:
    """Draw both models' probabilities of a name for the images of which it is true."""
    first, second = comparison.images
    true = first.present[:, place] == 1
    values = [np.where(true, images.probabilities[:, place], np.nan) for images in (first, second)]
    return against(
        Row("", color, values[1]), values[0], [f"probability, {name}" for name in names], first.cases
    )


def _images(comparison: ClassificationComparison, names: Sequence[str]) -> Markup:
    """Return the table of images for each name: both decisions and probabilities, the largest difference first."""
    first, second = comparison.images
    columns: list[dict[str, Any]] = [{"title": "true", "words": True}]
    columns += [{"title": f"decision, {name}", "words": True} for name in names]
    columns += [{"title": f"probability, {name}", "digits": 3, "signed": False} for name in names]
    columns.append({"title": "difference", "digits": 3, "signed": True, "size": True})
    texts = [
        [first.truth_in_words(row), first.decision_in_words(row), second.decision_in_words(row)]
        for row in range(len(first.cases))
    ]
    layers: list[list[list[float | str]]] = []
    for place in range(first.categories.num):
        pair = np.stack([images.probabilities[:, place] for images in (first, second)], axis=1)
        numbers = np.column_stack([pair, pair[:, 0] - pair[:, 1]]).tolist()
        layers.append([[*words, *values] for words, values in zip(texts, numbers, strict=True)])
    patients = first.patients or second.patients
    key_of_difference = (2 if patients else 1) + 5
    return case_table(
        first.cases, patients, first.categories.names, columns, layers, (key_of_difference, True)
    )

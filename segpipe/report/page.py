"""The report of an evaluation: one HTML file that needs no other file and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from segpipe.evaluation.case_scores import MEAN_OF_CLASSES, CaseScores
from segpipe.evaluation.intervals import FEW_PATIENTS
from segpipe.evaluation.metrics import DISTANCES, METRICS
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.evaluation.summary import Figure, Summary
from segpipe.labels import LabelTable
from segpipe.report.charts import MOST_POINTS, Row, agreement, distribution, limits_in_words
from segpipe.report.context import ReportContext
from segpipe.report.example_cases import ExampleCase
from segpipe.report.metrics import METRIC_OF, OF_VOLUMES, SHOWN, Metric
from segpipe.report.rendering import case_table, css_color, embedded_json, mean_text, render
from segpipe.report.viewer import label_colors, niivue

REPORT_FILE = "report.html"


_REASONS_SHOWN = 50
_CHARTED = ("dice", "surface_dice", "hd95_mm", "volume_error_percent")


def render_report(
    title: str,
    scores: ScoredCases,
    summary: Summary,
    cards: Sequence[ExampleCase],
    context: ReportContext,
    without_scan: Sequence[str],
) -> str:
    """Return the page.

    Args:
        title: title of the page.
        scores: scores of the cases.
        summary: summary of the same cases.
        cards: example cases to draw.
        context: texts around the figures.
        without_scan: cases without a scan, whose cards show only label maps.
    """
    cases = CaseScores.of(scores)
    colors = [css_color(target.color) for target in scores.table.targets]
    rows = [*zip(summary.by_class.items(), colors, strict=True), ((MEAN_OF_CLASSES, summary.all_classes), "")]
    has_volumes = bool(np.isfinite(cases.values[:, METRICS.index("volume_error_ml")]).any())
    has_classes, has_ml, has_distances = map(cases.has, ("dice", "reference_ml", "surface_dice"))
    shown = [metric for metric in SHOWN if has_distances or metric.key not in DISTANCES]
    return render(
        "page.html",
        context,
        title=title,
        scores=scores,
        knows_patients=scores.knows_patients,
        reasons=list(scores.reasons.items())[:_REASONS_SHOWN],
        patients=len(set(cases.patients)) if cases.patients else None,
        headline=_headline(summary),
        metrics=shown,
        table=[{"name": name, "figures": figures, "color": color} for (name, figures), color in rows],
        charts=[
            {"title": METRIC_OF[key].title, "drawing": _distribution(cases, key, colors)}
            for key in _CHARTED
            if has_distances or key not in DISTANCES
        ],
        most_points=MOST_POINTS,
        cards=cards,
        legend=[(label.name, css_color(label.color)) for label in scores.table.labels[1:]],
        volumes=has_volumes,
        distances=has_distances,
        few_patients=FEW_PATIENTS,
        measurable=has_ml or not has_classes,  # 2D images have no ml; no class, no distance
        without_scan=without_scan,
        viewer=_viewer(scores.table, cards),
        names=scores.table.names,
        confusion=[
            {"name": name, "voxels": int(row.sum()), "shares": _shares(row)}
            for name, row in zip(scores.table.names, summary.confusion, strict=True)
        ],
        pooled=summary.pooled,
        agreements=_agreements(cases, colors) if has_volumes else [],
        data=_embedded(cases, (*shown, *(OF_VOLUMES if has_volumes else ()))),
        mean=lambda figure, key: mean_text(figure.interval, METRIC_OF[key]),
        span=lambda figure, key: METRIC_OF[key].span(figure.interval),
        png=_png,
    )


def _headline(summary: Summary) -> list[tuple[str, Mapping[str, Figure]]]:
    """Return the figures of up to four classes, and of the mean of classes where there are several."""
    classes = list(summary.by_class.items())
    return classes[:4] + ([(MEAN_OF_CLASSES, summary.all_classes)] if len(classes) > 1 else [])


def _distribution(cases: CaseScores, key: str, colors: Sequence[str]) -> Markup:
    values = cases.values[:, METRICS.index(key)]
    rows = [Row(*entry) for entry in zip(cases.class_names, colors, values.T, strict=True)]
    return distribution(rows, METRIC_OF[key].title)


def _agreements(cases: CaseScores, colors: Sequence[str]) -> list[dict[str, Any]]:
    true, error = (cases.values[:, METRICS.index(key)] for key in ("reference_ml", "volume_error_ml"))
    return [
        {
            "title": name,
            "limits": limits_in_words(error[:, position]),
            "drawing": agreement(Row(name, colors[position], error[:, position]), true[:, position]),
        }
        for position, name in enumerate(cases.class_names)
    ]


def _shares(counts: NDArray[np.int64]) -> list[float | None]:
    """Return a row of the confusion matrix as shares; None where the class has no voxel."""
    total = int(counts.sum())
    return [count / total if total else None for count in counts.tolist()]


def _embedded(cases: CaseScores, metrics: Sequence[Metric]) -> Markup:
    places = [METRICS.index(metric.key) for metric in metrics]
    layers = [*np.moveaxis(cases.values, 2, 0), cases.class_means]
    return case_table(
        cases.cases,
        cases.patients,
        [*cases.class_names, MEAN_OF_CLASSES],
        [metric.column() for metric in metrics],
        [layer[:, places].tolist() for layer in layers],
    )


def _viewer(table: LabelTable, cards: Sequence[ExampleCase]) -> dict[str, Any] | None:
    """Return the content of the viewer that scrolls through the cards' volumes; None without a volume."""
    volumes = [vars(card.volumes) if card.volumes is not None else None for card in cards]
    if not any(volumes):
        return None
    content = {"colors": label_colors(table), "cards": volumes}
    code = niivue()
    if "</script" in code.lower():
        raise AssertionError("NiiVue's code cannot stand in a script element")
    return {
        "code": Markup(code),  # noqa: S704  # NiiVue's code is not escaped
        "data": embedded_json(content),
        "step": max(volume["step"] for volume in volumes if volume),
    }


def _png(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a PNG data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"

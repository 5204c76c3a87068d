"""An evaluation as one HTML file that needs no other and no network."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from segpipe.errors import shown
from segpipe.evaluation.case_scores import MEAN_OF_CLASSES, CaseScores
from segpipe.evaluation.metrics import METRICS
from segpipe.evaluation.scoring import FolderScores
from segpipe.evaluation.summary import Figure, Summary
from segpipe.labels import LabelTable
from segpipe.report.cards import Card
from segpipe.report.charts import MOST_POINTS, Row, agreement, distribution, limits_in_words
from segpipe.report.viewer import label_colors, niivue

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Metric:
    """How a metric is written.

    Attributes:
        key: of `METRICS`.
        title: of its column.
        digits: after the point.
        signed: whether a plus is written.
    """

    key: str
    title: str
    digits: int
    signed: bool = False

    def text(self, value: float) -> str:
        """Return a value."""
        return f"{value:{'+' if self.signed else ''}.{self.digits}f}"


_OF_VOLUMES = (
    Metric("reference_ml", "true volume, ml", 2),
    Metric("volume_error_ml", "volume error, ml", 2, signed=True),
)
_SHOWN = (
    Metric("dice", "Dice", 3),
    Metric("surface_dice", "surface Dice", 3),
    Metric("hd95_mm", "HD95, mm", 2),
    Metric("asd_mm", "ASD, mm", 2),
    Metric("sensitivity", "sensitivity", 3),
    Metric("precision", "precision", 3),
    Metric("volume_error_percent", "volume error, %", 1, signed=True),
    Metric("lesion_f1", "lesion F1", 3),
)
_CHARTED = ("dice", "surface_dice", "hd95_mm", "volume_error_percent")


def render_report(
    title: str,
    scores: FolderScores,
    summary: Summary,
    cards: Sequence[Card],
    about: Mapping[str, str],
    *,
    with_images: bool,
) -> str:
    """Return the page.

    Args:
        title: its head.
        scores: of the cases.
        summary: of the same.
        cards: cases to draw.
        about: what was scored and by what, in words.
        with_images: whether the cards show scans.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    cases = CaseScores.of(scores)
    metric_of = {metric.key: metric for metric in (*_SHOWN, *_OF_VOLUMES)}
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in scores.table.colors[1:]]
    rows = [*zip(summary.by_class.items(), colors, strict=True), ((MEAN_OF_CLASSES, summary.all_classes), "")]
    has_volumes = bool(np.isfinite(cases.values[:, METRICS.index("volume_error_ml")]).any())
    return environment.get_template("page.html").render(
        title=title,
        scores=scores,
        patients=len(set(cases.patients)) if cases.patients else None,
        headline=[(name, figures) for name, figures in _headline(summary)],
        metrics=_SHOWN,
        table=[{"name": name, "figures": figures, "color": color} for (name, figures), color in rows],
        charts=[
            {"title": metric_of[key].title, "drawing": _distribution(cases, key, colors)} for key in _CHARTED
        ],
        most_points=MOST_POINTS,
        cards=cards,
        legend=list(zip(scores.table.foreground_names, colors, strict=True)),
        volumes=has_volumes,
        with_images=with_images,
        viewer=_viewer(scores.table, cards),
        names=scores.table.names,
        confusion=[
            {"name": name, "voxels": int(row.sum()), "shares": _shares(row)}
            for name, row in zip(scores.table.names, summary.confusion, strict=True)
        ],
        pooled=summary.pooled,
        agreements=_agreements(cases, colors) if has_volumes else [],
        about=list(about.items()),
        data=_embedded(cases, (*_SHOWN, *(_OF_VOLUMES if has_volumes else ()))),
        mean=lambda figure, key: _mean(figure, metric_of[key]),
        span=lambda figure, key: _span(figure, metric_of[key]),
        number=lambda value: f"{value:,}".replace(",", "\u202f"),
        percent=lambda share: f"{100 * share:.2f} %",
        png=_png,
        shown=lambda names: shown(names, most=20),
    )


def _headline(summary: Summary) -> list[tuple[str, Mapping[str, Figure]]]:
    """Return up to four classes, and the mean of all where there are several."""
    classes = list(summary.by_class.items())
    return classes[:4] + ([(MEAN_OF_CLASSES, summary.all_classes)] if len(classes) > 1 else [])


def _mean(figure: Figure | Mapping[str, Figure], metric: Metric) -> str:
    own = figure[metric.key] if isinstance(figure, Mapping) else figure
    return metric.text(own.interval.mean) if own.interval.cases else "\u2013"


def _span(figure: Figure, metric: Metric) -> str:
    return f"{metric.text(figure.interval.low)} to {metric.text(figure.interval.high)}"


def _distribution(cases: CaseScores, key: str, colors: Sequence[str]) -> Markup:
    values = cases.values[:, METRICS.index(key)]
    rows = [Row(*own) for own in zip(cases.class_names, colors, values.T, strict=True)]
    return distribution(rows, next(metric.title for metric in _SHOWN if metric.key == key))


def _agreements(cases: CaseScores, colors: Sequence[str]) -> list[dict[str, Any]]:
    true, error = (cases.values[:, METRICS.index(key)] for key in ("reference_ml", "volume_error_ml"))
    return [
        {
            "title": name,
            "said": limits_in_words(error[:, position]),
            "drawing": agreement(Row(name, colors[position], error[:, position]), true[:, position]),
        }
        for position, name in enumerate(cases.class_names)
    ]


def _shares(counts: NDArray[np.int64]) -> list[float | None]:
    """Return the shares of a row of the confusion matrix; None where no voxel is of the class."""
    total = int(counts.sum())
    return [count / total if total else None for count in counts.tolist()]


def _embedded(cases: CaseScores, metrics: Sequence[Metric]) -> Markup:
    """Return what the page's table is made from, as JSON that can stand in a script element."""
    places = [METRICS.index(metric.key) for metric in metrics]
    layers = [*np.moveaxis(cases.values, 2, 0), cases.class_means]
    content = {
        "cases": cases.cases,
        "patients": cases.patients,
        "classes": [*cases.class_names, MEAN_OF_CLASSES],
        "metrics": [{"title": metric.title, "digits": metric.digits} for metric in metrics],
        "values": [[list(map(_embeddable, row)) for row in layer[:, places].tolist()] for layer in layers],
    }
    return _json(content)


def _json(content: Mapping[str, Any]) -> Markup:
    """Return JSON that can stand in a script element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704  # no tag can end the element


def _viewer(table: LabelTable, cards: Sequence[Card]) -> dict[str, Any] | None:
    """Return what scrolls through the cards' volumes; None where there are none."""
    volumes = [vars(card.volumes) if card.volumes is not None else None for card in cards]
    if not any(volumes):
        return None
    content = {"colors": label_colors(table), "cards": volumes}
    code = niivue()
    if "</script" in code.lower():
        raise AssertionError("NiiVue's code cannot stand in a script element")
    return {
        "code": Markup(code),  # noqa: S704  # not ours to escape
        "data": _json(content),
        "step": max(own["step"] for own in volumes if own),
    }


def _embeddable(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return round(value, 5) if math.isfinite(value) else "inf"


def _png(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"

"""SVG charts of a classification: curves with bands, reliability diagrams, histograms of probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from segpipe.evaluation.classification.calibration_error import BINS, Reliability
from segpipe.evaluation.classification.curves import Curve
from segpipe.report.drawing import MARGIN, TOP, Scale, drawing, element, grid, short_number

Array = NDArray[np.float64]
_WIDTH, _HEIGHT = 360, 270
_LEFT = 44
_UNIT = np.array([0.0, 1.0])
_HISTOGRAM_BINS = 20
_SMALLEST_DOT, _LARGEST_DOT = 3.0, 10.0
_LINE = 15  # pixels of a line of text


def curve_chart(curve: Curve, color: str, titles: tuple[str, str]) -> Markup:
    """Draw a curve over 0..1 with its band, and dashed the curve of guessing.

    Args:
        curve: see `segpipe.evaluation.classification.curves`.
        color: CSS colour.
        titles: of the horizontal and the vertical axis.
    """
    across, up, parts = _axes(titles[1])
    is_roc = math.isnan(curve.chance)
    start, end = (0.0, 1.0) if is_roc else (curve.chance, curve.chance)
    parts.append(element("line", x1=across(0), x2=across(1), y1=up(start), y2=up(end), klass="limit"))
    if curve.low.size:
        outline = [*zip(curve.across, curve.high, strict=True)]
        outline += [*zip(curve.across, curve.low, strict=True)][::-1]
        parts.append(element("polygon", points=_points(outline, across, up), fill=color, klass="band"))
    line = [*zip(curve.across.tolist(), curve.value.tolist(), strict=True)]
    line = [(0.0, 0.0), *line] if is_roc else line
    parts.append(element("polyline", points=_points(line, across, up), stroke=color, klass="line"))
    return drawing(parts, across, _HEIGHT, titles[0], _WIDTH)


def reliability_chart(after: Reliability, before: Reliability | None, color: str) -> Markup:
    """Draw the share of true statements over the mean probability of each bin; a larger dot has more images.

    Args:
        after: bins of the calibrated probabilities.
        before: bins before the temperature, drawn hollow; None where not known.
        color: CSS colour of the calibrated probabilities.
    """
    across, up, parts = _axes("share that is true")
    parts.append(element("line", x1=across(0), x2=across(1), y1=up(0), y2=up(1), klass="limit"))
    if before is not None:
        parts += _dots(before, across, up, {"klass": "before"})
    line = [*zip(after.confidence.tolist(), after.share.tolist(), strict=True)]
    parts.append(element("polyline", points=_points(line, across, up), stroke=color, klass="thin"))
    parts += _dots(after, across, up, {"klass": "bar", "fill": color})
    return drawing(parts, across, _HEIGHT, f"mean probability, {BINS} bins", _WIDTH)


def score_histogram(present: Array, absent: Array, color: str, threshold: float | None) -> Markup:
    """Draw how many images have which probability: those of the name in its colour, the others in grey.

    Args:
        present: probabilities of the images of which the name is true.
        absent: probabilities of the other images.
        color: CSS colour.
        threshold: a vertical line; None for no line.
    """
    counts = [np.histogram(values, _HISTOGRAM_BINS, (0, 1))[0] for values in (absent, present)]
    highest = max(int(count.max()) for count in counts)
    across = Scale.of(_UNIT, _LEFT, _WIDTH - MARGIN)
    up = Scale.of(np.array([0.0, math.sqrt(max(highest, 1))]), _HEIGHT - 4, TOP + 20)
    parts = [grid(across, _HEIGHT)]
    parts += [
        element("text", short_number(tick), x=_LEFT - 6, y=up(math.sqrt(tick)) + 4, klass="end")
        for tick in _marks(highest, up)
    ]
    parts.append(element("text", "images, square root scale", x=MARGIN - 8, y=TOP + 8, klass="name"))
    step = (across(1) - across(0)) / _HISTOGRAM_BINS
    for half, count in enumerate(counts):
        look = {"klass": "bar", "fill": color} if half else {"klass": "absent"}
        for number in np.flatnonzero(count).tolist():
            top = up(math.sqrt(count[number]))
            tip = Markup("<title>{} images</title>").format(int(count[number]))
            x = across(0) + step * (number + half / 2)
            parts.append(element("rect", tip, x=x, y=top, width=step / 2 - 0.5, height=up(0) - top, **look))
    if threshold is not None:
        parts.append(
            element(
                "line", x1=across(threshold), x2=across(threshold), y1=TOP + 20, y2=_HEIGHT, klass="limit"
            )
        )
    return drawing(parts, across, _HEIGHT, "probability", _WIDTH)


def _marks(highest: int, up: Scale) -> list[int]:
    """Return the counts at the vertical axis, the largest first, so far apart that their texts do not overlap."""
    marks: list[int] = []
    for power in range(len(str(highest)), -1, -1):
        for mark in (3 * 10**power, 10**power):
            is_apart = not marks or up(math.sqrt(mark)) - up(math.sqrt(marks[-1])) >= _LINE
            if mark <= highest and is_apart and up(0) - up(math.sqrt(mark)) >= _LINE:
                marks.append(mark)
    return [*marks, 0]


def _axes(vertical: str) -> tuple[Scale, Scale, list[Markup]]:
    across = Scale.of(_UNIT, _LEFT, _WIDTH - MARGIN)
    up = Scale.of(_UNIT, _HEIGHT - 4, TOP + 20)
    parts = [grid(across, _HEIGHT)]
    parts += [
        element("text", short_number(tick), x=_LEFT - 6, y=up(tick) + 4, klass="end") for tick in up.ticks
    ]
    parts.append(element("text", vertical, x=MARGIN - 8, y=TOP + 8, klass="name"))
    return across, up, parts


def _dots(bins: Reliability, across: Scale, up: Scale, look: dict[str, str]) -> list[Markup]:
    """Draw a dot for each bin, with its number of images as tooltip."""
    most = math.sqrt(int(bins.images.max(initial=1)))
    dots = []
    for confidence, share, images in zip(
        bins.confidence.tolist(), bins.share.tolist(), bins.images.tolist(), strict=True
    ):
        tip = Markup("<title>{} images: {} true at probability {}</title>").format(
            images, f"{share:.3f}", f"{confidence:.3f}"
        )
        size = _SMALLEST_DOT + (_LARGEST_DOT - _SMALLEST_DOT) * math.sqrt(images) / most
        dots.append(element("circle", tip, cx=across(confidence), cy=up(share), r=size, **look))
    return dots


def _points(pairs: Sequence[tuple[float, float]], across: Scale, up: Scale) -> str:
    return " ".join(f"{across(float(x)):.1f},{up(float(y)):.1f}" for x, y in pairs)

"""SVG charts inside a page: distributions, agreement of volumes, two models case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from segpipe.printable import printable
from segpipe.report.drawing import MARGIN, TOP, WIDTH, Scale, drawing, element, grid, short_number

_ROW = 58
MOST_POINTS = 400  # dots in a row, so that a page of many cases stays small
_LIMITS = 1.96  # limits of agreement, in standard deviations


@dataclass(frozen=True)
class Row:
    """The values of one class in a chart.

    Attributes:
        name: name of the class.
        color: CSS colour.
        values: one value per case; charts leave out values that are not finite.
    """

    name: str
    color: str
    values: NDArray[np.float64]


def distribution(rows: Sequence[Row], unit: str) -> Markup:
    """Draw each case's value as a dot, one row per class, with quartiles and median.

    Args:
        rows: rows from top to bottom.
        unit: unit below the axis.
    """
    finite = [row.values[np.isfinite(row.values)] for row in rows]
    scale = Scale.of(np.concatenate(finite) if finite else np.zeros(0), MARGIN, WIDTH - MARGIN)
    height = TOP + _ROW * len(rows)
    parts = [grid(scale, height)]
    for number, (row, values) in enumerate(zip(rows, finite, strict=True)):
        middle = TOP + _ROW * number + 37
        parts.append(element("text", row.name, x=MARGIN, y=middle - 22, klass="name"))
        if not values.size:
            parts.append(element("text", "no case has a value", x=MARGIN, y=middle + 4, klass="faint"))
            continue
        for place, value in zip(*_spread(values), strict=True):
            parts.append(
                element("circle", cx=scale(value), cy=middle + 11 * place, r=4, fill=row.color, klass="dot")
            )
        low, median, high = np.percentile(values, (25, 50, 75)).tolist()
        parts.append(
            element(
                "rect", x=scale(low), y=middle - 8, width=scale(high) - scale(low), height=16, klass="box"
            )
        )
        parts.append(
            element(
                "line", x1=scale(median), x2=scale(median), y1=middle - 11, y2=middle + 11, klass="median"
            )
        )
    return drawing(parts, scale, height, unit)


def agreement(row: Row, reference: NDArray[np.float64]) -> Markup:
    """Draw predicted minus true volume over the mean of both (Bland & Altman, Lancet 1986).

    Args:
        row: predicted minus true volume of each case, ml.
        reference: true volume of each case, ml.
    """
    kept = np.isfinite(row.values) & np.isfinite(reference)
    error, mean = row.values[kept], reference[kept] + row.values[kept] / 2
    if not error.size:
        return Markup('<p class="faint">No case has a volume.</p>')
    bias, spread = float(error.mean()), float(error.std(ddof=1)) if error.size > 1 else 0.0
    ends = [bias - _LIMITS * spread, bias + _LIMITS * spread]
    across = Scale.of(mean, MARGIN + 44, WIDTH - MARGIN)
    height = 300
    up = Scale.of(np.array([*error, *ends, 0.0]), height - 8, TOP)
    parts = [grid(across, height)]
    parts += [
        element("text", short_number(tick), x=MARGIN + 36, y=up(tick) + 4, klass="end") for tick in up.ticks
    ]
    parts += [
        element("line", x1=across.start, x2=across.end, y1=up(value), y2=up(value), klass=klass)
        for value, klass in ((0.0, "zero"), (bias, "median"), *((end, "limit") for end in ends))
    ]
    chosen = _chosen(error.size)
    for x, y in zip(mean[chosen].tolist(), error[chosen].tolist(), strict=True):
        parts.append(element("circle", cx=across(x), cy=up(y), r=4.5, fill=row.color, klass="dot"))
    return drawing(parts, across, height, "mean of predicted and true volume, ml")


def against(row: Row, other: NDArray[np.float64], names: Sequence[str], cases: Sequence[str]) -> Markup:
    """Draw the second model's value of each case over the first model's, with the line of equal values.

    Args:
        row: values of the second model, such as Dice; the vertical axis.
        other: values of the first model for the same cases; the horizontal axis.
        names: titles of the horizontal and the vertical axis.
        cases: names of the cases, as tooltips.
    """
    kept = np.flatnonzero(np.isfinite(row.values) & np.isfinite(other))
    if not kept.size:
        return Markup('<p class="faint">No case has a value for both models.</p>')
    both = np.concatenate([row.values[kept], other[kept]])
    if np.ptp(both) == 0:
        both = np.append(both, (0, 1))
    height = 380
    across = Scale.of(both, MARGIN + 44, WIDTH - MARGIN)
    up = Scale.of(both, height - 8, TOP + 24)
    ends = (across.ticks[0], across.ticks[-1])
    parts = [grid(across, height)]
    parts += [
        element("text", short_number(tick), x=MARGIN + 36, y=up(tick) + 4, klass="end") for tick in up.ticks
    ]
    parts.append(element("text", f"{names[1]}, upwards", x=MARGIN, y=TOP + 8, klass="name"))
    parts.append(
        element("line", x1=across(ends[0]), x2=across(ends[1]), y1=up(ends[0]), y2=up(ends[1]), klass="limit")
    )
    for number in kept[_chosen(kept.size)].tolist():
        title = Markup("<title>{}: {} against {}</title>").format(
            printable(cases[number]), f"{other[number]:.3f}", f"{row.values[number]:.3f}"
        )
        x, y = across(float(other[number])), up(float(row.values[number]))
        parts.append(element("circle", title, cx=x, cy=y, r=4.5, fill=row.color, klass="dot"))
    return drawing(parts, across, height, names[0])


def limits_in_words(error: NDArray[np.float64]) -> str:
    """Return the bias and the limits of agreement of volumes, in words.

    Args:
        error: predicted minus true volume of each case, ml; values that are not finite are left out.
    """
    kept = error[np.isfinite(error)]
    if kept.size < 2:
        return "too few cases for limits of agreement"
    bias, spread = float(kept.mean()), float(kept.std(ddof=1))
    return (
        f"bias {bias:+.3g} ml, limits of agreement {bias - _LIMITS * spread:+.3g} to "
        f"{bias + _LIMITS * spread:+.3g} ml, {kept.size} cases"
    )


def _spread(values: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Return the offset of each dot across its row, -1..1, so that near dots do not overlap; and the dots' values."""
    ordered = np.sort(values)[_chosen(values.size)]
    golden = (np.arange(len(ordered)) * 0.618) % 1
    return (2 * golden - 1).tolist(), ordered.tolist()


def _chosen(number: int) -> NDArray[np.intp]:
    """Return the indices of the values to draw: all, or `MOST_POINTS` at even steps."""
    return np.unique(np.linspace(0, number - 1, min(number, MOST_POINTS)).round().astype(np.intp))

"""SVG charts inside a page: distributions, agreement of volumes, two models case by case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from segpipe.printable import printable, printable_output

_WIDTH = 640
_ROW, _TOP, _AXIS = 58, 10, 40
MOST_POINTS = 400  # dots in a row, so that a page of many cases stays small
_LIMITS = 1.96  # limits of agreement, in standard deviations
_MARGIN = 16


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
    scale = _Scale.of(np.concatenate(finite) if finite else np.zeros(0), _MARGIN, _WIDTH - _MARGIN)
    height = _TOP + _ROW * len(rows)
    parts = [_grid(scale, height)]
    for number, (row, values) in enumerate(zip(rows, finite, strict=True)):
        middle = _TOP + _ROW * number + 37
        parts.append(_element("text", row.name, x=_MARGIN, y=middle - 22, klass="name"))
        if not values.size:
            parts.append(_element("text", "no case has a value", x=_MARGIN, y=middle + 4, klass="faint"))
            continue
        for place, value in zip(*_spread(values), strict=True):
            parts.append(
                _element("circle", cx=scale(value), cy=middle + 11 * place, r=4, fill=row.color, klass="dot")
            )
        low, median, high = np.percentile(values, (25, 50, 75)).tolist()
        parts.append(
            _element(
                "rect", x=scale(low), y=middle - 8, width=scale(high) - scale(low), height=16, klass="box"
            )
        )
        parts.append(
            _element(
                "line", x1=scale(median), x2=scale(median), y1=middle - 11, y2=middle + 11, klass="median"
            )
        )
    return _drawing(parts, scale, height, unit)


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
    across = _Scale.of(mean, _MARGIN + 44, _WIDTH - _MARGIN)
    height = 300
    up = _Scale.of(np.array([*error, *ends, 0.0]), height - 8, _TOP)
    parts = [_grid(across, height)]
    parts += [
        _element("text", _short(tick), x=_MARGIN + 36, y=up(tick) + 4, klass="end") for tick in up.ticks
    ]
    parts += [
        _element("line", x1=across.start, x2=across.end, y1=up(value), y2=up(value), klass=klass)
        for value, klass in ((0.0, "zero"), (bias, "median"), *((end, "limit") for end in ends))
    ]
    chosen = _chosen(error.size)
    for x, y in zip(mean[chosen].tolist(), error[chosen].tolist(), strict=True):
        parts.append(_element("circle", cx=across(x), cy=up(y), r=4.5, fill=row.color, klass="dot"))
    return _drawing(parts, across, height, "mean of predicted and true volume, ml")


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
    across = _Scale.of(both, _MARGIN + 44, _WIDTH - _MARGIN)
    up = _Scale.of(both, height - 8, _TOP + 24)
    ends = (across.ticks[0], across.ticks[-1])
    parts = [_grid(across, height)]
    parts += [
        _element("text", _short(tick), x=_MARGIN + 36, y=up(tick) + 4, klass="end") for tick in up.ticks
    ]
    parts.append(_element("text", f"{names[1]}, upwards", x=_MARGIN, y=_TOP + 8, klass="name"))
    parts.append(
        _element(
            "line", x1=across(ends[0]), x2=across(ends[1]), y1=up(ends[0]), y2=up(ends[1]), klass="limit"
        )
    )
    for number in kept[_chosen(kept.size)].tolist():
        title = Markup("<title>{}: {} against {}</title>").format(
            printable(cases[number]), f"{other[number]:.3f}", f"{row.values[number]:.3f}"
        )
        x, y = across(float(other[number])), up(float(row.values[number]))
        parts.append(_element("circle", title, cx=x, cy=y, r=4.5, fill=row.color, klass="dot"))
    return _drawing(parts, across, height, names[0])


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


@dataclass(frozen=True)
class _Scale:
    """A linear scale from values to pixels."""

    ticks: tuple[float, ...]
    start: float
    end: float

    @classmethod
    def of(cls, values: NDArray[np.float64], start: float, end: float) -> _Scale:
        """Return a scale whose first and last tick are round numbers around all values."""
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        if high - low < 1e-9 * max(abs(high), 1.0):
            low, high = low - 0.5, high + 0.5
        step = 10 ** math.floor(math.log10((high - low) / 4))
        step *= next(times for times in (1, 2, 5, 10) if (high - low) / (times * step) <= 6)
        numbers = range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
        return cls(tuple(number * step for number in numbers), start, end)

    def __call__(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.start + share * (self.end - self.start)


def _spread(values: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Return the offset of each dot across its row, -1..1, so that near dots do not overlap; and the dots' values."""
    ordered = np.sort(values)[_chosen(values.size)]
    golden = (np.arange(len(ordered)) * 0.618) % 1
    return (2 * golden - 1).tolist(), ordered.tolist()


def _chosen(number: int) -> NDArray[np.intp]:
    """Return the indices of the values to draw: all, or `MOST_POINTS` at even steps."""
    return np.unique(np.linspace(0, number - 1, min(number, MOST_POINTS)).round().astype(np.intp))


def _grid(scale: _Scale, height: float) -> Markup:
    lines = (
        _element("line", x1=scale(tick), x2=scale(tick), y1=_TOP, y2=height, klass="grid")
        + _element("text", _short(tick), x=scale(tick), y=height + 16, klass="middle")
        for tick in scale.ticks
    )
    return Markup("").join(lines)


def _drawing(parts: Sequence[Markup], scale: _Scale, height: float, unit: str) -> Markup:
    label = _element("text", unit, x=(scale.start + scale.end) / 2, y=height + 34, klass="middle")
    box = f"0 0 {_WIDTH} {height + _AXIS:g}"
    return Markup('<svg viewBox="{}" role="img">{}</svg>').format(box, Markup("").join([*parts, label]))


def _element(name: str, text: str = "", *, klass: str, **attributes: float | str) -> Markup:
    attribute_texts = Markup("").join(
        Markup(' {}="{}"').format(key, f"{value:.1f}" if isinstance(value, float) else value)
        for key, value in {"class": klass, **attributes}.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, attribute_texts, printable_output(text))


def _short(value: float) -> str:
    return f"{value:.6g}"

"""SVG histograms inside a page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

_WIDTH, _HEIGHT, _BASE = 260, 110, 88
_MOST_BARS, _WIDEST_BAR, _LOWEST_BAR = 20, 32, 1.5


def histogram(values: Sequence[float], unit: str) -> Markup:
    """Draw a histogram: one bar per value where distinct values are few, else twenty bars of equal width.

    Args:
        values: one value per case.
        unit: unit of the values, for the tooltips of the bars.
    """
    bars = _bars(values)
    most = max(count for *_, count in bars)
    low, high = min(values), max(values)
    step = _WIDTH / len(bars)
    width = min(step - 2, _WIDEST_BAR)
    heights = [max((_BASE - 6) * count / most, _LOWEST_BAR if count else 0) for *_, count in bars]
    drawn = Markup("").join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>').format(
            (position + 0.5) * step - width / 2,
            _BASE - heights[position],
            width,
            heights[position],
            f"{_range(first, last)} {unit}".rstrip() + f": {count} case{'' if count == 1 else 's'}",
        )
        for position, (first, last, count) in enumerate(bars)
    )
    axis = Markup('<line x1="0" x2="{}" y1="{}" y2="{}"/>').format(_WIDTH, _BASE, _BASE)
    places = ((0, "start", low), (_WIDTH, "end", high)) if high > low else ((_WIDTH / 2, "middle", low),)
    ends = Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, _BASE + 16, anchor, f"{value:.4g}")
        for x, anchor, value in places
    )
    return Markup('<svg viewBox="0 0 {} {}" role="img">{}{}{}</svg>').format(
        _WIDTH, _HEIGHT, drawn, axis, ends
    )


def _bars(values: Sequence[float]) -> list[tuple[float, float, int]]:
    """Return first value, last value and number of values of each bar."""
    rounded = np.round(values, 6)
    distinct, counts = np.unique(rounded, return_counts=True)
    if len(distinct) <= 2:
        return [
            (value, value, count) for value, count in zip(distinct.tolist(), counts.tolist(), strict=True)
        ]
    whole = bool((distinct == np.round(distinct)).all())
    span = distinct[-1] - distinct[0]
    if whole:  # each bar covers equally many whole numbers
        width = max(int(np.ceil((span + 1) / _MOST_BARS)), 1)
        edges = np.arange(distinct[0], distinct[-1] + width + 1, width) - 0.5
    else:
        edges = np.linspace(distinct[0], distinct[-1], min(_MOST_BARS, len(distinct)) + 1)
    counted, _ = np.histogram(rounded, edges)
    half = 0.5 if whole else 0.0
    return [
        (first + half, last - half, int(count))
        for first, last, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counted, strict=True)
    ]


def _range(first: float, last: float) -> str:
    return f"{first:.4g}" if first == last else f"{first:.4g} to {last:.4g}"

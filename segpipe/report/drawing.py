"""The elements of SVG charts: scales, grids, axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from segpipe.printable import printable_output

WIDTH = 640
TOP, AXIS = 10, 40
MARGIN = 16


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to pixels.

    Attributes:
        ticks: values at the grid lines, in ascending order.
        start: pixels of the first tick.
        end: pixels of the last tick.
    """

    ticks: tuple[float, ...]
    start: float
    end: float

    @classmethod
    def of(cls, values: NDArray[np.float64], start: float, end: float) -> Scale:
        """Return a scale whose first and last tick are round numbers around all values."""
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        if high - low < 1e-9 * max(abs(high), 1.0):
            low, high = low - 0.5, high + 0.5
        step = 10 ** math.floor(math.log10((high - low) / 4))
        step *= next(times for times in (1, 2, 5, 10) if (high - low) / (times * step) <= 6)
        numbers = range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
        return cls(tuple(number * step for number in numbers), start, end)

    def __call__(self, value: float) -> float:
        """Return the pixels of a value."""
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.start + share * (self.end - self.start)


def grid(scale: Scale, height: float) -> Markup:
    """Draw the vertical lines of a horizontal scale, down to a height, with the numbers below."""
    lines = (
        element("line", x1=scale(tick), x2=scale(tick), y1=TOP, y2=height, klass="grid")
        + element("text", short_number(tick), x=scale(tick), y=height + 16, klass="middle")
        for tick in scale.ticks
    )
    return Markup("").join(lines)


def drawing(parts: Sequence[Markup], scale: Scale, height: float, unit: str, width: int = WIDTH) -> Markup:
    """Join elements to a drawing with an axis title.

    Args:
        parts: the elements.
        scale: the horizontal scale.
        height: pixels down to the horizontal axis.
        unit: title of the horizontal axis.
        width: pixels of the drawing.
    """
    label = element("text", unit, x=(scale.start + scale.end) / 2, y=height + 34, klass="middle")
    box = f"0 0 {width} {height + AXIS:g}"
    return Markup('<svg viewBox="{}" role="img">{}</svg>').format(box, Markup("").join([*parts, label]))


def element(name: str, text: str = "", *, klass: str, **attributes: float | str) -> Markup:
    """Return an SVG element with escaped text.

    Args:
        name: name of the element.
        text: its content.
        klass: its class, see frame.html.
        attributes: further attributes; floats get one digit after the point.
    """
    attribute_texts = Markup("").join(
        Markup(' {}="{}"').format(key, f"{value:.1f}" if isinstance(value, float) else value)
        for key, value in {"class": klass, **attributes}.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, attribute_texts, printable_output(text))


def short_number(value: float) -> str:
    """Return a number with at most six digits."""
    return f"{value:.6g}"

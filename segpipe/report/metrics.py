"""The display of metrics on pages: titles, digits, and which metrics are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from segpipe.evaluation.intervals import Interval


@dataclass(frozen=True)
class Metric:
    """The display of a metric.

    Attributes:
        key: name in `segpipe.evaluation.metrics.METRICS`.
        title: title of the column.
        digits: number of digits after the point.
        signed: whether positive values have a plus.
    """

    key: str
    title: str
    digits: int
    signed: bool = False

    def text(self, value: float) -> str:
        """Return a value as text; a dash for a value that is not finite."""
        return f"{value:{'+' if self.signed else ''}.{self.digits}f}" if math.isfinite(value) else "\u2013"

    def span(self, interval: Interval) -> str:
        """Return the ends of a known interval as text."""
        return f"{self.text(interval.low)} to {self.text(interval.high)}"

    def column(self, **more: Any) -> dict[str, Any]:
        """Return the column's entry for the page's table of cases; `more` adds or replaces entries."""
        return {"title": self.title, "digits": self.digits, "signed": self.signed, **more}


OF_VOLUMES = (
    Metric("reference_ml", "true volume, ml", 2),
    Metric("volume_error_ml", "volume error, ml", 2, signed=True),
)
SHOWN = (
    Metric("dice", "Dice", 3),
    Metric("surface_dice", "surface Dice", 3),
    Metric("hd95_mm", "HD95, mm", 2),
    Metric("asd_mm", "ASD, mm", 2),
    Metric("sensitivity", "sensitivity", 3),
    Metric("precision", "precision", 3),
    Metric("volume_error_percent", "volume error, %", 1, signed=True),
    Metric("lesion_f1", "lesion F1", 3),
)
METRIC_OF = {metric.key: metric for metric in (*SHOWN, *OF_VOLUMES)}

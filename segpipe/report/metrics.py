"""How metrics are written for people: titles, digits, which of them are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from segpipe.evaluation.intervals import Interval


@dataclass(frozen=True)
class Metric:
    """How a metric is written.

    Attributes:
        key: of `segpipe.evaluation.metrics.METRICS`.
        title: of its column.
        digits: after the point.
        signed: whether a plus is written.
    """

    key: str
    title: str
    digits: int
    signed: bool = False

    def text(self, value: float) -> str:
        """Return a value; a dash for what is none."""
        return f"{value:{'+' if self.signed else ''}.{self.digits}f}" if math.isfinite(value) else "\u2013"

    def span(self, interval: Interval) -> str:
        """Return the ends of an interval that is known."""
        return f"{self.text(interval.low)} to {self.text(interval.high)}"

    def column(self, **more: Any) -> dict[str, Any]:
        """Return what the page's table of cases has to know of it, with or in place of more."""
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

"""A score with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A score of many images, with its bootstrap interval over patients.

    Attributes:
        value: the score; nan where it has no value.
        low, high: ends of the 95 % interval; nan where there is none.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    def as_plain(self) -> dict[str, float | None]:
        """Return the score in JSON's types; nan becomes None."""
        return {name: value if math.isfinite(value) else None for name, value in vars(self).items()}

"""Whether the channels of a scan fit the training cases better in another order."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from segpipe.reference_ranges.measure_kinds import kind_of

_OF_CHANNEL = re.compile(r"(.*), channel (\d+)")
_MOST_ORDERED = 5  # channels whose orders are all tried
_FAR = 0.4  # distance in half widths of the intervals, above which another order is tried
_BETTER = 0.5  # share of this distance that the right order may have
_FARTHEST = 3.0  # half widths; a measure that is farther off counts as this


def swapped_channels(
    values: Mapping[str, float], limits: Mapping[str, tuple[float, float]], channels: Sequence[str]
) -> list[str]:
    """Return a warning if the channels' measures fit the limits much better in another order; else nothing.

    Args:
        values: measures of a scan.
        limits: measure -> its lowest and highest usual value, on the kind's scale.
        channels: names of the channels, for the text; empty: their numbers.
    """
    of_channel: dict[int, dict[str, float]] = defaultdict(dict)
    for name, value in values.items():
        if (match := _OF_CHANNEL.fullmatch(name)) and name in limits and math.isfinite(value):
            of_channel[int(match[2])][match[1]] = value
    stored = tuple(sorted(of_channel))
    if not 1 < len(stored) <= _MOST_ORDERED:
        return []

    def distance(order: Sequence[int]) -> float:
        """Return the root mean square distance of the measures from the middle of their limits, in half widths."""
        squares = [
            min(_distance(f"{name}, channel {channel}", value, limits), _FARTHEST) ** 2
            for channel, source in zip(stored, order, strict=True)
            for name, value in of_channel[source].items()
            if f"{name}, channel {channel}" in limits
        ]
        return math.sqrt(sum(squares) / max(len(squares), 1))

    as_stored = distance(stored)
    nearest, best = min((distance(order), order) for order in itertools.permutations(stored))
    if as_stored < _FAR or nearest > as_stored * _BETTER:
        return []
    right = [stored[best.index(source)] for source in stored]  # the channel that each stored image is
    as_given, as_trained = (
        ", ".join(channels[at] if channels else f"channel {at}" for at in order) for order in (stored, right)
    )
    times = as_stored / max(nearest, 0.01)
    return [
        f"its channels look swapped: taken as {as_given}, their measures lie {times:.3g} times as far from the "
        f"training cases' as taken as {as_trained}"
    ]


def _distance(name: str, value: float, limits: Mapping[str, tuple[float, float]]) -> float:
    low, high = limits[name]
    return abs(kind_of(name).scale(value) - (low + high) / 2) / ((high - low) / 2)

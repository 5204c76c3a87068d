"""Checks the numbers of an experiment: kind, range, and one for each axis of the network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segpipe.configuration.finding import ConfigFinding
from segpipe.configuration.values import UNKNOWN, Values

_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True)
class _Rule:
    """The numbers that an id may have.

    Attributes:
        text: the rule, for messages.
        lowest, highest: range; both ends belong to it.
        is_whole: only whole numbers.
        is_open: the lowest value is no longer allowed.
        for_axes: a list with a number for each axis.
        may_be_null: an axis may have null, such as the slice axis of a network that takes slices.
    """

    text: str
    lowest: float = -math.inf
    highest: float = math.inf
    is_whole: bool = False
    is_open: bool = False
    for_axes: bool = False
    may_be_null: bool = False

    def allows(self, value: Any) -> bool:
        """Return whether one number is in the range."""
        if value is None:
            return self.may_be_null
        if isinstance(value, bool) or not isinstance(value, int if self.is_whole else int | float):
            return False
        return (self.lowest < value if self.is_open else self.lowest <= value) and value <= self.highest


_COUNT = _Rule("a whole number of at least 1", 1, is_whole=True)
_COUNT_OR_0 = _Rule("a whole number of at least 0", 0, is_whole=True)
_ABOVE_0 = _Rule("a number above 0", 0, 1e9, is_open=True)
_AT_LEAST_0 = _Rule("a number of at least 0", 0, 1e9)
_SIZE = _Rule("a whole number of at least 1 for each axis", 1, is_whole=True, for_axes=True)
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("epochs", "batch_size", "val_interval", "patches_per_case"), _COUNT),
    **dict.fromkeys(("num_workers", "patience", "seed", "freeze_epochs"), _COUNT_OR_0),
    **dict.fromkeys(("learning_rate", "taken_rate"), _ABOVE_0),
    **dict.fromkeys(("weight_decay", "dice_weight", "weight_power", "noise"), _AT_LEAST_0),
    "overlap": _Rule("a number of at least 0 and below 1", 0, math.nextafter(1, 0)),
    "dropout": _Rule("a number of at least 0 and below 1", 0, math.nextafter(1, 0)),
    **dict.fromkeys(("patch_size", "window_size", "slice_size"), _SIZE),
    "spacing_mm": _Rule(
        "a number above 0, or null, for each axis", 0, 1e4, is_open=True, for_axes=True, may_be_null=True
    ),
}


def number_findings(values: Values) -> Iterator[ConfigFinding]:
    """Find numbers of segpipe's bundles that no training or inference can use.

    Only values that are known without running code are judged; null is left to the component that takes it.

    Args:
        values: of the configuration.
    """
    axes = values.of(values.at("network_def::spatial_dims"))
    for identifier, rule in _RULES.items():
        if not values.has(identifier):
            continue
        value = values.of(values.at(identifier))
        if value is UNKNOWN or value is None or _is_reported(value):
            continue
        if not rule.for_axes:
            is_wrong = not rule.allows(value)
        elif not isinstance(value, list):
            is_wrong = True
        else:
            is_wrong = not value or not all(map(rule.allows, value))
            if not is_wrong and isinstance(axes, int) and len(value) < axes:
                yield ConfigFinding(
                    identifier,
                    f"is {_shown(value)}, but the network has {axes} axes; give one number for each",
                )
        if is_wrong:
            yield ConfigFinding(identifier, f"is {_shown(value)}, must be {rule.text}")


def _is_reported(value: Any) -> bool:
    """Return whether `segpipe.configuration.references` already reports the value, a text."""
    if not isinstance(value, str):
        return False
    if "@" in value:
        return True
    try:
        float(value)
    except ValueError:
        return value.lower() in ("true", "false")
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

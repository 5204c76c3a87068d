"""Finds chains of transforms that interpolate class numbers, so that files would hold fractions of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from monai.transforms import (
    Affined,
    AsDiscreted,
    Invertd,
    Resized,
    Rotated,
    Spacingd,
    SpatialResampled,
    Zoomd,
)

from segpipe.configuration.components import Targets
from segpipe.configuration.finding import ConfigFinding, written
from segpipe.configuration.references import contents
from segpipe.configuration.values import UNKNOWN, Values
from segpipe.transforms import SplineSpacingd

INTERPOLATES = (Affined, Resized, Rotated, Spacingd, SpatialResampled, SplineSpacingd, Zoomd)
"""Transforms whose inverse interpolates."""
_DECIDES = ("argmax", "threshold", "rounding")


def chain_findings(
    configuration: Mapping[str, Any], values: Values, targets: Targets
) -> Iterator[ConfigFinding]:
    """Find `Invertd` that interpolates linearly after `AsDiscreted` has decided on classes.

    Class numbers are then averaged between neighbours: 1.5 lies between class 1 and 2. A later `AsDiscreted` does not
    count, and neither does a chain whose inverse interpolates nothing.

    Args:
        configuration: without the metadata.
        values: of it.
        targets: for the classes of components.
    """
    for identifier, value in contents(configuration):
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            yield from _in_chain(identifier, value, values, targets)


def _in_chain(
    identifier: str, steps: Sequence[Mapping[str, Any]], values: Values, targets: Targets
) -> Iterator[ConfigFinding]:
    kinds = [targets.find(step.get("_target_")) for step in steps]
    for place, (kind, step) in enumerate(zip(kinds, steps, strict=True)):
        if kind is not Invertd or _disabled(step, values):
            continue
        for key in _texts(step.get("keys"), values):
            deciding = [
                number
                for number, (other, its) in enumerate(zip(kinds, steps, strict=True))
                if other is AsDiscreted and not _disabled(its, values) and _decides(its, key, values)
            ]
            decided = [number for number in deciding if number < place]
            if (
                decided
                and not any(number > place for number in deciding)
                and _of_key(step, "nearest_interp", key, values) is False
                and _interpolates(f"{identifier}::{place}::transform", values, targets)
            ):
                yield ConfigFinding(
                    f"{identifier}::{place}",
                    f"interpolates the class numbers of {key}, which {written(f'{identifier}::{decided[-1]}')} has "
                    "decided: labels become fractions, such as 1.5; write nearest_interp: True, or put Invertd "
                    "before AsDiscreted",
                )
                break


def _disabled(step: Mapping[str, Any], values: Values) -> bool:
    return values.of(step.get("_disabled_", False)) is not False


def _decides(step: Mapping[str, Any], key: str, values: Values) -> bool:
    """Return whether an AsDiscreted makes class numbers, or 0 and 1, of a key."""
    if key not in _texts(step.get("keys"), values):
        return False
    return any(_of_key(step, name, key, values) not in (None, False, UNKNOWN) for name in _DECIDES)


def _of_key(step: Mapping[str, Any], name: str, key: str, values: Values) -> Any:
    """Return an argument of a transform for one of its keys; a list has a value a key."""
    value = values.of(step.get(name))
    if isinstance(value, list):
        keys = _texts(step.get("keys"), values)
        return value[keys.index(key)] if len(value) == len(keys) else UNKNOWN
    return value


def _texts(value: Any, values: Values) -> list[str]:
    """Return the keys of a transform; empty if they are not known."""
    known = values.of(value)
    named = [known] if isinstance(known, str) else known if isinstance(known, list) else []
    return [name for name in named if isinstance(name, str)]


def _interpolates(identifier: str, values: Values, targets: Targets) -> bool:
    """Return whether a chain of transforms is known to interpolate, so that its inverse does."""
    chain, _ = values.written_at(identifier)
    steps = values.listed(f"{chain}::transforms")
    kinds = [targets.find(step.get("_target_")) for _, step in steps or () if isinstance(step, dict)]
    return any(isinstance(kind, type) and issubclass(kind, INTERPOLATES) for kind in kinds)

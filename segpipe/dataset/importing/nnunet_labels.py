"""The classes in nnU-Net's dataset.json: name -> value, name -> [value], or regions of several values; ignore."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.errors import SegpipeError
from segpipe.labels import IGNORE, same_name
from segpipe.regions import NamedRegion

_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class NamedLabels:
    """The classes and regions of a data set.

    Attributes:
        names: stored value -> class name, ascending; the value to ignore has the name `ignore`.
        regions: unions of classes, in the order in which they are written; empty where the classes exclude each other.
    """

    names: dict[int, str]
    regions: tuple[NamedRegion, ...] = ()


def nnunet_labels(labels: Any, where: Path, order: Any = None) -> NamedLabels:
    """Read the entries `labels` and `regions_class_order` of nnU-Net's dataset.json.

    A list of one value counts as that value. Where a list has several values, all names but those of the background and
    of `ignore` are regions; a class that is no region by itself is named after its value. An object of value -> name,
    the Decathlon's form, is accepted where no name is a number.

    Args:
        labels: name -> value, a number, a text or a list of numbers or texts.
        where: path of the dataset.json, for messages.
        order: the value that each region is written as, in the order of the regions; None: it follows from the regions.

    Raises:
        SegpipeError: the entry has another form, two names have one value, or the order does not fit the regions.
    """
    if not isinstance(labels, Mapping) or not labels:
        raise SegpipeError(f"{where}: labels must be an object of name: value, as nnU-Net has it")
    if all(map(_is_number, labels)) and all(
        isinstance(name, str) and not _is_number(name) for name in labels.values()
    ):
        return NamedLabels({int(value): labels[value] for value in sorted(labels, key=int)})
    values_of = {name: _values(name, stored, where) for name, stored in labels.items()}
    names: dict[int, str] = {}
    for name, values in values_of.items():
        if len(values) > 1 and same_name(name) in ("background", IGNORE):
            raise SegpipeError(f"{where}: labels: {name} has the values {values}; give it one")
        if len(values) == 1 and names.setdefault(values[0], name) != name:
            raise SegpipeError(
                f"{where}: labels: {names[values[0]]} and {name} both have the value {values[0]}; name each once"
            )
    every = sorted({value for values in values_of.values() for value in values})
    if not any(len(values) > 1 for values in values_of.values()):
        return NamedLabels({value: names[value] for value in every})
    names = {value: names.get(value, f"label {value}") for value in every}
    regions = {
        name: values
        for name, values in values_of.items()
        if same_name(name) not in ("background", IGNORE) and values != [0]
    }
    written: list[Any] = [None] * len(regions) if order is None else order
    if not isinstance(written, list) or len(written) != len(regions):
        raise SegpipeError(
            f"{where}: regions_class_order is {order!r:.80}, must be a list with one value for each of the "
            f"{len(regions)} regions ({', '.join(regions)})"
        )
    unknown = [value for value in written if value is not None and value not in names]
    if unknown:
        raise SegpipeError(
            f"{where}: regions_class_order has {unknown[0]!r:.80}, which is the value of no region"
        )
    return NamedLabels(
        names,
        tuple(
            NamedRegion(name, tuple(names[value] for value in values), "" if value is None else names[value])
            for (name, values), value in zip(regions.items(), written, strict=True)
        ),
    )


def _values(name: str, stored: Any, where: Path) -> list[int]:
    """Return the distinct values of a name, in the order of the file."""
    values: list[Any] = stored if isinstance(stored, list) else [stored]
    if not values or not all(map(_is_number, values)):
        raise SegpipeError(
            f"{where}: labels: {name} has the value {stored!r:.80}, must be a whole number; write name: value"
        )
    return list(dict.fromkeys(int(value) for value in values))


def _is_number(stored: object) -> bool:
    """Return whether a number or a text is a whole number; 1.0 is."""
    if isinstance(stored, str):
        return _WHOLE.fullmatch(stored) is not None
    return isinstance(stored, int | float) and not isinstance(stored, bool) and stored % 1 == 0

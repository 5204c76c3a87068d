"""The classes in nnU-Net's dataset.json: name -> value, name -> [value], or regions of several values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.errors import SegpipeError, shown

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_IGNORED = "ignore"
_OPTIONS_SHOWN = 16


def nnunet_labels(labels: Any, where: Path) -> tuple[dict[int, str] | None, str]:
    """Read the entry `labels` of nnU-Net's dataset.json.

    A list of one value counts as that value. An object of value -> name, the Decathlon's form, is accepted where no
    name is a number.

    Args:
        labels: name -> value, a number, a text or a list of numbers or texts.
        where: path of the dataset.json, for messages.

    Returns:
        Stored value -> class name, ascending, and an empty text; or None and the reason why a manifest cannot have
        these classes, with the options that name each value instead.

    Raises:
        SegpipeError: the entry has another form, or two names have one value.
    """
    if not isinstance(labels, Mapping) or not labels:
        raise SegpipeError(f"{where}: labels must be an object of name: value, as nnU-Net has it")
    if all(map(_is_number, labels)) and all(
        isinstance(name, str) and not _is_number(name) for name in labels.values()
    ):
        return {int(value): labels[value] for value in sorted(labels, key=int)}, ""
    values_of = {name: _values(name, stored, where) for name, stored in labels.items()}
    ignored = values_of.pop(_IGNORED, None)
    regions = [name for name, values in values_of.items() if len(values) > 1]
    names: dict[int, str] = {}
    for name, (value, *others) in values_of.items():
        other = names.setdefault(value, name) if not others else name
        if other != name:
            raise SegpipeError(
                f"{where}: labels: {other} and {name} both have the value {value}; name each once"
            )
    names = dict(sorted(names.items()))
    if regions:
        every = sorted({value for values in values_of.values() for value in values})
        texts = shown((f"{name} is {values_of[name]}" for name in regions), "; ")
        return None, (
            f"{where}: labels: {texts}. A region joins several stored values, but the classes of a manifest exclude "
            f"each other: name each stored value with {_options(every, names)}"
        )
    if ignored is not None:
        return None, (
            f"{where}: labels: ignore is {ignored[0]}: nnU-Net does not learn from voxels of that value, and a "
            f"manifest cannot say so. Give them a class with {_options([*names, *ignored], names)}, or remove the "
            "cases that have any"
        )
    return names, ""


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


def _options(values: list[int], names: Mapping[int, str]) -> str:
    return shown((f"--class '{value}={names.get(value, 'NAME')}'" for value in values), " ", _OPTIONS_SHOWN)

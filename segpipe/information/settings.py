"""Values of a configuration that are plain, or refer to plain values; nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe.documents import LARGEST_CONFIGURATION, DocumentError, parse_json, parse_yaml, read_document
from segpipe.errors import SegpipeError
from segpipe.information.facts import Settings

_REFERENCE = re.compile(r"@([\w:#]+)")
_LONGEST_CHAIN = 8  # references that lead from one to the next
_SPACING = ("Spacingd", "Spacing")
_RANGE = ("ScaleIntensityRanged", "ScaleIntensityRange", "CTIntensityd")
_INFERERS = ("SlidingWindowInferer", "SlidingWindowInfererAdapt", "SliceInferer")
_CHAINS = ("deterministic_transforms", "preprocessing")
_OF_TRAINING = (
    *("epochs", "batch_size", "learning_rate", "patch_size", "image_size", "seed", "precision"),
    *("network_def", "conv", "attention", "sampling", "loss", "optimizer"),
)


def read_configuration(files: Sequence[Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of configuration files; a later file's id, and then an override, replaces an earlier one.

    Args:
        files: YAML or JSON.
        overrides: id -> value.

    Raises:
        SegpipeError: a file cannot be read, or is no mapping.
    """
    merged: dict[str, Any] = {}
    for path in files:
        try:
            text = read_document(path, LARGEST_CONFIGURATION)
            content = parse_json(text) if path.suffix == ".json" else parse_yaml(text)[1]
        except DocumentError as error:
            raise SegpipeError(f"{path}: {error.reason}") from error
        if not isinstance(content, dict):
            raise SegpipeError(f"{path}: is no mapping of ids; give a configuration file of the bundle")
        merged |= content
    return merged | dict(overrides)


def settings_of(
    configuration: Mapping[str, Any], steps: Sequence[Mapping[str, Any]] | None = None
) -> Settings:
    """Return what a configuration says of the input.

    Args:
        configuration: content of its files.
        steps: the transforms before the network, if a record has them; None: those of the configuration.
    """
    chain = list(_steps_in(configuration)) if steps is None else list(steps)
    spacing = window = None
    for step in chain:
        name = _class_name(step)
        if name in _SPACING and spacing is None:
            spacing = _numbers(resolved(configuration, step.get("pixdim")))
        if name in _RANGE and window is None:
            window = _range(configuration, step)
    sizes = [
        _numbers(resolved(configuration, part.get("roi_size")))
        for part in _parts(configuration)
        if _class_name(part) in _INFERERS
    ]
    size = next((size for size in sizes if size), None)
    return Settings(
        spacing_mm=spacing,
        intensity_window=window,
        window_size=None if size is None else tuple(map(int, size)),
        steps=tuple(filter(None, map(_class_name, chain))),
    )


def training_settings(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return id -> value of what a training's configuration says of it; of a component its class's name."""
    found = {}
    for name in _OF_TRAINING:
        value = resolved(configuration, configuration.get(name))
        if isinstance(value, Mapping):
            value = _class_name(value) or None
        if value is not None and not (isinstance(value, str) and value.startswith("$")):
            found[name.removesuffix("_def")] = value
    return found


def resolved(configuration: Mapping[str, Any], value: Any) -> Any:
    """Return a value, or the value that a reference `@id` leads to; None if there is no plain one."""
    for _ in range(_LONGEST_CHAIN):
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return value
        value = configuration
        for part in re.split("::|#", match[1]):
            value = value.get(part) if isinstance(value, Mapping) else None
    return None


def _steps_in(configuration: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the transforms of the first chain that the configuration has, in order."""
    for name in _CHAINS:
        steps = [part for part in _parts(configuration.get(name)) if _class_name(part) not in ("", "Compose")]
        if steps:
            yield from steps
            return


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping in a value, from outside to inside, in order."""
    if isinstance(value, Mapping):
        yield value
        for part in value.values():
            yield from _parts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _parts(part)


def _range(configuration: Mapping[str, Any], step: Mapping[str, Any]) -> tuple[float, float] | None:
    ends = resolved(configuration, step.get("window_hu"))
    if ends is None:
        ends = [resolved(configuration, step.get(name)) for name in ("a_min", "a_max")]
    numbers = _numbers(ends)
    return (numbers[0], numbers[1]) if numbers is not None and len(numbers) == 2 else None


def _class_name(part: Mapping[str, Any]) -> str:
    return str(part.get("_target_") or "").rpartition(".")[2]


def _numbers(value: Any) -> tuple[float, ...] | None:
    """Return a list of numbers as a tuple; None for anything else."""
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in value):
        return None
    return tuple(value)

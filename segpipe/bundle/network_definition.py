"""The form of a network in a configuration: its class, dimensions and strides, without creating it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNET, SEGNET, DYNUNET = "segpipe.networks.UNet", "segpipe.networks.SegNet", "monai.networks.nets.DynUNet"


@dataclass(frozen=True)
class NetworkDefinition:
    """A network in a configuration, as far as its values are plain.

    Attributes:
        target: dotted name of its class.
        dims: 2 or 3; None where not known.
        strides: downsampling of each level along each axis; None where not known.
        arguments: argument -> value, without those that are expressions.
    """

    target: str
    dims: int | None
    strides: tuple[tuple[int, ...], ...] | None
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.target.rpartition(".")[2]

    @property
    def shown_strides(self) -> str:
        """The strides as a configuration has them: one number a level where all axes are equal."""
        levels = [str(level[0]) if len(set(level)) == 1 else str(list(level)) for level in self.strides or ()]
        return f"[{', '.join(levels)}]"


def network_definition(configuration: Mapping[str, Any]) -> NetworkDefinition | None:
    """Return the form of `network_def`; None where a configuration does not describe it.

    Args:
        configuration: with ids and references, as in the sidecar of weights or in a running parser.
    """
    definition = configuration.get("network_def")
    while isinstance(definition, Mapping) and isinstance(definition.get("network"), Mapping):
        definition = definition["network"]  # a function that returns the network with weights
    if not isinstance(definition, Mapping) or not isinstance(definition.get("_target_"), str):
        return None
    target = definition["_target_"]
    arguments = {
        name: value
        for name, written in definition.items()
        if name != "_target_" and _is_plain(value := _resolved(written, configuration))
    }
    dims = arguments.get("spatial_dims", 2 if target in (UNET, SEGNET) else None)
    dims = dims if dims in (2, 3) else None
    return NetworkDefinition(target, dims, _strides(target, arguments, dims), arguments)


def _resolved(written: Any, configuration: Mapping[str, Any]) -> Any:
    """Return the value that a reference to an id at the top of the configuration means; else the value itself."""
    while isinstance(written, str) and written.startswith("@") and written[1:] in configuration:
        written = configuration[written[1:]]
    return written


def _is_plain(value: Any) -> bool:
    return not (isinstance(value, str) and value.startswith(("@", "$")))


def _strides(
    target: str, arguments: Mapping[str, Any], dims: int | None
) -> tuple[tuple[int, ...], ...] | None:
    written = arguments.get("strides")
    if written is None and target == UNET and isinstance(arguments.get("widths"), Sequence):
        written = [2] * (len(arguments["widths"]) - 1)
    if written is None and target == SEGNET and isinstance(arguments.get("stages"), Sequence):
        written = [2] * len(arguments["stages"])
    return per_axis(written, dims)


def per_axis(levels: Any, dims: int | None) -> tuple[tuple[int, ...], ...] | None:
    """Return one whole number an axis for each level; None where the levels are no such list.

    Args:
        levels: one number a level, or a list with one number an axis.
        dims: number of axes; None: not known.
    """
    if dims is None or not isinstance(levels, list | tuple):
        return None
    expanded = [[level] * dims if isinstance(level, int) else level for level in levels]
    for level in expanded:
        whole = isinstance(level, list | tuple) and all(isinstance(one, int) for one in level)
        if not whole or len(level) != dims:
            return None
    return tuple(tuple(level) for level in expanded)

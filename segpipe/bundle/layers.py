"""The layers of a bundle's network, with their outputs and numbers of parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segpipe.bundle.opening import admitted_bundle, bundle_files, made
from segpipe.bundle.running import in_one_message
from segpipe.bundle.source import BundleSource
from segpipe.bundle.trained_layers import freeze_as_trained
from segpipe.errors import SegpipeError
from segpipe.information.reading import network_input


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        name: path of the module in the network.
        kind: class of the module.
        outputs: shape of each tensor that the layer returns, without the batch axis; empty if the layer was not called.
        parameters: number of the layer's own parameters, without those of layers inside it.
        trained: number of these that require gradients; of a bundle's network, in the last epoch of its training.
    """

    name: str
    kind: str
    outputs: tuple[tuple[int, ...], ...]
    parameters: int
    trained: int


@dataclass(frozen=True)
class Layers:
    """The layers of a network in the order of their first call.

    Attributes:
        input: shape of the input `(C, *spatial)`.
        layers: every layer without layers inside it, and every other layer with parameters of its own.
    """

    input: tuple[int, ...]
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trained(self) -> int:
        """Number of the parameters that require gradients."""
        return sum(layer.trained for layer in self.layers)


def bundle_layers(bundle: str | Path | BundleSource, size: Sequence[int] | None = None) -> Layers:
    """Return the layers of a bundle's network; its weights need not exist.

    Args:
        bundle: the bundle's folder or name, or a `BundleSource`.
        size: pixels or voxels along each axis of the zeros that go through the network; None: `spatial_shape` of the
            metadata.

    Raises:
        SegpipeError: the folder is not a bundle; the bundle could run code and the user has not trusted it; the
            metadata do not say what the network takes; the network cannot be made or run; or the training's
            configuration cannot be used, see `segpipe.bundle.trained_layers`.
    """
    source = BundleSource.of(bundle)
    with admitted_bundle(source, None, ("network_def",), ()) as (root, admission):
        given = network_input(root, admission.parser.get(admission.parser.meta_key))
        network = made(root, admission.parser, "network_def")
        freeze_as_trained(network, root, bundle_files(root, source.configs), trust=source.trust)
        shape = (given["num_channels"], *(size or _whole(root, given["spatial_shape"])))
        with in_one_message(root, f"table of layers for an input of {' x '.join(map(str, shape))}"):
            return network_layers(network, shape)


def network_layers(network: torch.nn.Module, shape: Sequence[int]) -> Layers:
    """Return the layers of a network, from one forward pass of zeros in evaluation mode.

    Args:
        network: any; its mode of training or evaluation stays.
        shape: of the input, `(C, *spatial)`.
    """
    outputs: dict[str, tuple[tuple[int, ...], ...]] = {}

    def note(name: str, _module: torch.nn.Module, _inputs: Any, answer: Any) -> None:
        outputs.setdefault(name, tuple(tuple(tensor.shape[1:]) for tensor in _tensors(answer)))

    was_training = network.training
    with ExitStack() as hooks, torch.inference_mode():
        for name, module in network.named_modules():
            hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        network.eval()(torch.zeros(1, *shape))
    network.train(was_training)
    counted: set[int] = set()
    rows = []
    for name, module in network.named_modules():
        own = [one for one in module.parameters(recurse=False) if id(one) not in counted]
        counted |= {id(one) for one in own}
        if own or not any(module.children()):
            sizes = [one.numel() for one in own]
            trained = sum(one.numel() for one in own if one.requires_grad)
            rows.append(Layer(name, type(module).__name__, outputs.get(name, ()), sum(sizes), trained))
    order = {name: place for place, name in enumerate(outputs)}
    rows.sort(key=lambda row: order.get(row.name, len(order)))
    return Layers(tuple(shape), tuple(rows))


def _tensors(answer: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in what a layer returns."""
    if isinstance(answer, torch.Tensor):
        yield answer
    elif isinstance(answer, Mapping | list | tuple):
        for part in answer.values() if isinstance(answer, Mapping) else answer:
            yield from _tensors(part)


def _whole(root: Path, shape: Sequence[int | str]) -> tuple[int, ...]:
    """Return the shape in numbers; MONAI's metadata may have texts such as `*` or `16*n`."""
    numbers = [length for length in shape if re.fullmatch("[1-9][0-9]*", str(length))]
    if len(numbers) != len(shape):
        raise SegpipeError(
            f"{root}: spatial_shape in metadata.json is {list(shape)}, which is no one size; give --size, such as "
            f"--size {','.join(['96'] * len(shape))}"
        )
    return tuple(int(length) for length in numbers)

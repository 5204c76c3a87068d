"""What a bundle is: its name, task, classes, input and weights; and the layers of its network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segpipe.bundle.opening import admitted_bundle, default_weights, foreign_names, is_ours, made
from segpipe.bundle.running import in_one_message
from segpipe.bundle.source import BundleSource
from segpipe.bundle.task import Task, task_in
from segpipe.categories import Categories
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.labels import LabelTable


@dataclass(frozen=True)
class WeightsFile:
    """A weights file of a bundle.

    Attributes:
        path: of the file.
        size: bytes; None if the file is missing.
        sha256: hash of the file; empty if it is missing.
    """

    path: Path
    size: int | None
    sha256: str


@dataclass(frozen=True)
class BundleInformation:
    """What a bundle is.

    Attributes:
        root: the bundle's folder.
        name: in its metadata; else the name of the folder.
        version: in its metadata; empty if there is none.
        task: segmentation or classification.
        target: what is decided: a label map, one class, or findings.
        classes: names of the classes or findings, in the order of the network's outputs.
        channels: number of channels of the network's input.
        shape: pixels or voxels along each axis of the network's input, as in the metadata.
        modality: of the images; empty if the metadata do not say.
        weights: weights files that the configuration names.
    """

    root: Path
    name: str
    version: str
    task: Task
    target: str
    classes: tuple[str, ...]
    channels: int
    shape: tuple[int | str, ...]
    modality: str
    weights: tuple[WeightsFile, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        name: path of the module in the network.
        kind: class of the module.
        outputs: shape of each tensor that the layer returns, without the batch axis; empty if the layer was not called.
        parameters: number of the layer's own parameters, without those of layers inside it.
        trained: number of these that require gradients.
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


def bundle_information(
    bundle: str | Path | BundleSource, *, layers: bool = False, size: Sequence[int] | None = None
) -> tuple[BundleInformation, Layers | None]:
    """Return what a bundle is; its weights need not exist.

    Args:
        bundle: the bundle's folder, or a `BundleSource`.
        layers: also make the network, and run zeros through it once to find the shapes.
        size: pixels or voxels along each axis of these zeros; None: `spatial_shape` of the metadata.

    Raises:
        SegpipeError: the folder is not a bundle; the bundle could run code and the user has not trusted it; the
            metadata do not say what the network takes; or the network cannot be made or run.
    """
    source = BundleSource.of(bundle)
    with admitted_bundle(source, None, ("network_def",), ()) as (root, admission):
        parser = admission.parser
        metadata = parser.get(parser.meta_key)
        given = _input(root, metadata)
        files = [Path(path) for path in source.weights or default_weights(root, parser)]
        target, classes = _classes(root, metadata, ours=is_ours(parser))
        information = BundleInformation(
            root=root,
            name=str(metadata.get("name") or root.name),
            version=str(metadata.get("version") or ""),
            task=task_in(metadata, root),
            target=target,
            classes=classes,
            channels=given["num_channels"],
            shape=tuple(given["spatial_shape"]),
            modality=str(given.get("modality") or ""),
            weights=tuple(map(_weights_file, files)),
        )
        if not layers:
            return information, None
        network = made(root, parser, "network_def")
        shape = (information.channels, *(size or _whole(root, information.shape)))
        with in_one_message(root, f"table of layers for an input of {' x '.join(map(str, shape))}"):
            return information, network_layers(network, shape)


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


def _input(root: Path, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of the network's first input."""
    try:
        given: dict[str, Any] = next(iter(metadata["network_data_format"]["inputs"].values()))
        if not isinstance(given["num_channels"], int) or not isinstance(given["spatial_shape"], list):
            raise TypeError("num_channels must be a number, spatial_shape a list")
    except (KeyError, StopIteration, AttributeError, TypeError) as error:
        raise SegpipeError(
            f"{root}: metadata.json does not say which image the network takes ({type(error).__name__}: {error}); "
            "write num_channels and spatial_shape to network_data_format: inputs: image"
        ) from error
    return given


def _whole(root: Path, shape: Sequence[int | str]) -> tuple[int, ...]:
    """Return the shape in numbers; MONAI's metadata may have texts such as `*` or `16*n`."""
    numbers = [length for length in shape if re.fullmatch("[1-9][0-9]*", str(length))]
    if len(numbers) != len(shape):
        raise SegpipeError(
            f"{root}: spatial_shape in metadata.json is {list(shape)}, which is no one size; give --size, such as "
            f"--size {','.join(['96'] * len(shape))}"
        )
    return tuple(int(length) for length in numbers)


def _classes(root: Path, metadata: Mapping[str, Any], *, ours: bool) -> tuple[str, tuple[str, ...]]:
    """Return what is decided, and the names of the classes or findings."""
    is_classification = task_in(metadata, root) == "classification"
    if not ours:
        names = tuple(foreign_names(root, metadata).values())
        return (str(metadata.get("target", "class")) if is_classification else "label map"), names
    if is_classification:
        categories = Categories.from_metadata(metadata)
        return categories.target, categories.names
    return "label map", tuple(LabelTable.from_metadata(metadata).names)


def _weights_file(path: Path) -> WeightsFile:
    if not path.is_file():
        return WeightsFile(path, None, "")
    return WeightsFile(path, path.stat().st_size, file_sha256(path))

"""Initialises a SegNet's encoder from VGG16 weights trained on ImageNet."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from segpipe.errors import SegpipeError
from segpipe.networks.segnet import SegNet
from segpipe.networks.state_fit import COUNT_OF_BATCHES
from segpipe.networks.weights_files import read_state

_RGB = 3
_FEATURE = re.compile(r"features\.(\d+)\.\w+")


def load_vgg16_bn(network: SegNet, path: Path) -> None:
    """Copy the 13 convolutions of torchvision's `vgg16_bn`, with their batch norms, into an encoder of that form.

    Args:
        network: `SegNet` with `stages=VGG16_STAGES` and batch norm, 2D. With one input channel, the first kernel is
            summed over red, green and blue, which equals VGG16 on a grey image in all three channels.
        path: a local state dict, such as torchvision's `vgg16_bn-6c64b313.pth`; its classifier is not read.

    Raises:
        SegpipeError: the file cannot be read, or number or shapes of its convolutions differ from the encoder's; the
            network is then unchanged.

    Source: Simonyan & Zisserman, ICLR 2015; Badrinarayanan et al., TPAMI 2017.
    """
    if not path.is_file():
        raise SegpipeError(f"{path}: no such weights of VGG16; name a local file of torchvision's vgg16_bn")
    stored = _modules(_features(path, read_state(path)))
    modules_of_network = _modules(network.encoder.state_dict())
    count, wanted = (sum(map(len, modules.values())) for modules in (stored, modules_of_network))
    if [set(tensors) for tensors in stored.values()] != [
        set(tensors) for tensors in modules_of_network.values()
    ]:
        raise SegpipeError(
            f"{path}: its {count} tensors of convolutions and batch norms are not the encoder's {wanted}; give "
            "torchvision's vgg16_bn, and a SegNet of VGG16's stages with batch norm"
        )
    state = {}
    for (theirs, tensors), (ours, places) in zip(stored.items(), modules_of_network.items(), strict=True):
        for name, place in places.items():
            tensor = tensors[name]
            if tensor.shape[1:2] == (_RGB,) and place.shape[1] == 1:
                tensor = tensor.sum(dim=1, keepdim=True)
            if tensor.shape != place.shape:
                raise SegpipeError(
                    f"{path}: {theirs}.{name} is of shape {tuple(tensors[name].shape)}, the encoder's {ours}.{name} of "
                    f"{tuple(place.shape)}; give torchvision's vgg16_bn, and a SegNet of VGG16's stages for grey "
                    "or RGB images"
                )
            state[f"{ours}.{name}"] = tensor
    network.encoder.load_state_dict(state, strict=False)


def _modules(state: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Return the tensors by module, then by name: the four tensors of a batch norm have one shape."""
    modules: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for place, tensor in state.items():
        module, _, name = place.rpartition(".")
        if name != COUNT_OF_BATCHES:
            modules[module][name] = tensor
    return modules


def _features(path: Path, state: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of VGG16's convolutional part, `features.<number>.<name>`, sorted by number."""
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise SegpipeError(f"{path}: is not a state_dict; give torchvision's vgg16_bn")
    places = {name: _FEATURE.fullmatch(name) for name in state}
    numbers = {name: int(match[1]) for name, match in places.items() if match is not None}
    return {name: state[name] for name in sorted(numbers, key=numbers.__getitem__)}

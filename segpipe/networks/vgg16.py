"""Starting a SegNet's encoder from VGG16 as trained on ImageNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from segpipe.errors import SegpipeError
from segpipe.networks.segnet import SegNet
from segpipe.networks.weights import read_state

_RGB = 3
_COUNTER = "num_batches_tracked"  # which torchvision's file lacks


def load_vgg16_bn(network: SegNet, path: Path) -> None:
    """Copy the 13 convolutions of torchvision's `vgg16_bn`, with their batch norms, into an encoder of that form.

    Args:
        network: `SegNet` with `stages=VGG16_STAGES` and batch norm, 2D. One with a single input channel takes the first
            kernel summed over red, green and blue: what VGG16 makes of a grey image given in all three.
        path: a local state dict, such as torchvision's `vgg16_bn-6c64b313.pth`; its classifier is not read.

    Raises:
        SegpipeError: the file cannot be read, or its convolutions are not of the encoder's number and shapes; the
            network is left as it was.

    Source: Simonyan & Zisserman, ICLR 2015; Badrinarayanan et al., TPAMI 2017.
    """
    stored = _features(path, read_state(path))
    own = {name: tensor for name, tensor in network.encoder.state_dict().items() if _COUNTER not in name}
    if len(stored) != len(own):
        raise SegpipeError(
            f"{path}: holds {len(stored)} tensors of convolutions and batch norms, the encoder {len(own)}; give "
            "torchvision's vgg16_bn, and a SegNet of VGG16's stages with batch norm"
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    first = next(iter(stored))
    if stored[first].shape[1:2] == (_RGB,) and next(iter(own.values())).shape[1] == 1:
        stored[first] = stored[first].sum(dim=1, keepdim=True)
    for (theirs, tensor), (ours, expected) in zip(stored.items(), own.items(), strict=True):
        if tensor.shape != expected.shape:
            raise SegpipeError(
                f"{path}: {theirs} is of shape {shapes[theirs]}, the encoder's {ours} of "
                f"{tuple(expected.shape)}; give torchvision's vgg16_bn, and a SegNet of VGG16's stages for grey "
                "or RGB images"
            )
    network.encoder.load_state_dict(dict(zip(own, stored.values(), strict=True)), strict=False)


def _features(path: Path, state: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of VGG16's convolutional part in their order, which is the encoder's."""
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise SegpipeError(f"{path}: is not a state_dict; give torchvision's vgg16_bn")
    return {
        name: tensor
        for name, tensor in state.items()
        if name.startswith("features.") and _COUNTER not in name
    }

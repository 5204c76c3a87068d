"""What training holds in memory, told before it is run; a step by a network of meta tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.networks.nets import DynUNet
from numpy.typing import NDArray
from torch import nn

from segpipe.losses import DiceCrossEntropy
from segpipe.networks import SegNet, UNet
from segpipe.planning.plans import Architecture

_FLOAT = 4  # bytes
_COPIES_OF_WEIGHTS = 4  # the weights, their gradients and AdamW's two moments
_IN_FLIGHT = 3  # of the largest activation, on the way back, beside what was kept
_SCORES_HELD = 4  # scores, their weights, and two label maps with a channel a class
PROCESS_BYTES = 0.7e9  # of Python with torch and MONAI, before the first image


def step_bytes(architecture: Architecture, batch_size: int, patch_size: Sequence[int]) -> int:
    """Return what a training step holds at its peak: activations kept for gradients, and weights with what is theirs.

    Nothing is computed: tensors on the meta device have shapes and no content.

    Args:
        architecture: of the network.
        batch_size: patches a step.
        patch_size: voxels along each axis.
    """
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with torch.device("meta"):
        network = made(architecture)
        image = torch.empty(batch_size, architecture.num_channels, *patch_size)
        label = torch.empty(batch_size, 1, *patch_size)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        DiceCrossEntropy()(network(image), label)
    weights = {parameter.untyped_storage()._cdata: parameter.numel() for parameter in network.parameters()}
    held = [tensor.untyped_storage().nbytes() for storage, tensor in kept.items() if storage not in weights]
    return sum(held) + _IN_FLIGHT * max(held) + _COPIES_OF_WEIGHTS * _FLOAT * sum(weights.values())


def images_bytes(sizes: NDArray[Any], num_channels: int) -> int:
    """Return what all images and label maps hold, in float32.

    Args:
        sizes: voxels of each case along each axis, as the network sees them.
        num_channels: of an image.
    """
    return int(np.prod(sizes, axis=1).sum() * _FLOAT * (num_channels + 1))


def validation_bytes(sizes: NDArray[Any], num_classes: int) -> int:
    """Return what scoring the largest case holds.

    Args:
        sizes: as for `images_bytes`.
        num_classes: with the background.
    """
    return int(np.prod(sizes, axis=1).max()) * num_classes * _FLOAT * _SCORES_HELD


def made(architecture: Architecture) -> nn.Module:
    """Return the network that a plan describes, as the bundle's YAML makes it."""
    own = architecture
    if own.name == "DynUNet":
        network: nn.Module = DynUNet(
            own.dims,
            own.num_channels,
            own.num_classes,
            kernel_size=list(map(list, own.kernels)),
            strides=list(map(list, own.strides)),
            upsample_kernel_size=list(map(list, own.strides[1:])),
            filters=list(own.widths),
        )
        return network
    if own.name == "UNet":
        return UNet(own.num_channels, own.num_classes, own.widths, own.dims, "instance")
    stages = [(width, width) for width in own.widths]
    return SegNet(own.num_channels, own.num_classes, stages, own.dims, "instance")

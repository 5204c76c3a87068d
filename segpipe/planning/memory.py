"""An estimate of a training's memory before the training; the memory of a step comes from a network of meta tensors."""

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
_IN_FLIGHT = 3  # copies of the largest activation in the backward pass, beside the kept activations
_SCORES_HELD = 4  # scores, their weights, and two label maps with one channel a class
PROCESS_BYTES = 0.7e9  # of Python with torch and MONAI, before the first image


def step_bytes(architecture: Architecture, batch_size: int, patch_size: Sequence[int]) -> int:
    """Return the peak bytes of a training step: activations for gradients, weights, optimiser state.

    The function computes no values: tensors on the meta device have shapes and no content.

    Args:
        architecture: architecture of the network.
        batch_size: patches per step.
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
    """Return the bytes of all images and label maps, in float32.

    Args:
        sizes: voxels of each case along each axis, at the network's spacing.
        num_channels: channels of an image.
    """
    return int(np.prod(sizes, axis=1).sum() * _FLOAT * (num_channels + 1))


def validation_bytes(sizes: NDArray[Any], num_classes: int) -> int:
    """Return the peak bytes of scoring the largest case.

    Args:
        sizes: see `images_bytes`.
        num_classes: number of the network's outputs: classes with the background, or regions.
    """
    return int(np.prod(sizes, axis=1).max()) * num_classes * _FLOAT * _SCORES_HELD


def made(architecture: Architecture) -> nn.Module:
    """Return the network that a plan describes, as the bundle's YAML makes it."""
    dims, num_channels, num_classes = architecture.dims, architecture.num_channels, architecture.num_classes
    if architecture.name == "DynUNet":
        network: nn.Module = DynUNet(
            dims,
            num_channels,
            num_classes,
            kernel_size=list(map(list, architecture.kernels)),
            strides=list(map(list, architecture.strides)),
            upsample_kernel_size=list(map(list, architecture.strides[1:])),
            filters=list(architecture.widths),
        )
        return network
    if architecture.name == "UNet":
        return UNet(num_channels, num_classes, architecture.widths, dims, "instance")
    stages = [(width, width) for width in architecture.widths]
    return SegNet(num_channels, num_classes, stages, dims, "instance")

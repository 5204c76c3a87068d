"""An estimate of a training's memory before the training; the memory of a step comes from a network of meta tensors."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.networks.nets import DynUNet
from numpy.typing import NDArray
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from segpipe.losses import DeepSupervision, DiceCrossEntropy
from segpipe.networks import ResidualEncoderUNet, SegNet, UNet
from segpipe.planning.plans import Architecture

_FLOAT = 4  # bytes
_MOMENTS = 2  # AdamW's copies of the weights
_LARGEST_IN_HEAP = 32 << 20  # bytes; glibc maps a larger block by itself, and gives it back when it is freed
_HEAP_TIMES = {
    "UNet": 1.45,
    "DynUNet": 1.45,
    "SegNet": 1.75,
    "ResidualEncoderUNet": 2.05,
}  # a heap over its blocks; benchmarks/plan_memory.py
_FIRST_STEP_BYTES = 30e6  # of code that the first step loads and compiles
_SCORES_HELD = 4  # scores, their weights, and two label maps with one channel a class
PROCESS_BYTES = 0.58e9  # of Python with torch, MONAI and TensorBoard, before the first image


def step_bytes(architecture: Architecture, batch_size: int, patch_size: Sequence[int]) -> int:
    """Return the peak bytes of a training step: weights, optimiser state, activations and gradients.

    The step runs on tensors of the meta device, which have shapes and no content: no value is computed. The peak is the
    largest sum of the tensors alive at one time; a convolution also holds a copy of its largest tensor in the layout of
    its own. Blocks of the C library's heap count with the heap's gaps.

    Args:
        architecture: architecture of the network.
        batch_size: patches per step.
        patch_size: voxels along each axis.
    """
    times = _HEAP_TIMES[architecture.name]
    with _LiveTensors(times) as live:
        with torch.device("meta"):
            network = made(architecture)
            image = torch.empty(batch_size, architecture.num_channels, *patch_size)
            label = torch.empty(batch_size, 1, *patch_size)
        DeepSupervision(DiceCrossEntropy())(network(image), label).backward()
    moments = _MOMENTS * _FLOAT * sum(parameter.numel() for parameter in network.parameters())
    return int(live.peak + times * moments + _FIRST_STEP_BYTES)


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's mode is untyped
    """Adds up the bytes of the tensors that are alive; `peak` is the largest sum, with the heap's gaps.

    Args:
        heap_times: the heap's size over the blocks in it.
    """

    def __init__(self, heap_times: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0.0
        self._heap_times = heap_times
        self._live = 0.0
        self._held: dict[int, float] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [0.0]
        for tensor in tree_iter((args, result)):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            size = storage.nbytes() * (self._heap_times if storage.nbytes() < _LARGEST_IN_HEAP else 1.0)
            sizes.append(size)
            if storage._cdata not in self._held:
                self._held[storage._cdata] = size
                self._live += size
                weakref.finalize(storage, self._freed, storage._cdata)
        copied = max(sizes) if "convolution" in str(func) else 0.0
        self.peak = max(self.peak, self._live + copied)
        return result

    def _freed(self, storage: int) -> None:
        self._live -= self._held.pop(storage)


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
        return UNet(
            num_channels,
            num_classes,
            architecture.widths,
            dims,
            architecture.norm,
            conv=architecture.conv,
            attention=architecture.attention,
        )
    if architecture.name == "ResidualEncoderUNet":
        return ResidualEncoderUNet(
            num_channels,
            num_classes,
            architecture.widths,
            architecture.blocks,
            dims,
            architecture.strides,
            architecture.kernels,
            deep_supervision=True,
        )
    stages = [(width, width) for width in architecture.widths]
    return SegNet(
        num_channels, num_classes, stages, dims, architecture.norm, strides=architecture.strides[1:]
    )

"""The types of a plan: the user's options, numbers with their reasons, and a network in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

NETWORKS = ("unet", "segnet", "resenc")

PRESETS = {"M": 10.0, "L": 24.0, "XL": 40.0}
"""Presets of the network resenc, with the memory in GB that a training step may take with its process."""

Network = Literal["DynUNet", "UNet", "SegNet", "ResidualEncoderUNet"]
"""Class of a network."""

Intensity = Literal["z-score", "hu", "uint8", "hu or uint8"]
"""How intensities are normalised; a plan takes one of the first three."""


@dataclass(frozen=True)
class PlannedValue:
    """A planned value.

    Attributes:
        value: value of YAML's types.
        why: the reason in a few words; may be empty for a value of a shipped bundle.
    """

    value: Any
    why: str


@dataclass(frozen=True)
class PlanOptions:
    """The options of a plan.

    Attributes:
        memory_gb: memory that training may take, with the process and cached images, GB.
        network: name in `NETWORKS`.
        preset: name in `PRESETS`, for the network resenc; None plans a network for a processor.
        dims: 2 or 3; None lets the data decide.
        epochs: epochs of training; None lets the data decide.
        cuda: whether a CUDA card trains.
        training_share: share of the cases that train while a fold is held out.
        validate: whether a fold is held out, if the manifest has folds or splits.
        locate: also plan a locator, see `segpipe.planning.locator`.
        conv: kind of the U-Net's convolutions, in `segpipe.networks.CONVOLUTIONS`.
        attention: attention of the U-Net, in `segpipe.networks.ATTENTIONS`.
        balanced: draw cases of rare classes more often.
        like: the network of other weights, which the plan repeats; None: the network follows from the data.
    """

    memory_gb: float = 8.0
    network: str = "unet"
    preset: str | None = None
    dims: int | None = None
    epochs: int | None = None
    cuda: bool = False
    training_share: float = 1.0
    validate: bool = True
    locate: bool = False
    conv: str = "plain"
    attention: str = "none"
    balanced: bool = False
    like: LikeNetwork | None = None


@dataclass(frozen=True)
class Architecture:
    """A network in numbers, for `StepBytes` and the YAML.

    Attributes:
        name: class of the network.
        dims: 2 or 3.
        num_channels, num_classes: input channels and output channels.
        strides: downsampling of each level against the level above, per axis; the first level has ones.
        kernels: kernel size of each level, per axis.
        widths: channels of each level.
        conv, attention: of a UNet, see `segpipe.networks.UNet`.
        blocks: residual blocks of each level; empty for networks without.
        norm: normalisation of a UNet or SegNet, see `segpipe.networks.blocks.norm_of`.
    """

    name: Network
    dims: int
    num_channels: int
    num_classes: int
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    norm: str | None = "instance"
    conv: str = "plain"
    attention: str = "none"
    blocks: tuple[int, ...] = ()

    @property
    def units(self) -> tuple[int, ...]:
        """Total downsampling along each axis."""
        return tuple(math.prod(axis) for axis in zip(*self.strides, strict=True))


@dataclass(frozen=True)
class LikeNetwork:
    """The network of other weights, which a plan repeats.

    Attributes:
        architecture: with channels and classes of its own.
        name: of the bundle or file of the weights.
    """

    architecture: Architecture
    name: str

    def of(self, num_channels: int, num_classes: int) -> Architecture:
        """Return the network with other input and output channels."""
        return replace(self.architecture, num_channels=num_channels, num_classes=num_classes)


StepBytes = Callable[[Architecture, int, Sequence[int]], int]
"""Returns the peak bytes of a training step, from network, batch size and patch size."""


@dataclass(frozen=True)
class Plan:
    """A bundle in numbers.

    Attributes:
        architecture: architecture of the network.
        dims: 2 or 3.
        intensity: how intensities are normalised.
        axcodes: the order of a volume's axes.
        is_volume: whether the cases are 3D.
        mirrors: axes of a patch along which training mirrors it.
        crops_by_class: whether patches are drawn around voxels of classes.
        numbers: YAML id -> planned number, in the order of the file.
        peak_gb: predicted peak memory of training, GB.
        warnings: weaknesses of the plan, a sentence each.
    """

    architecture: Architecture
    dims: PlannedValue
    intensity: Intensity
    axcodes: str
    is_volume: bool
    mirrors: PlannedValue
    crops_by_class: bool
    numbers: dict[str, PlannedValue]
    peak_gb: float
    warnings: tuple[str, ...] = ()

"""What a plan is: what was asked for, numbers with their reasons, and a network in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

NETWORKS = ("unet", "segnet")


@dataclass(frozen=True)
class PlannedValue:
    """A planned value.

    Attributes:
        value: of plain types, as YAML has them.
        why: a few words.
    """

    value: Any
    why: str


@dataclass(frozen=True)
class PlanOptions:
    """What the user asks of a plan.

    Attributes:
        memory_gb: that training may take, the process and cached images included.
        network: of `NETWORKS`.
        dims: 2 or 3; None decides by the data.
        epochs: of training; None decides by the data.
        cuda: whether a CUDA card trains.
        training_share: of the cases, that are left when a fold is held out.
    """

    memory_gb: float = 8.0
    network: str = "unet"
    dims: int | None = None
    epochs: int | None = None
    cuda: bool = False
    training_share: float = 1.0


@dataclass(frozen=True)
class Architecture:
    """A network in numbers, for `StepBytes` and the YAML.

    Attributes:
        name: DynUNet, UNet or SegNet.
        dims: 2 or 3.
        num_channels, num_classes: in and out.
        strides: by how much each level is coarser than the one above, a number an axis; the first level has ones.
        kernels: of each level, likewise.
        widths: channels of each level.
    """

    name: str
    dims: int
    num_channels: int
    num_classes: int
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]

    @property
    def units(self) -> tuple[int, ...]:
        """By how much each axis is halved in all."""
        return tuple(math.prod(axis) for axis in zip(*self.strides, strict=True))


StepBytes = Callable[[Architecture, int, Sequence[int]], int]
"""Tells what a training step holds at its peak: network, batch, patch."""


@dataclass(frozen=True)
class Plan:
    """A bundle in numbers.

    Attributes:
        architecture: of the network.
        dims: 2 or 3.
        intensity: z-score, hu or uint8.
        axcodes: the order of a volume's axes.
        is_volume: whether the cases are 3D.
        mirrors: axes of a patch along which training mirrors it.
        crops_by_class: whether patches are drawn round voxels of classes.
        numbers: YAML id -> planned number, in the order of the file.
        peak_gb: of training, predicted.
        warnings: what makes the plan weak, in one sentence each.
    """

    architecture: Architecture
    dims: PlannedValue
    intensity: str
    axcodes: str
    is_volume: bool
    mirrors: PlannedValue
    crops_by_class: bool
    numbers: dict[str, PlannedValue]
    peak_gb: float
    warnings: tuple[str, ...] = ()

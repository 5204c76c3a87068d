"""Rules 4 to 7 of a plan: network, training patch, batch, and the window of inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.planning.fingerprint import Fingerprint
from segpipe.planning.plans import NETWORKS, Architecture, Network, PlannedValue, PlanOptions, StepBytes

Array = NDArray[Any]
CARD_TIMES = 10  # a CUDA card trains on this many times a CPU's voxels
_HALVED_TIMES = 2.0
_FEWEST_BELOW, _MOST_HALVINGS = 4, 6
_FEWEST_LEVELS = {"DynUNet": 3, "UNet": 2, "SegNet": 2}  # the SegNet's last pool makes its second level
_FIRST_WIDTH, _LAST_WIDTH = {2: 8, 3: 16}, 256
_MOST_VOXELS = {2: 384 * 384, 3: 96 * 96 * 32}
_BATCH_VOXELS, _MOST_PATCHES = 2**16, 16
_WINDOW_TIMES = 2.0
_FEW_WINDOWS = 27


@dataclass(frozen=True)
class FittedPatch:
    """A network with the patch and batch that fit the memory.

    Attributes:
        architecture: architecture of the network.
        patch_size: voxels along each axis.
        batch_size: patches per step.
        step_bytes: peak memory of a training step, bytes.
    """

    architecture: Architecture
    patch_size: PlannedValue
    batch_size: PlannedValue
    step_bytes: int


def fitted_patch(
    data: Fingerprint,
    options: PlanOptions,
    median: Array,
    spacing: Array,
    step_bytes: StepBytes,
    free: float,
) -> FittedPatch:
    """Return the largest patch within the median case that fits time and memory, with its network (rules 4 to 6).

    Args:
        data: the fingerprint.
        options: the user's choice of network, memory and card.
        median: voxels of the median case along each axis of the network.
        spacing: spacing along the same axes, mm.
        step_bytes: see `segpipe.planning.memory.step_bytes`.
        free: bytes that a training step may hold.

    Raises:
        SegpipeError: an unknown network, or too little memory for the smallest patch.
    """
    most = _MOST_VOXELS[len(median)] * (CARD_TIMES if options.cuda else 1)
    size: Array | None = median.astype(int)
    cut_for = "nothing"
    while size is not None:
        architecture = (
            _architecture(data, options.network, size, spacing)
            if options.like is None
            else options.like.of(len(data.channels), data.num_outputs)
        )
        patch = _fitted(size, architecture.units)
        voxels = math.prod(patch)
        batch = min(max(math.ceil(_BATCH_VOXELS / voxels), 1), _MOST_PATCHES)
        if voxels > most:
            cut_for = "time"
        elif step_bytes(architecture, 1, patch) > free:
            cut_for = "memory"
        else:
            held = step_bytes(architecture, batch, patch)
            while held > free:
                batch -= 1
                held = step_bytes(architecture, batch, patch)
            break
        size = _cut(size, spacing, architecture.units)
    else:
        needed = step_bytes(architecture, 1, patch) + options.memory_gb * 1e9 - free
        raise SegpipeError(
            f"plan: {options.memory_gb:g} GB of memory are too few: even a patch of {' x '.join(map(str, patch))} "
            f"voxels takes about {needed / 1e9:.1f} GB in training; give --memory "
            f"{math.ceil(needed / 1e8) / 10:g}GB or more"
        )
    text = " x ".join(f"{length:.0f}" for length in median)
    why = {
        "nothing": f"nearly the median case, {text}",
        "time": f"of the median case, {text}: more would take a step too long",
        "memory": f"of the median case, {text}: more would not fit the memory",
    }[cut_for]
    return FittedPatch(
        architecture,
        PlannedValue(patch, why),
        PlannedValue(batch, f"{batch * voxels:,} voxels a step"),
        held,
    )


def _fitted(size: Array, units: Sequence[int]) -> list[int]:
    """Round down to sizes that the network halves to whole voxels; at least one axis must keep two voxels."""
    patch = [max(int(n) // unit, 1) * unit for n, unit in zip(size, units, strict=True)]
    if not any(n >= 2 * unit for n, unit in zip(patch, units, strict=True)):
        longest = int(np.argmax(patch))
        patch[longest] = 2 * units[longest]
    return patch


def _cut(size: Array, spacing: Array, units: Sequence[int]) -> Array | None:
    """Return the patch with its longest axis in mm one step shorter; None if no axis can get shorter."""
    smallest = 2 * _FEWEST_BELOW
    for axis in np.argsort(-size * spacing, kind="stable"):
        step = min(max(units[axis] // 2, 1) * 2, 32)
        if size[axis] - step >= smallest:
            smaller = size.copy()
            smaller[axis] = (size[axis] - 1) // step * step
            return smaller
    return None


def _architecture(data: Fingerprint, network: str, size: Array, spacing: Array) -> Architecture:
    """Return the network for a patch size (rule 5)."""
    if network not in NETWORKS:
        raise SegpipeError(f"plan: there is no network {network!r}; choose one of {', '.join(NETWORKS)}")
    dims = len(size)
    name: Network = "SegNet" if network == "segnet" else "DynUNet" if dims == 3 else "UNet"
    left, pitch = np.array(size, int), np.array(spacing, float)
    strides, kernels = [(1,) * dims], []
    across = np.zeros(dims, bool)
    while True:
        near = pitch < _HALVED_TIMES * pitch.min()
        across |= near
        kernels.append(tuple(3 if is_across else 1 for is_across in across))
        large = left >= 2 * _FEWEST_BELOW
        halved = near & large
        if name == "UNet":
            halved = np.full(dims, bool(large.all()))  # its pools halve every axis
        if len(strides) < _FEWEST_LEVELS[name] and not halved.any():
            halved = near if name != "UNet" else np.full(dims, True)
        if len(strides) > _MOST_HALVINGS or not halved.any():
            break
        strides.append(tuple(2 if is_halved else 1 for is_halved in halved))
        left, pitch = np.where(halved, left // 2, left), np.where(halved, 2 * pitch, pitch)
    widths = tuple(min(_FIRST_WIDTH[dims] * 2**level, _LAST_WIDTH) for level in range(len(strides)))
    if name == "SegNet":  # the SegNet's last pool has no level below
        widths = widths[:-1]
    return Architecture(
        name, dims, len(data.channels), data.num_outputs, tuple(strides), tuple(kernels), widths
    )


def window_size(median: Array, patch: PlannedValue, units: Sequence[int]) -> PlannedValue:
    """Return the window of inference, in voxels along each axis (rule 7).

    Args:
        median: voxels of the median case along each axis of the network.
        patch: the training patch.
        units: total downsampling of the network along each axis.
    """
    if len(median) == 2:
        whole = [math.ceil(n / unit) * unit for n, unit in zip(median, units, strict=True)]
        if math.prod(whole) <= _WINDOW_TIMES * math.prod(patch.value):
            return PlannedValue(
                whole, "size of the median image: normalisation within a window depends on it"
            )
    return PlannedValue(patch.value, "as the patch: instance norm counts the padding of a larger one")


def window_overlap(median: Array, window: Sequence[int]) -> PlannedValue:
    """Return the overlap of windows as a share of a window: half if a volume has few windows."""
    windows = math.prod(math.ceil(2 * length / size) for length, size in zip(median, window, strict=True))
    if len(window) == 3 and windows <= _FEW_WINDOWS:
        return PlannedValue(0.5, f"{windows} windows a scan at most")
    return PlannedValue(0.25, f"0.5 would take about {windows} windows a case")


def network_numbers(network: Architecture, patch: Sequence[int]) -> dict[str, PlannedValue]:
    """Return the ids that the network's class takes."""
    bottom = [size // unit for size, unit in zip(patch, network.units, strict=True)]
    why = f"{_FIRST_WIDTH[network.dims]}, doubled up to {_LAST_WIDTH}: few, so that a step is cheap on a processor"
    if network.name == "UNet":
        return {
            "widths": PlannedValue(list(network.widths), f"{why}; {bottom} voxels at the coarsest level"),
            "dropout": PlannedValue(0.2, "at the coarsest level; as in the shipped bundles of slices"),
        }
    if network.name == "SegNet":
        stages = PlannedValue(
            [[width, width] for width in network.widths], f"{why}; {bottom} voxels at the coarsest level"
        )
        dropout = PlannedValue(0.2, "at the deepest stage; as in the shipped bundles of slices")
        pools = _plain(network.strides[1:])
        if set(map(str, pools)) == {"2"}:  # the SegNet's default
            return {"stages": stages, "dropout": dropout}
        pooled = "of each stage's pool; 1 along an axis that is coarse, or short; kernels have 3 voxels along each axis"
        return {"stages": stages, "strides": PlannedValue(pools, pooled), "dropout": dropout}
    coarse = "1 across an axis that is more than twice as coarse as the finest"
    kernels, strides = _plain(network.kernels), _plain(network.strides)
    return {
        "filters": PlannedValue(list(network.widths), why),
        "kernel_size": PlannedValue(kernels, "no axis is coarse" if isinstance(kernels[0], int) else coarse),
        "strides": PlannedValue(strides, f"every axis down to 4 voxels or so: {bottom}"),
        "upsample_kernel_size": PlannedValue(strides[1:], "as the strides"),
    }


def _plain(levels: Sequence[Sequence[int]]) -> list[Any]:
    """Return levels for YAML: one number per level where all axes are equal."""
    if all(len(set(level)) == 1 for level in levels):
        return [level[0] for level in levels]
    return list(map(list, levels))

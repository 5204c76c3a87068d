"""Rules 4 to 7 of a plan: network, training patch, batch, and the window of inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.networks.convolution_kinds import ATTENTIONS, CONVOLUTIONS
from segpipe.planning.fingerprint import Fingerprint
from segpipe.planning.network_form import NetworkForm, network_form
from segpipe.planning.plans import PRESETS, Architecture, PlannedValue, PlanOptions, StepBytes

Array = NDArray[Any]
_HALVED_TIMES = 2.0
_FEWEST_BELOW, _MOST_HALVINGS = 4, 6
_FEWEST_LEVELS = {
    "DynUNet": 3,
    "UNet": 2,
    "SegNet": 2,  # its last pool makes its second level
    "ResidualEncoderUNet": 3,
}
_WINDOW_TIMES = 2.0
_FEW_WINDOWS = 27
_COUNTED_DOWN = 16  # patches; more are estimated first, since each count takes a pass of the network


@dataclass(frozen=True)
class FittedPatch:
    """A network with the patch and batch that fit the memory.

    Attributes:
        form: form of the network.
        architecture: architecture of the network.
        patch_size: voxels along each axis.
        batch_size: patches per step.
        step_bytes: peak memory of a training step, bytes.
    """

    form: NetworkForm
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
        SegpipeError: an unknown network or preset, or too little memory for the smallest patch.
    """
    form = network_form(options, len(median))
    size: Array | None = median.astype(int)
    cut_for = "nothing"
    while size is not None:
        architecture = (
            _architecture(data, form, size, spacing)
            if options.like is None
            else options.like.of(len(data.channels), data.num_outputs)
        )
        patch = _fitted(size, architecture.units)
        voxels = math.prod(patch)
        if voxels > form.most_voxels:
            cut_for = "time"
        elif step_bytes(architecture, form.fewest_patches, patch) > free:
            cut_for = "memory"
        else:
            batch = _batch(form.patches(data, voxels), architecture, patch, step_bytes, free)
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
        form,
        architecture,
        PlannedValue(patch, why),
        PlannedValue(batch, f"{batch * voxels:,} voxels a step"),
        held,
    )


def _batch(
    most: int, architecture: Architecture, patch: list[int], step_bytes: StepBytes, free: float
) -> int:
    """Return how many patches fit, at most `most`; the bytes of a step grow by the same with every patch."""
    if most <= _COUNTED_DOWN:
        return most
    one, two = (step_bytes(architecture, count, patch) for count in (1, 2))
    return int(max(min(most, 1 + (free - one) // (two - one)), 1))


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


def _architecture(data: Fingerprint, form: NetworkForm, size: Array, spacing: Array) -> Architecture:
    """Return the network for a patch size (rule 5)."""
    dims, name = len(size), form.name
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
    widths = form.widths(len(strides))
    if name == "SegNet":  # the SegNet's last pool has no level below
        widths = widths[:-1]
    blocks = form.level_blocks(len(strides))
    shape = (dims, len(data.channels), data.num_outputs, tuple(strides), tuple(kernels), widths)
    return Architecture(name, *shape, conv=form.conv, attention=form.attention, blocks=blocks)


def require_preset_fits(options: PlanOptions, fitted: FittedPatch, peak: float) -> None:
    """Refuse a preset whose training takes more memory than there is.

    Args:
        options: the user's preset and memory.
        fitted: the network with its patch and batch.
        peak: bytes of the training, all in all.

    Raises:
        SegpipeError: the training does not fit.
    """
    if options.preset is None or peak <= options.memory_gb * 1e9:
        return
    patch = " x ".join(map(str, fitted.patch_size.value))
    smaller = [name for name, gigabytes in PRESETS.items() if gigabytes < PRESETS[options.preset]]
    instead = f"choose --preset {smaller[-1]}, or " if smaller else ""
    raise SegpipeError(
        f"plan: --preset {options.preset} needs about {peak / 1e9:.1f} GB of memory: a step of "
        f"{fitted.batch_size.value} patches of {patch} voxels takes {fitted.step_bytes / 1e9:.1f} GB, and there are "
        f"{options.memory_gb:.3g} GB; {instead}leave --preset out for a network that is planned for a processor; or "
        f"give --memory {math.ceil(peak / 1e8) / 10:g}GB for a machine that has it"
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


def network_numbers(fitted: FittedPatch) -> dict[str, PlannedValue]:
    """Return the ids that the network's class takes."""
    network, patch, why = fitted.architecture, fitted.patch_size.value, fitted.form.why
    bottom = [size // unit for size, unit in zip(patch, network.units, strict=True)]
    if network.name == "UNet":
        return {
            "widths": PlannedValue(list(network.widths), f"{why}; {bottom} voxels at the coarsest level"),
            "dropout": _dropout("coarsest level"),
            "conv": PlannedValue(network.conv, f"of the convolutions: {', '.join(CONVOLUTIONS)}"),
            "attention": PlannedValue(
                network.attention, f"behind the coarsest level: {', '.join(ATTENTIONS)}"
            ),
        }
    if network.name == "SegNet":
        stages = PlannedValue(
            [[width, width] for width in network.widths], f"{why}; {bottom} voxels at the coarsest level"
        )
        dropout = _dropout("deepest stage")
        pools = _plain(network.strides[1:])
        if set(map(str, pools)) == {"2"}:  # the SegNet's default
            return {"stages": stages, "dropout": dropout}
        pooled = "of each stage's pool; 1 along an axis that is coarse, or short; kernels have 3 voxels along each axis"
        return {"stages": stages, "strides": PlannedValue(pools, pooled), "dropout": dropout}
    coarse = "1 across an axis that is more than twice as coarse as the finest"
    kernels, strides = _plain(network.kernels), _plain(network.strides)
    levels = {
        "kernel_size": PlannedValue(kernels, "no axis is coarse" if isinstance(kernels[0], int) else coarse),
        "strides": PlannedValue(strides, f"every axis down to 4 voxels or so: {bottom}"),
    }
    if network.name == "ResidualEncoderUNet":
        return {
            "widths": PlannedValue(list(network.widths), why),
            "blocks": PlannedValue(list(network.blocks), fitted.form.blocks_why),
            **levels,
            **({"dropout": _dropout("coarsest level")} if network.dims == 2 else {}),
            "deep_supervision": PlannedValue(
                True, "a head a level of the decoder; each counts half the finer one"
            ),
        }
    return {
        "filters": PlannedValue(list(network.widths), why),
        **levels,
        "upsample_kernel_size": PlannedValue(strides[1:], "as the strides"),
    }


def _dropout(place: str) -> PlannedValue:
    return PlannedValue(0.2, f"at the {place}; as in the shipped bundles of slices")


def _plain(levels: Sequence[Sequence[int]]) -> list[Any]:
    """Return levels for YAML: one number per level where all axes are equal."""
    if all(len(set(level)) == 1 for level in levels):
        return [level[0] for level in levels]
    return list(map(list, levels))

"""The rules by which a data set's fingerprint becomes the numbers of a bundle, each with its reason.

In words:

1. Dimensions. Pictures are 2D, volumes 3D, unless their slices are so thick (8 times a pixel) or so few (8) that a
   three-dimensional kernel has nothing to see across them. A network of slices then takes them along the coarsest
   axis.
2. Spacing. The median of the cases along each axis; where one axis is more than 3 times as coarse as the finest,
   its 10th percentile, so that the sharp scans lose little (Isensee et al., nnU-Net, Nature Methods 18, 2021).
   Pictures keep their pixels: what formats of pictures say of spacing cannot be relied on.
3. Intensities. CT in Hounsfield units: the window from the 0.5th to the 99.5th percentile of the foreground (nnU-
   Net's), clipped, 0 to 1. CT as 8-bit pictures: slice by slice, since each was windowed by somebody. All else:
   zero mean and unit variance, scan by scan and channel by channel.
4. Patch. The median case, each axis rounded down to what the network can halve; where that is more voxels than a
   step may have (`_MOST_VOXELS`) or takes more memory than there is, the axis of the largest extent in mm is cut
   until it fits, so that the patch becomes a cube in mm (nnU-Net's, on the median shape).
5. Network. An axis is halved while it keeps 4 voxels and is no more than twice as fine as the finest (nnU-Net's),
   at most 6 times; kernels leave out an axis that is not halved yet for its coarseness. Channels double from level
   to level, from 16 in 3D and 8 in 2D, up to 256, as in the bundles that are shipped: few, so that a step is cheap
   on a processor.
6. Batch. As many patches as make 65,536 voxels, from 1 to 16: both of our best bundles are so.
7. Window of inference. As the patch in 3D, since instance norm counts a window's padding; the whole picture in 2D
   where it has at most twice the patch's pixels.
8. Loss. Dice and cross-entropy. Where one class of the foreground is 5 times as common as another, the cross-
   entropy is weighted by the square root of median-frequency weights. Where a class is absent from cases, the Dice
   is the batch's and skips what is absent; where one is absent from more than half, it counts thrice
   (benchmarks/README.md: less, and the lungs' effusion is never found).
9. Sampling. Where the patch has most of the median case, anywhere; else round a voxel of a class, all classes
   alike.
10. Augmentation. Turns and scales, about the coarse axis alone where one is 3 times as coarse; brightness,
   contrast, noise, half as much in CT, whose numbers mean something. Mirror images where both sides have the classes
   alike: along left and right in volumes, along any axis in pictures, if no class (each in 8 cases or more) lies on one
   side of the image by more than 2.5 standard errors. So a left kidney stays one. Evaluation and inference of slices
   average the scores of these mirror images, too, as our bundles do; in volumes that would take too long.
11. Schedule. AdamW, one cycle; as many patches as in our bundles (2,240 in 3D, 6,500 in 2D; ten times as
   many on a CUDA card), in epochs of at least 64; ten validations.

Each number carries its reason into the YAML. Nothing here sees a name, a path or a voxel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.planning.fingerprint import Channel, Fingerprint
from segpipe.planning.memory import PROCESS_BYTES, images_bytes, validation_bytes
from segpipe.planning.plans import NETWORKS, Architecture, Plan, PlannedValue, PlanOptions, StepBytes
from segpipe.planning.warnings import plan_warnings

Array = NDArray[Any]
_THICK_TIMES, _FEW_SLICES = 8.0, 8
_COARSE_TIMES = 3.0
_HALVED_TIMES = 2.0
_FEWEST_BELOW, _MOST_HALVINGS = 4, 6
_FEWEST_LEVELS = 3  # that a DynUNet can have
_FIRST_WIDTH, _LAST_WIDTH = {2: 8, 3: 16}, 256
_MOST_VOXELS = {2: 384 * 384, 3: 96 * 96 * 32}
_BATCH_VOXELS, _MOST_PATCHES = 2**16, 16
_WINDOW_TIMES = 2.0
_COMMON_TIMES = 5.0
_MOST_OF_CASE = 0.75
_PATCHES = {2: 6500, 3: 2240}
_CARD_TIMES = 10
_FEWEST_A_EPOCH, _VALIDATIONS = 64, 10
_FEW_WINDOWS = 27
_CACHE_SHARE = 0.5
_TURN = 0.26
_FEWEST_TO_MIRROR, _MIRROR_ERRORS = 8, 2.5


def plan(data: Fingerprint, wishes: PlanOptions, step_bytes: StepBytes) -> Plan:
    """Apply the rules.

    Args:
        data: the fingerprint.
        wishes: of the user.
        step_bytes: see `segpipe.planning.memory.step_bytes`.

    Raises:
        SegpipeError: wishes that cannot be had: a network of volumes for pictures, or less memory than
            the smallest patch needs.
    """
    dims = _dims(data, wishes.dims)
    axes = _axes(data, dims.value)
    spacings = np.array(data.spacings_mm, float)[:, axes]
    sizes = np.array(data.sizes, float)[:, axes]
    spacing = _spacing(data, dims.value, spacings)
    target = np.array(spacing.value or np.ones(len(axes)), float)
    resampled = sizes * spacings / target if spacing.value else sizes
    if dims.value == 2 and data.spatial_dims == 3:  # slices stay as they are
        resampled[:, 2] = sizes[:, 2]
    median = np.maximum(np.median(np.round(resampled), axis=0), 1)

    numbers: dict[str, PlannedValue] = {}
    intensity = _intensity(data.channels, numbers)
    if spacing.value:
        numbers["spacing_mm"] = spacing
    cache_bytes = images_bytes(resampled, len(data.channels))
    budget = wishes.memory_gb * 1e9
    cached = cache_bytes <= _CACHE_SHARE * (budget - PROCESS_BYTES)
    free = budget - PROCESS_BYTES - (cache_bytes if cached else 0)
    plane = slice(0, dims.value)
    architecture, patch, batch, held = _patch(
        data, wishes, dims.value, median[plane], target[plane], step_bytes, free
    )
    window = _window(dims.value, median[plane], patch, architecture.units)
    numbers["patch_size"] = patch
    numbers["window_size"] = window
    numbers["overlap"] = _overlap(median[plane], window.value)
    mirrors = _mirrors(data, axes[plane])
    if mirrors.value and dims.value == 2:
        numbers["flips"] = PlannedValue(
            [], f"mirror images that validation averages, too; in evaluation and inference {mirrors.value}"
        )
    numbers |= _network_numbers(architecture, patch.value)
    numbers["precision"] = PlannedValue("auto", "bfloat16 where the processor or card computes in it")
    numbers["batch_size"] = batch
    numbers |= _schedule(data, wishes, dims.value, architecture)
    slices = dims.value < data.spatial_dims  # a slice of a volume may have none of its classes
    by_class = slices or any(
        _MOST_OF_CASE * length > size for length, size in zip(median[plane], patch.value, strict=True)
    )
    numbers |= _loss(data, by_class=by_class)
    numbers |= _augmentation(dims.value, target[plane], intensity)
    what = f"{cache_bytes / 1e9:.2g} GB of images in memory"
    numbers["cache"] = PlannedValue(
        cached, what if cached else f"{what} would be too much; each is read again every epoch"
    )
    scored = validation_bytes(resampled, len(data.classes)) if wishes.training_share < 1 else 0
    peak = PROCESS_BYTES + (cache_bytes if cached else 0) + max(held, scored)
    return Plan(
        architecture=architecture,
        dims=dims,
        intensity=intensity,
        axcodes="".join("RAS"[axis] for axis in axes) if data.spatial_dims == 3 else "",
        is_volume=data.spatial_dims == 3,
        mirrors=mirrors,
        crops_by_class=by_class,
        numbers=numbers,
        peak_gb=peak / 1e9,
        warnings=tuple(plan_warnings(data, wishes, peak / 1e9)),
    )


def _dims(data: Fingerprint, asked: int | None) -> PlannedValue:
    """Rule 1."""
    if data.spatial_dims == 2:
        if asked == 3:
            raise SegpipeError(
                "plan: 3 dimensions are asked for, but the cases are pictures of 2; leave out --dims"
            )
        return PlannedValue(2, "the cases are pictures")
    if asked is not None:
        return PlannedValue(asked, "as asked for")
    spacing, size = np.median(data.spacings_mm, axis=0), np.median(data.sizes, axis=0)
    coarse = _coarsest(spacing)
    times = spacing[coarse] / spacing.min()
    if times >= _THICK_TIMES or size[coarse] < _FEW_SLICES:
        return PlannedValue(2, f"{size[coarse]:.0f} slices of {times:.1f} times a pixel")
    return PlannedValue(3, "the cases are volumes")


def _axes(data: Fingerprint, dims: int) -> list[int]:
    """Return the order of axes: a network of slices takes them along the last, which so is the coarsest."""
    if dims == data.spatial_dims:
        return list(range(dims))
    coarse = _coarsest(np.median(data.spacings_mm, axis=0))
    return [axis for axis in range(3) if axis != coarse] + [coarse]


def _coarsest(spacing: Array) -> int:
    """Return the coarsest axis, of several alike the last: slices that nothing else tells are axial."""
    return len(spacing) - 1 - int(np.argmax(np.round(spacing[::-1], 2)))


def _spacing(data: Fingerprint, dims: int, spacings: Array) -> PlannedValue:
    """Rule 2."""
    if data.spatial_dims == 2:
        return PlannedValue(None, "pictures keep their pixels")
    median = np.median(spacings, axis=0)
    if dims == 2:
        return PlannedValue(
            [*_rounded(median[:2]), None], f"the median of {data.cases} scans; slices stay where they are"
        )
    coarse, finest = _coarsest(median), median.min()
    if median[coarse] > _COARSE_TIMES * finest:
        median[coarse] = np.percentile(spacings[:, coarse], 10)
        return PlannedValue(
            _rounded(median), f"the median of {data.cases} scans; of the coarse axis the 10th percentile"
        )
    return PlannedValue(_rounded(median), f"the median of {data.cases} scans")


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _intensity(channels: Sequence[Channel], numbers: dict[str, PlannedValue]) -> str:
    """Rule 3; adds the window."""
    if not all(channel.is_ct for channel in channels):
        return "z-score"
    if all(channel.has_air for channel in channels):
        low = min(channel.foreground_low for channel in channels)
        high = max(channel.foreground_high for channel in channels)
        low, high = float(math.floor(low)), float(max(math.ceil(high), math.floor(low) + 1))
        numbers["window_hu"] = PlannedValue(
            [low, high], "HU that become 0 and 1: the foreground's 0.5th and 99.5th percentiles"
        )
        numbers["intensity"] = PlannedValue("auto", "hu says that a scan is in HU that does not look so")
        return "hu"
    if all(channel.fits_eight_bits for channel in channels):
        numbers["window_hu"] = PlannedValue(
            [-1000.0, 400.0], "of no use: the cases are pictures, and HU are refused"
        )
        numbers["intensity"] = PlannedValue(
            "auto", "uint8 says that a picture is of 8 bits that is not stored so"
        )
        return "uint8"
    return "z-score"


def _patch(
    data: Fingerprint,
    wishes: PlanOptions,
    dims: int,
    median: Array,
    spacing: Array,
    step_bytes: StepBytes,
    free: float,
) -> tuple[Architecture, PlannedValue, PlannedValue, int]:
    """Rules 4 to 6: return network, patch, batch and the bytes of a step."""
    most = _MOST_VOXELS[dims] * (_CARD_TIMES if wishes.cuda else 1)
    size: Array | None = median.astype(int)
    cut_for = "nothing"
    while size is not None:
        architecture = _architecture(data, wishes.network, dims, size, spacing)
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
        needed = step_bytes(architecture, 1, patch) + wishes.memory_gb * 1e9 - free
        raise SegpipeError(
            f"plan: {wishes.memory_gb:g} GB of memory are too few: even a patch of {' x '.join(map(str, patch))} "
            f"voxels takes about {needed / 1e9:.1f} GB in training; give --memory "
            f"{math.ceil(needed / 1e8) / 10:g}GB or more"
        )
    text = " x ".join(f"{length:.0f}" for length in median)
    why = {
        "nothing": f"nearly the median case, {text}",
        "time": f"of the median case, {text}: more would take a step too long",
        "memory": f"of the median case, {text}: more would not fit the memory",
    }[cut_for]
    return (
        architecture,
        PlannedValue(patch, why),
        PlannedValue(batch, f"{batch * voxels:,} voxels a step"),
        held,
    )


def _fitted(size: Array, units: Sequence[int]) -> list[int]:
    """Round down to what the network halves to whole voxels, of which one axis must keep two."""
    patch = [max(int(n) // unit, 1) * unit for n, unit in zip(size, units, strict=True)]
    if not any(n >= 2 * unit for n, unit in zip(patch, units, strict=True)):
        longest = int(np.argmax(patch))
        patch[longest] = 2 * units[longest]
    return patch


def _cut(size: Array, spacing: Array, units: Sequence[int]) -> Array | None:
    """Return a patch whose axis of the largest extent is a step smaller; None where none can be."""
    smallest = 2 * _FEWEST_BELOW
    for axis in np.argsort(-size * spacing, kind="stable"):
        step = min(max(units[axis] // 2, 1) * 2, 32)
        if size[axis] - step >= smallest:
            smaller = size.copy()
            smaller[axis] = (size[axis] - 1) // step * step
            return smaller
    return None


def _architecture(data: Fingerprint, network: str, dims: int, size: Array, spacing: Array) -> Architecture:
    """Rule 5."""
    if network not in NETWORKS:
        raise SegpipeError(f"plan: there is no network {network!r}; choose one of {', '.join(NETWORKS)}")
    name = {"segnet": "SegNet", "unet": "DynUNet" if dims == 3 else "UNet"}[network]
    left, pitch = np.array(size, int), np.array(spacing, float)
    strides, kernels = [(1,) * dims], []
    across = np.zeros(dims, bool)
    while True:
        near = pitch < _HALVED_TIMES * pitch.min()
        across |= near
        kernels.append(tuple(3 if own else 1 for own in across))
        large = left >= 2 * _FEWEST_BELOW
        halved = near & large
        if name != "DynUNet":
            halved = np.full(dims, bool(large.all()))  # its pools halve every axis
        if name == "DynUNet" and len(strides) < _FEWEST_LEVELS and not halved.any():
            halved = near
        if len(strides) > _MOST_HALVINGS or not halved.any():
            break
        strides.append(tuple(2 if own else 1 for own in halved))
        left, pitch = np.where(halved, left // 2, left), np.where(halved, 2 * pitch, pitch)
    widths = tuple(min(_FIRST_WIDTH[dims] * 2**level, _LAST_WIDTH) for level in range(len(strides)))
    if name == "SegNet":  # its last pool has no level below
        widths = widths[: max(len(strides) - 1, 1)]
    return Architecture(
        name, dims, len(data.channels), len(data.classes), tuple(strides), tuple(kernels), widths
    )


def _window(dims: int, median: Array, patch: PlannedValue, units: Sequence[int]) -> PlannedValue:
    """Rule 7."""
    if dims == 2:
        whole = [math.ceil(n / unit) * unit for n, unit in zip(median, units, strict=True)]
        if math.prod(whole) <= _WINDOW_TIMES * math.prod(patch.value):
            return PlannedValue(whole, "the median picture: normalisation within a window depends on it")
    return PlannedValue(patch.value, "as the patch: instance norm counts the padding of a larger one")


def _overlap(median: Array, window: Sequence[int]) -> PlannedValue:
    """Return the overlap of windows: half, where they are few."""
    windows = math.prod(math.ceil(2 * length / size) for length, size in zip(median, window, strict=True))
    if len(window) == 3 and windows <= _FEW_WINDOWS:
        return PlannedValue(0.5, f"{windows} windows a scan at most")
    return PlannedValue(0.25, f"0.5 would take about {windows} windows a case")


def _network_numbers(network: Architecture, patch: Sequence[int]) -> dict[str, PlannedValue]:
    bottom = [size // unit for size, unit in zip(patch, network.units, strict=True)]
    why = f"{_FIRST_WIDTH[network.dims]}, doubled up to {_LAST_WIDTH}: few, so that a step is cheap on a processor"
    if network.name == "UNet":
        return {
            "widths": PlannedValue(list(network.widths), f"{why}; {bottom} voxels at the bottom"),
            "dropout": PlannedValue(0.2, "of the bottom level; as in our bundles of slices"),
        }
    if network.name == "SegNet":
        return {
            "stages": PlannedValue(
                [[width, width] for width in network.widths], f"{why}; {bottom} voxels at the bottom"
            ),
            "dropout": PlannedValue(0.2, "of the deepest stage; as in our bundles of slices"),
        }
    coarse = "1 across an axis that is more than twice as coarse as the finest"
    kernels, strides = _plain(network.kernels), _plain(network.strides)
    return {
        "filters": PlannedValue(list(network.widths), why),
        "kernel_size": PlannedValue(kernels, "no axis is coarse" if isinstance(kernels[0], int) else coarse),
        "strides": PlannedValue(strides, f"every axis down to 4 voxels or so: {bottom}"),
        "upsample_kernel_size": PlannedValue(strides[1:], "as the strides"),
    }


def _plain(levels: Sequence[Sequence[int]]) -> list[Any]:
    """Return levels as YAML has them, a number each where all axes are alike."""
    if all(len(set(level)) == 1 for level in levels):
        return [level[0] for level in levels]
    return list(map(list, levels))


def _schedule(
    data: Fingerprint, wishes: PlanOptions, dims: int, network: Architecture
) -> dict[str, PlannedValue]:
    """Rule 11."""
    cases = max(round(data.cases * wishes.training_share), 1)
    repeats = max(_FEWEST_A_EPOCH // cases, 1)
    patches = _PATCHES[dims] * (_CARD_TIMES if wishes.cuda else 1)
    epochs = wishes.epochs or max(round(patches / (cases * repeats)), 1)
    seen = f"{epochs * cases * repeats:,} patches of {cases} cases"
    peak = 3.0e-3 if network.name == "DynUNet" else 1.0e-3
    return {
        "epochs": PlannedValue(
            epochs, f"as asked for: {seen}" if wishes.epochs else f"{seen}, as in our bundles"
        ),
        "patches_per_case": PlannedValue(repeats, f"an epoch, which so has {cases * repeats}"),
        "learning_rate": PlannedValue(peak, "the peak of one cycle; as in our bundles with this network"),
        "warm_up_share": PlannedValue(0.2, "of all steps"),
        "weight_decay": PlannedValue(1.0e-4, "AdamW's; as in our bundles"),
        "val_interval": PlannedValue(max(epochs // _VALIDATIONS, 1), "epochs; ten validations or so"),
        "patience": PlannedValue(0, "0: a cycle is of use only when it ends"),
    }


def _loss(data: Fingerprint, *, by_class: bool) -> dict[str, PlannedValue]:
    """Rule 8."""
    present = [own for own in data.classes[1:] if own.cases]
    shares = [own.share for own in present]
    rarest = min(own.cases for own in present) / data.cases
    lacking = rarest < 1 or by_class
    numbers = {
        "dice_weight": PlannedValue(
            3.0, f"one class is in {rarest:.0%} of the cases: with less it is never found"
        )
        if rarest < 0.5
        else PlannedValue(
            1.0,
            f"of the Dice loss beside the cross-entropy; the rarest class is in {rarest:.0%} of the cases",
        ),
        "batch_dice": PlannedValue(
            lacking, "a patch may lack a class" if lacking else "every patch has every class"
        ),
    }
    if max(shares) > _COMMON_TIMES * min(shares) and len(present) == len(data.classes) - 1:
        times = max(shares) / min(shares)
        numbers["weight_power"] = PlannedValue(
            0.5, f"of the class weights: one class has {times:.0f} times another's voxels"
        )
    return numbers


def _augmentation(dims: int, spacing: Array, intensity: str) -> dict[str, PlannedValue]:
    """Rule 10."""
    coarse = _coarsest(spacing)
    if dims == 2:
        rotation = PlannedValue(_TURN, "radians, 15 degrees")
        scaling = PlannedValue([0.2, 0.2], "each axis by up to a fifth")
    elif spacing[coarse] > _COARSE_TIMES * spacing.min():
        about = [_TURN if axis == coarse else 0.0 for axis in range(3)]
        rotation = PlannedValue(about, "radians, 15 degrees, about the coarse axis alone")
        scaling = PlannedValue([0.0 if axis == coarse else 0.15 for axis in range(3)], "slices stay apart")
    else:
        rotation = PlannedValue([_TURN] * 3, "radians, 15 degrees")
        scaling = PlannedValue([0.15] * 3, "each axis by up to this part")
    if intensity == "z-score":
        contrast, shift, gamma, noise = 0.25, 0.3, [0.7, 1.5], 0.15
        why = "MRI has no scale of its own"
    else:
        contrast, shift, gamma, noise = 0.1, 0.1, [0.85, 1.2], 0.1
        why = "the numbers of CT mean something"
    return {
        "rotation": rotation,
        "scaling": scaling,
        "contrast": PlannedValue(contrast, f"intensities times 1 plus or minus up to this; {why}"),
        "brightness": PlannedValue(shift, f"intensities plus or minus up to this; {why}"),
        "gamma": PlannedValue(gamma, f"intensities to a power between these; {why}"),
        "noise": PlannedValue(noise, f"its standard deviation, up to; {why}"),
    }


def _mirrors(data: Fingerprint, axes: Sequence[int]) -> PlannedValue:
    """Rule 10: return the axes of a patch along which it may be mirrored."""
    known = [own for own in data.classes[1:] if own.cases]
    if any(own.cases < _FEWEST_TO_MIRROR or not own.offsets for own in known):
        return PlannedValue([], "a class is in too few cases to say whether left and right are alike")
    alike = [
        position
        for position, axis in enumerate(axes)
        if (axis == 0 or data.spatial_dims == 2)
        and all(abs(mean) < _MIRROR_ERRORS * error for mean, error in (own.offsets[axis] for own in known))
    ]
    return PlannedValue(
        alike, "both sides have the classes alike" if alike else "each side has classes of its own"
    )

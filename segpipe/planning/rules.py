"""The rules that turn a data set's fingerprint into the numbers of a bundle, each number with its reason.

In words, with the module of each rule:

1. Dimensions (`spacing`). Networks are 2D for 2D images and 3D for volumes. A volume's slices get a 2D network where
   they are so thick (8 times a pixel) or so few (8) that a three-dimensional kernel has nothing to see across them. Its
   slices lie across the coarsest axis.
2. Spacing (`spacing`). The median of the cases along each axis; where one axis is more than 3 times as coarse as the
   finest, its 10th percentile, so that the sharp scans lose little (Isensee et al., nnU-Net, Nature Methods 18, 2021).
   2D images keep their pixels: the spacing in their formats cannot be relied on.
3. Intensities (`intensity`). CT in Hounsfield units: the window from the 0.5th to the 99.5th percentile of the
   foreground (nnU-Net's), clipped, 0 to 1. CT as 8-bit images: slice by slice, since each has a separate window. All
   else: zero mean and unit variance, scan by scan and channel by channel.
4. Patch (`network_size`). The median case, each axis rounded down to what the network can halve; where that is more
   voxels than a step may have (`network_form`) or takes more memory than there is, the axis of the largest extent in mm
   is cut until it fits, so that the patch becomes a cube in mm (nnU-Net's, on the median shape).
5. Network (`network_size`). An axis is halved while it keeps 4 voxels and is no more than twice as fine as the finest
   (nnU-Net's), at most 6 times; a 3D U-Net's kernels leave out an axis that is not halved yet for its coarseness, a
   SegNet's do not. A U-Net of slices halves both axes or none. Channels double from level to level, from 16 in 3D and
   8 in 2D, up to 256, as in the bundles that are shipped: few, so that a step is cheap on a processor. A residual
   encoder has as many, with one or two blocks a level; a preset of it has nnU-Net's channels and blocks.
6. Batch (`network_size`). As many patches as make 65,536 voxels, from 1 to 16: both of our best bundles are so.
7. Window of inference (`network_size`). As the patch in 3D, since instance norm counts a window's padding; the whole
   image in 2D where it has at most twice the patch's pixels.
8. Loss (`training_numbers`). Dice and cross-entropy. Where one class of the foreground is 5 times as common as another,
   the cross-entropy is weighted by the square root of median-frequency weights. Where a class is absent from cases, the
   Dice is the batch's and skips what is absent; where one is absent from more than half, it counts thrice
   (benchmarks/README.md: with less, the network never learns the lungs' effusion).
9. Sampling (this module). Where the patch has most of the median case, anywhere; else round a voxel of a class, all
   classes alike. Cases are drawn alike, or, where asked for, by their rarest class (`training_numbers`).
10. Augmentation (`augmentation`). Turns and scales, about the coarse axis alone where one is 3 times as coarse;
   brightness, contrast, noise, half as much in CT, whose intensities have a fixed scale. Mirror images where both sides
   have the classes alike: along left and right in volumes, along any axis in 2D images, if no class (each in 8 cases or
   more) lies on one side of the image by more than 2.5 standard errors. So a left kidney stays one. Evaluation and
   inference of slices average the scores of these mirror images, too, as our bundles do; in volumes that would take too
   long.
11. Schedule (`training_numbers`). AdamW, one cycle; as many patches as in our bundles (2,240 in 3D, 6,500 in 2D; ten
   times as many on a CUDA card), in epochs of at least 64; ten validations.

Each number carries its reason into the YAML. The rules take numbers alone: no name, no path and no voxel.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.planning.augmentation import augmentation_numbers, mirrored_axes
from segpipe.planning.fingerprint import Fingerprint
from segpipe.planning.intensity import intensity_numbers
from segpipe.planning.like_network import like_dimensions, like_numbers
from segpipe.planning.memory import PROCESS_BYTES, images_bytes, validation_bytes
from segpipe.planning.network_size import fitted_patch, require_preset_fits, window_overlap, window_size
from segpipe.planning.plans import PRESETS, Plan, PlannedValue, PlanOptions, StepBytes
from segpipe.planning.spacing import axis_order, dimensions, target_spacing
from segpipe.planning.training_numbers import loss_numbers, schedule_numbers
from segpipe.planning.warnings import plan_warnings

_MOST_OF_CASE = 0.75
_CACHE_SHARE = 0.5


def plan(data: Fingerprint, options: PlanOptions, step_bytes: StepBytes) -> Plan:
    """Apply the rules.

    Args:
        data: the fingerprint.
        options: options of the user.
        step_bytes: see `segpipe.planning.memory.step_bytes`.

    Raises:
        SegpipeError: options that the data exclude: a 3D network for 2D images, or less memory than the smallest patch
            or the validation of the largest case needs.
    """
    dims = like_dimensions(options.like, dimensions(data, options.dims))
    axes = axis_order(data, dims.value)
    spacings = np.array(data.spacings_mm, float)[:, axes]
    sizes = np.array(data.sizes, float)[:, axes]
    spacing = target_spacing(data, dims.value, spacings)
    target = np.array(spacing.value or np.ones(len(axes)), float)
    resampled = sizes * spacings / target if spacing.value else sizes
    if dims.value == 2 and data.spatial_dims == 3:  # slices keep their spacing
        resampled[:, 2] = sizes[:, 2]
    plane = slice(0, dims.value)
    median = np.maximum(np.median(np.round(resampled), axis=0), 1)[plane]

    intensity, numbers = intensity_numbers(data.channels)
    if spacing.value:
        numbers["spacing_mm"] = spacing
    cache_bytes = images_bytes(resampled, len(data.channels))
    cached, free = _cached_and_free(options, cache_bytes)
    fitted = fitted_patch(data, options, median, target[plane], step_bytes, free)
    patch, architecture = fitted.patch_size, fitted.architecture
    cached = cached and PROCESS_BYTES + cache_bytes + fitted.step_bytes <= options.memory_gb * 1e9
    window = window_size(median, patch, architecture.units)
    numbers["patch_size"] = patch
    numbers["window_size"] = window
    numbers["overlap"] = window_overlap(median, window.value)
    mirrors = mirrored_axes(data, axes[plane])
    if mirrors.value and dims.value == 2:
        numbers["flips"] = PlannedValue(
            [],
            f"axes of mirror images that validation averages, too; in evaluation and inference {mirrors.value}",
        )
    numbers |= like_numbers(options.like, fitted)
    numbers["precision"] = PlannedValue("auto", "bfloat16 where the processor or card computes in it")
    numbers["batch_size"] = fitted.batch_size
    numbers |= schedule_numbers(data, options, architecture)
    slices = dims.value < data.spatial_dims  # a slice may lack classes of its volume
    by_class = slices or any(
        _MOST_OF_CASE * length > size for length, size in zip(median, patch.value, strict=True)
    )
    numbers |= loss_numbers(data, by_class=by_class)
    numbers |= augmentation_numbers(target[plane], intensity)
    memory = f"{cache_bytes / 1e9:.2g} GB of images in memory"
    numbers["cache"] = PlannedValue(
        cached, memory if cached else f"{memory} would be too much; each is read again every epoch"
    )
    beside = PROCESS_BYTES + (cache_bytes if cached else 0)
    scored = _scored_bytes(options, resampled, data.num_outputs, beside)
    peak = beside + max(fitted.step_bytes, scored)
    require_preset_fits(options, fitted, peak)
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
        warnings=tuple(plan_warnings(data, options, architecture, patch.value, median)),
    )


def _cached_and_free(options: PlanOptions, cache_bytes: int) -> tuple[bool, float]:
    """Return whether images stay in memory, and the bytes that a step may take: what is left, or a preset's."""
    budget = options.memory_gb * 1e9 - PROCESS_BYTES
    cached = cache_bytes <= _CACHE_SHARE * budget
    if options.preset in PRESETS:
        return cached, PRESETS[options.preset] * 1e9 - PROCESS_BYTES
    return cached, budget - (cache_bytes if cached else 0)


def _scored_bytes(options: PlanOptions, sizes: NDArray[np.float64], num_classes: int, beside: float) -> int:
    """Return the bytes of validation; refuse a validation that takes more memory than was given."""
    scored = validation_bytes(sizes, num_classes) if options.training_share < 1 else 0
    needed = beside + scored
    if needed <= options.memory_gb * 1e9:
        return scored
    largest = sizes[int(np.argmax(np.prod(sizes, axis=1)))]
    text = " x ".join(f"{length:.0f}" for length in largest)
    raise SegpipeError(
        f"plan: {options.memory_gb:g} GB of memory are too few: validation holds the scores of a whole case, and the "
        f"largest case, {text} voxels with {num_classes} classes, takes about {needed / 1e9:.1f} GB; give --memory "
        f"{math.ceil(needed / 1e8) / 10:g}GB or more, or --no-validation to train on every case"
    )

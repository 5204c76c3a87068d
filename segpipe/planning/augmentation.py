"""Rule 10 of a plan: random augmentation of training patches, and mirroring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from segpipe.planning.fingerprint import Fingerprint
from segpipe.planning.plans import Intensity, PlannedValue
from segpipe.planning.spacing import COARSE_TIMES, coarsest

_TURN = 0.26
_FEWEST_TO_MIRROR, _MIRROR_ERRORS = 8, 2.5


def augmentation_numbers(spacing: NDArray[Any], intensity: Intensity) -> dict[str, PlannedValue]:
    """Return the ranges of rotation, scaling and changes of intensity (rule 10).

    Args:
        spacing: mm along each axis of the network.
        intensity: how intensities are normalised.
    """
    coarse = coarsest(spacing)
    if len(spacing) == 2:
        rotation = PlannedValue(_TURN, "radians, 15 degrees")
        scaling = PlannedValue([0.2, 0.2], "each axis by up to a fifth")
    elif spacing[coarse] > COARSE_TIMES * spacing.min():
        about = [_TURN if axis == coarse else 0.0 for axis in range(3)]
        rotation = PlannedValue(about, "radians, 15 degrees, about the coarse axis alone")
        scaling = PlannedValue([0.0 if axis == coarse else 0.15 for axis in range(3)], "slices stay apart")
    else:
        rotation = PlannedValue([_TURN] * 3, "radians, 15 degrees")
        scaling = PlannedValue([0.15] * 3, "each axis by up to this part")
    if intensity == "z-score":
        contrast, shift, gamma, noise = 0.25, 0.3, [0.7, 1.5], 0.15
        why = "these intensities have no fixed scale"
    else:
        contrast, shift, gamma, noise = 0.1, 0.1, [0.85, 1.2], 0.1
        why = "CT intensities are densities"
    return {
        "rotation": rotation,
        "scaling": scaling,
        "contrast": PlannedValue(contrast, f"intensities times 1 plus or minus up to this; {why}"),
        "brightness": PlannedValue(shift, f"intensities plus or minus up to this; {why}"),
        "gamma": PlannedValue(gamma, f"intensities to a power between these; {why}"),
        "noise": PlannedValue(noise, f"its standard deviation, up to; {why}"),
    }


def mirrored_axes(data: Fingerprint, axes: Sequence[int]) -> PlannedValue:
    """Return the axes of a patch along which it may be mirrored (rule 10).

    Args:
        data: the fingerprint.
        axes: axes of a case in the network's order.
    """
    present = [one for one in data.classes[1:] if one.cases]
    if any(one.cases < _FEWEST_TO_MIRROR or not one.offsets for one in present):
        return PlannedValue([], "a class is in too few cases to decide whether left and right are alike")
    alike = [
        position
        for position, axis in enumerate(axes)
        if (axis == 0 or data.spatial_dims == 2)
        and all(abs(mean) < _MIRROR_ERRORS * error for mean, error in (one.offsets[axis] for one in present))
    ]
    return PlannedValue(
        alike, "both sides have the same classes" if alike else "the two sides have different classes"
    )

"""Weaknesses of a plan, reported before the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from segpipe.planning.fingerprint import Fingerprint
from segpipe.planning.like_network import like_warnings
from segpipe.planning.plans import Architecture, PlanOptions

_MOST_BELOW = (
    16  # voxels along an axis of the coarsest level: more, and the network sees a small part of the patch
)


def plan_warnings(
    data: Fingerprint,
    options: PlanOptions,
    network: Architecture,
    patch: Sequence[int],
    median: NDArray[Any],
) -> list[str]:
    """Return a sentence for each weakness.

    Args:
        data: the fingerprint.
        options: options of the user.
        network: the network.
        patch: voxels of a training patch along each axis.
        median: voxels of the median case along each axis.
    """
    warnings = like_warnings(options.like, median, patch)
    below = [size // unit for size, unit in zip(patch, network.units, strict=True)]
    if max(below) > _MOST_BELOW:
        warnings.append(
            f"the network's coarsest level still has {' x '.join(map(str, below))} voxels, so the network sees only a "
            "small part of a patch around each voxel: the images are too narrow along one axis to halve them more "
            "often"
        )
    if options.preset is not None and not options.cuda:
        warnings.append(
            f"the preset {options.preset} has the size of nnU-Net's networks for a card: on a processor its training "
            "takes many times as long as that of a plan without a preset"
        )
    if data.patients == 1:
        warnings.append(
            "all cases are of one patient: nothing can be held out, so no Dice can show how good the network is, "
            "and the network learns one anatomy only; use it to try the pipeline, not on other scans"
        )
    elif not options.validate:
        warnings.append(
            "the plan trains on every case and validates on none, as asked for: only cases outside the manifest can "
            "show how good the network is"
        )
    elif options.training_share == 1.0:
        warnings.append(
            "the manifest has no folds: the plan trains on every case and validates on none; divide them with "
            "`segpipe data split`"
        )
    absent = sum(not one.cases for one in data.classes[1:])
    if absent:
        warnings.append(
            f"{absent} of {len(data.classes) - 1} classes are in no label map, and will not be learnt"
        )
    not_hu = [
        channel.modality
        for channel in data.channels
        if channel.is_ct and not (channel.has_air or channel.fits_eight_bits)
    ]
    if not_hu:
        warnings.append(
            "the CT is neither in HU (there is no air) nor in 8 bits, and is z-scored; check what its numbers are"
        )
    return warnings

"""How far label maps agree with those of a reference. Not run by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LEAST_EQUAL, LEAST_DICE = 0.9999, 0.999


@dataclass(frozen=True)
class Agreement:
    """What label maps have in common with those of the reference, all scans pooled.

    Attributes:
        all: share of voxels with equal labels.
        foreground: the same, of the voxels that either calls foreground.
        dice: of each class after the first with the reference's; None for a class that neither has.
        least_dice: the smallest of these.
        equal: whether both limits are kept.
    """

    all: float
    foreground: float
    dice: list[float | None]
    least_dice: float
    equal: bool


def agreement(maps: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], classes: int) -> Agreement:
    """Compare label maps with those of a reference.

    Args:
        maps: label maps by the name of their scan, indices of classes.
        reference: of the same scans.
        classes: their number, the background included.

    Raises:
        ValueError: label maps of a scan differ in size.
    """
    counts = np.zeros((classes, classes), np.int64)
    for name, exact in reference.items():
        if maps[name].shape != exact.shape:
            raise ValueError(f"{name}: label maps of {maps[name].shape} and {exact.shape} voxels")
        pairs = exact.astype(np.int64).ravel() * classes + maps[name].astype(np.int64).ravel()
        counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    same, voxels = np.diag(counts), int(counts.sum())
    different = voxels - int(same.sum())
    either = voxels - int(counts[0, 0])
    both = counts.sum(axis=0) + counts.sum(axis=1)
    dice = [2 * int(same[k]) / int(both[k]) if both[k] else None for k in range(1, classes)]
    share, least = 1 - different / voxels, min((one for one in dice if one is not None), default=1.0)
    return Agreement(
        share, 1 - different / max(either, 1), dice, least, share >= LEAST_EQUAL and least >= LEAST_DICE
    )

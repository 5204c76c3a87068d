"""How well two label maps agree; pure NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError


def dice_per_class(
    pred_indices: NDArray[Any], ref_indices: NDArray[Any], num_classes: int
) -> NDArray[np.float64]:
    """Return the Dice coefficient 2 |P and R| / (|P| + |R|) of each foreground class.

    Args:
        pred_indices: predicted class of each voxel, integers 0..num_classes - 1, any shape.
        ref_indices: true class of each voxel, of the same shape.
        num_classes: C, the background (0) included.

    Returns:
        Shape (C-1,), for classes 1..C-1, each 0..1. A class that neither map contains is nan, since there is
        nothing to find: it counts in no mean. A class that only one of them contains is 0.

    Raises:
        SegpipeError: shapes differ, or an index is no class.

    Source: Dice, Ecology 26:297, 1945.
    """
    if pred_indices.shape != ref_indices.shape:
        raise SegpipeError(
            f"dice: prediction and reference have the shapes {pred_indices.shape} and {ref_indices.shape}; "
            "both must lie on one grid"
        )
    for name, indices in (("prediction", pred_indices), ("reference", ref_indices)):
        if indices.size and not (indices.min() >= 0 and indices.max() < num_classes):
            raise SegpipeError(
                f"dice: the {name} has classes {indices.min()} to {indices.max()}; "
                f"needs 0 to {num_classes - 1}"
            )
    predicted = np.bincount(pred_indices.ravel(), minlength=num_classes)
    true = np.bincount(ref_indices.ravel(), minlength=num_classes)
    agreed = np.bincount(ref_indices[pred_indices == ref_indices], minlength=num_classes)
    total = (predicted + true)[1:]
    dice = np.full(num_classes - 1, np.nan)
    np.divide(2 * agreed[1:], total, out=dice, where=total > 0)
    return dice

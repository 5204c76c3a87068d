"""How well two label maps agree; pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError


def confusion_matrix(
    pred_indices: NDArray[Any], ref_indices: NDArray[Any], num_classes: int
) -> NDArray[np.int64]:
    """Count the voxels of every pair of classes.

    Args:
        pred_indices: predicted class of each voxel, integers 0..num_classes - 1, any shape.
        ref_indices: true class of each voxel, of the same shape.
        num_classes: C, the background (0) included.

    Returns:
        Shape (C, C): voxels of true class (row) and predicted class (column).

    Raises:
        SegpipeError: shapes differ, or an index is no class.
    """
    if pred_indices.shape != ref_indices.shape:
        raise SegpipeError(
            f"scores: prediction and reference have the shapes {pred_indices.shape} and {ref_indices.shape}; "
            "both must lie on one grid"
        )
    for name, indices in (("prediction", pred_indices), ("reference", ref_indices)):
        if indices.size and not (indices.min() >= 0 and indices.max() < num_classes):
            raise SegpipeError(
                f"scores: the {name} has classes {indices.min()} to {indices.max()}; "
                f"needs 0 to {num_classes - 1}"
            )
    pairs = ref_indices.ravel().astype(np.int64) * num_classes + pred_indices.ravel()
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


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
    return PooledScores.of(confusion_matrix(pred_indices, ref_indices, num_classes)).dice


@dataclass(frozen=True)
class PooledScores:
    """Scores over the voxels of all label maps together, as if they were one.

    Attributes:
        dice: (C-1,), of each foreground class, 0..1; nan for a class that is neither there nor found.
        sensitivity: (C-1,), share of a class's voxels that are found; nan for a class that is not there.
        specificity: (C-1,), share of the other voxels that are not taken for the class; nan where there is no other.
        accuracy: share of all voxels whose class is right; nan without a voxel.
        background_accuracy: what answering "background" everywhere would have for accuracy.
    """

    dice: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    accuracy: float
    background_accuracy: float

    @classmethod
    def of(cls, confusion: NDArray[np.int64]) -> PooledScores:
        """Work them out from a confusion matrix, or the sum of several, `(C, C)` as `confusion_matrix` gives it."""
        agreed, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        total = confusion.sum()
        neither = total - true - predicted + agreed
        return cls(
            dice=_ratio(2 * agreed, true + predicted)[1:],
            sensitivity=_ratio(agreed, true)[1:],
            specificity=_ratio(neither, total - true)[1:],
            accuracy=float(_ratio(agreed.sum(), total)),
            background_accuracy=float(_ratio(true[0], total)),
        )


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide; nan where there is nothing to divide by."""
    ratio = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=ratio, where=np.asarray(whole) > 0)
    return ratio

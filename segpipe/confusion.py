"""The confusion matrix, and Dice from it; training and evaluation count in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError


def confusion_matrix(
    pred_indices: NDArray[Any],
    ref_indices: NDArray[Any],
    num_classes: int,
    ignored_index: int | None = None,
) -> NDArray[np.int64]:
    """Count the voxels of every pair of true and predicted class.

    Args:
        pred_indices: predicted class of each voxel, integers 0..num_classes - 1, any shape.
        ref_indices: true class of each voxel, of the same shape.
        num_classes: C, the background (0) included.
        ignored_index: index in the reference of voxels that nobody looked at, which are not counted; None: every voxel
            is counted.

    Returns:
        Shape (C, C): voxels of true class (row) and predicted class (column).

    Raises:
        SegpipeError: shapes differ, or an index is not a class.
    """
    if pred_indices.shape != ref_indices.shape:
        raise SegpipeError(
            f"scores: prediction and reference have the shapes {pred_indices.shape} and {ref_indices.shape}; "
            "both must lie on one grid"
        )
    if ignored_index is not None and (ref_indices == ignored_index).any():
        counted = ref_indices != ignored_index
        pred_indices, ref_indices = pred_indices[counted], ref_indices[counted]
    for name, indices in (("prediction", pred_indices), ("reference", ref_indices)):
        if indices.size and not (indices.min() >= 0 and indices.max() < num_classes):
            raise SegpipeError(
                f"scores: the {name} has classes {indices.min()} to {indices.max()}; "
                f"needs 0 to {num_classes - 1}"
            )
    counts = np.zeros(num_classes**2, np.int64)
    for true, predicted in zip(np.atleast_2d(ref_indices), np.atleast_2d(pred_indices), strict=True):
        # plane by plane: bincount needs eight bytes per voxel
        pairs = true.ravel().astype(np.int64) * num_classes + predicted.ravel()
        counts += np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def target_counts(
    confusion: NDArray[np.int64], targets: Sequence[Sequence[int]] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the voxels of each target in both maps, in the reference and in the prediction.

    Args:
        confusion: `(C, C)` from `confusion_matrix`, or a sum of such matrices.
        targets: class indices of each target, which may overlap; None: each class from 1 on.

    Returns:
        three arrays of shape (targets,).
    """
    if targets is None:
        targets = [[index] for index in range(1, len(confusion))]
    counts = [
        (confusion[np.ix_(held, held)].sum(), confusion[held].sum(), confusion[:, held].sum())
        for held in map(list, targets)
    ]
    agreed, true, predicted = np.array(counts, np.int64).reshape(-1, 3).T
    return agreed, true, predicted


def foreground_dice(
    confusion: NDArray[np.int64], targets: Sequence[Sequence[int]] | None = None
) -> NDArray[np.float64]:
    """Return the Dice coefficient 2 |P and R| / (|P| + |R|) of each target.

    Args:
        confusion: `(C, C)` from `confusion_matrix`, or a sum of such matrices.
        targets: class indices of each target; None: each class from 1 on.

    Returns:
        Shape (targets,), each 0..1; nan for a target that neither map has.
    """
    shared, true, predicted = target_counts(confusion, targets)
    agreed, both = 2.0 * shared, true + predicted
    dice: NDArray[np.float64] = np.divide(agreed, both, out=np.full(len(agreed), np.nan), where=both > 0)
    return dice

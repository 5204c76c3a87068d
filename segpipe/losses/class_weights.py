"""Class weights against class imbalance, from the frequency of each class in the training cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from segpipe.errors import SegpipeError


@dataclass(frozen=True)
class ClassCounts:
    """Voxel counts of C classes over label maps.

    Attributes:
        class_voxels: (C,) int64, voxels of each class.
        map_voxels: (C,) int64, voxels of all label maps that contain the class.
        names: C names, for messages; by default the class indices.
    """

    class_voxels: NDArray[np.int64]
    map_voxels: NDArray[np.int64]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = self.names or tuple(f"class {index}" for index in range(len(self.class_voxels)))
        object.__setattr__(self, "names", names)

    @classmethod
    def of_maps(cls, voxels: ArrayLike, names: Sequence[str] = ()) -> ClassCounts:
        """Add up the counts of several label maps.

        Args:
            voxels: `(maps, C)`, voxels of each class in each map.
            names: of the C classes.
        """
        per_map = np.asarray(voxels, dtype=np.int64)
        sizes = per_map.sum(axis=1, keepdims=True)
        return cls(per_map.sum(axis=0), np.where(per_map > 0, sizes, 0).sum(axis=0), tuple(names))


def median_frequency_weights(counts: ClassCounts) -> torch.Tensor:
    """Weight each class by the median class frequency divided by the frequency of the class.

    A class's frequency is its voxel count divided by the voxels of the label maps that contain the class, so a class in
    few cases is not punished for the others. The median of an even number of classes is the mean of the middle two.

    Args:
        counts: over the training cases only; background is class 0.

    Returns:
        float32 tensor of shape (C,), all > 0.

    Raises:
        SegpipeError: a class has no voxel at all (its weight would be infinite).

    Source: Eigen & Fergus, ICCV 2015; Badrinarayanan et al., TPAMI 2017.
    """
    frequency = _present(counts) / counts.map_voxels
    return torch.as_tensor(np.median(frequency) / frequency, dtype=torch.float32)


def inverse_frequency_weights(counts: ClassCounts) -> torch.Tensor:
    """Weight each class by how much rarer it is than if all classes were equally frequent.

    Args:
        counts: over the training cases only.

    Returns:
        float32 tensor of shape (C,): the voxels of all classes, divided by C times those of the class; 1 for equal
        classes.

    Raises:
        SegpipeError: a class has no voxel at all.
    """
    voxels = _present(counts)
    return torch.as_tensor(voxels.sum() / (len(voxels) * voxels), dtype=torch.float32)


def effective_number_weights(counts: ClassCounts, beta: float = 0.999999) -> torch.Tensor:
    """Weight each class by the inverse of its effective number of voxels, which is at most 1 / (1 - beta).

    Args:
        counts: over the training cases only.
        beta: from 0 (equal weights) to below 1; the closer to 1, the closer to the inverse frequency.

    Returns:
        float32 tensor of shape (C,), with sum C.

    Raises:
        SegpipeError: a class has no voxel at all, or `beta` is out of range.

    Source: Cui et al., Class-balanced loss based on effective number of samples, CVPR 2019.
    """
    if not 0 <= beta < 1:
        raise SegpipeError(f"class weights: beta is {beta}; must be from 0 to below 1")
    inverse = 1 / -np.expm1(_present(counts) * np.log(beta)) if beta else np.ones(len(counts.class_voxels))
    return torch.as_tensor(inverse * len(inverse) / inverse.sum(), dtype=torch.float32)


def _present(counts: ClassCounts) -> NDArray[np.float64]:
    """Return the voxels of each class as floats; refuse a class without voxels."""
    absent = [
        name for name, voxels in zip(counts.names, counts.class_voxels.tolist(), strict=True) if voxels == 0
    ]
    if absent:
        raise SegpipeError(
            f"class weights: no training case has a voxel of {', '.join(absent)}, whose weight would be "
            "infinite; choose folds in which every class occurs, or take the class out of the label table"
        )
    return counts.class_voxels.astype(np.float64)

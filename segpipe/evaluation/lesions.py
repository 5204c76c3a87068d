"""Counts of the connected pieces of a reference mask that a predicted mask touches or misses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LesionCounts:
    """Numbers of connected pieces; voxels that share a face, an edge or a corner belong to one piece.

    Attributes:
        found: pieces of the reference with at least one predicted voxel.
        missed: pieces of the reference without a predicted voxel.
        false: pieces of the prediction that lie wholly outside the reference.
    """

    found: int
    missed: int
    false: int

    @property
    def in_reference(self) -> int:
        """Pieces of the reference."""
        return self.found + self.missed

    @property
    def f1(self) -> float:
        """2 found / (2 found + missed + false), 0..1; nan where neither mask has a piece.

        Source: the ISLES 2022 challenge (Hernandez Petzsche et al., Scientific Data 2022), whose score of two empty
        masks is 1.
        """
        whole = 2 * self.found + self.missed + self.false
        return 2 * self.found / whole if whole else float("nan")


def lesion_counts(prediction: Mask, reference: Mask) -> LesionCounts:
    """Match the pieces of two masks of one shape, `(x, y)` or `(x, y, z)`."""
    pieces, touched = _touched(reference, prediction)
    predicted, right = _touched(prediction, reference)
    return LesionCounts(found=touched, missed=pieces - touched, false=predicted - right)


def _touched(mask: Mask, other: Mask) -> tuple[int, int]:
    """Return the number of a mask's pieces, and the number of pieces that share a voxel with the other mask."""
    labelled, pieces = ndimage.label(mask, np.ones((3,) * mask.ndim, int))
    touched = np.zeros(pieces + 1, bool)
    touched[labelled[other]] = True
    return pieces, int(touched[1:].sum())

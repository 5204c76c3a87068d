"""Removal of the small connected pieces of classes from a map of class indices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.errors import SegpipeError

_SPATIAL = (2, 3)


def piece_sizes(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Label the connected pieces of a mask; voxels that touch at a corner are connected.

    Args:
        mask: `(x, y)` or `(x, y, z)`.

    Returns:
        the piece of each voxel, 0 outside the mask, and the number of voxels of each piece, the outside at place 0.
    """
    pieces = np.zeros(mask.shape, np.int32)
    number = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim), output=pieces)
    sizes = np.zeros(number + 1, np.int64)
    for plane in pieces:  # bincount needs eight bytes per voxel
        sizes += np.bincount(plane.ravel(), minlength=number + 1)
    return pieces, sizes


class RemoveSmallPiecesd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Set connected pieces of a class that are smaller than a volume to background.

    MONAI's RemoveSmallObjectsd takes all voxels of a class in an index map as one object, however many pieces it has.

    Args:
        keys: class indices `(1, *spatial)` with the affine of their grid.
        applied_labels: class indices whose pieces are removed, each 1 or more.
        min_volumes: for each of these classes, the smallest volume that stays: mm3 in 3D, mm2 in 2D (pixels for
            PNG and JPEG, which have no spacing).
        allow_missing_keys: of MONAI's MapTransform.

    Raises:
        SegpipeError: the two lists differ in length, a class is the background, or a volume is not above 0.
    """

    def __init__(
        self,
        keys: KeysCollection,
        applied_labels: Sequence[int],
        min_volumes: Sequence[float],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        labels, volumes = list(applied_labels), list(min_volumes)
        if len(labels) != len(volumes) or any(label < 1 for label in labels):
            raise SegpipeError(
                f"RemoveSmallPiecesd: applied_labels is {labels} and min_volumes is {volumes}; must be class indices "
                "from 1 on, and a volume for each"
            )
        if not all(0 < volume < np.inf for volume in volumes):
            raise SegpipeError(f"RemoveSmallPiecesd: min_volumes is {volumes}, each must be above 0")
        self.volume_of = dict(zip(labels, volumes, strict=True))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Remove the pieces from every key of one record."""
        cleaned = dict(data)
        for key in self.key_iterator(cleaned):
            cleaned[key] = self._cleaned(cleaned[key])
        return cleaned

    def _cleaned(self, label_map: Any) -> MetaTensor:
        if not isinstance(label_map, MetaTensor) or len(label_map) != 1 or label_map.ndim - 1 not in _SPATIAL:
            raise SegpipeError(
                f"RemoveSmallPiecesd: got {tuple(label_map.shape)}, must be class indices (1, x, y[, z]) with an "
                "affine; put it after AsDiscreted (argmax) or RegionsToClassesd"
            )
        spatial_dims = label_map.ndim - 1
        voxel = float(np.prod([float(length) for length in label_map.pixdim[:spatial_dims]]))
        indices = label_map[0].cpu().numpy()
        removed = np.zeros(indices.shape, bool)
        for label, smallest in self.volume_of.items():
            mask = indices == label
            (box,) = ndimage.find_objects(mask.view(np.uint8), 1)
            if box is None:
                continue
            pieces, sizes = piece_sizes(mask[box])
            small = sizes * voxel < smallest
            small[0] = False
            for plane, of_plane in zip(removed[box], pieces, strict=True):
                plane |= small[of_plane]
        cleaned: MetaTensor = label_map.clone()
        cleaned[0][torch.from_numpy(removed).to(label_map.device)] = 0
        return cleaned

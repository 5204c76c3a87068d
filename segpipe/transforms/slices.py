"""Transforms of slices: normalise each slice by itself, and orient volumes but not 2D slices."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Orientation
from monai.utils import convert_to_numpy
from scipy import ndimage

from segpipe.errors import SegpipeError


class NormalizeSlicesd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Normalise the content of each slice to mean 0 and standard deviation 1, and set the canvas to 0.

    Slices with an unknown window differ in brightness and contrast. The canvas is a large black area: around a crop, or
    outside the scanner's field of view. With a canvas of 0, the statistics of a network's norm layers depend on the
    body alone. MONAI's `NormalizeIntensityd` normalises a whole volume at once, and its `nonzero` counts every black
    voxel as canvas: air, of which half is below the window, then becomes black and white noise.

    Args:
        keys: images `(C, x, y)` or `(C, x, y, z)`, 0 to 1; each plane along z is normalised separately.
        min_std: lower bound of the standard deviation, so that the noise of an empty slice stays small.
        block: pixels, odd; the canvas is the union of squares of this side, with centres in the slice, whose pixels in
            the slice are all 0.

    Returns:
        per key a float32 MetaTensor of the same shape.

    Raises:
        SegpipeError: at construction, if `min_std` is not above 0 or `block` is not an odd number.
    """

    def __init__(self, keys: KeysCollection, min_std: float = 0.05, block: int = 15) -> None:
        super().__init__(keys)
        if not min_std > 0 or block < 1 or block % 2 != 1:
            raise SegpipeError(f"min_std is {min_std} and block {block}; must be above 0, and odd")
        self.min_std = min_std
        self.block = block

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise every key of one record."""
        normalized = dict(data)
        for key in self.key_iterator(normalized):
            image = normalized[key]
            body = ~self._canvas(image)
            count = body.sum(dim=(1, 2), keepdim=True).clamp(min=1)
            centred = (image - (image * body).sum(dim=(1, 2), keepdim=True) / count) * body
            std = (centred.square().sum(dim=(1, 2), keepdim=True) / count).sqrt()
            normalized[key] = centred / std.clamp(min=self.min_std)
        return normalized

    def _canvas(self, image: torch.Tensor) -> torch.Tensor:
        """Return the morphological opening of the zero pixels of each plane; pixels outside the plane count as zero."""
        black = convert_to_numpy(image) == 0
        size = [1, self.block, self.block, 1][: black.ndim]
        blocks = ndimage.minimum_filter(black, size, mode="constant", cval=1)
        return torch.from_numpy(ndimage.maximum_filter(blocks, size, mode="constant", cval=0))


class OrientVolumesd(MapTransform, InvertibleTransform):  # type: ignore[misc]  # MONAI is untyped
    """Bring volumes to one orientation, as MONAI's `Orientationd` does; 2D slices keep the order of their file.

    2D formats do not reliably state the meaning of a slice's axes. The inverse restores the volumes' orientation.

    Args:
        keys: images `(C, x, y)` or `(C, x, y, z)`.
        axcodes: directions of the three axes of a volume, such as "PLS": back, left, head.
        allow_missing_keys: of MONAI's MapTransform.
    """

    def __init__(self, keys: KeysCollection, axcodes: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.turn = Orientation(axcodes=axcodes, labels=None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn every volume of one record."""
        return self._each_volume(data, self.turn)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn every volume back."""
        return self._each_volume(data, self.turn.inverse)

    def _each_volume(
        self, data: Mapping[Hashable, Any], change: Callable[[MetaTensor], MetaTensor]
    ) -> dict[Hashable, Any]:
        changed = dict(data)
        for key in self.key_iterator(changed):
            if changed[key].ndim > _SLICE_DIMS:
                changed[key] = change(changed[key])
        return changed


_SLICE_DIMS = 3  # of a slice with its channels

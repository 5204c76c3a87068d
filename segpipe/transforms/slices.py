"""Slices by themselves: normalised one by one in a volume, and left as they lie where volumes are turned."""

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
    """Bring what lies on each slice's canvas to mean 0 and standard deviation 1, the canvas itself to 0.

    Slices in a window that nobody published differ in brightness and contrast. The canvas is what is black without a
    break: round a crop, or outside a scanner's field of view. A neutral canvas leaves the statistics that a network's
    norm takes over a slice to the body. MONAI's `NormalizeIntensityd` takes a volume as one, and its `nonzero` takes
    every black voxel for canvas: air, half of it below the window, becomes pepper and salt.

    Args:
        keys: images `(C, x, y)` or `(C, x, y, z)`, 0 to 1, each plane along z a slice of its own.
        min_std: a smaller standard deviation counts as this one, so that the noise of an empty slice stays small.
        block: pixels, odd; the canvas is made of squares of this side, their centres in the slice, that are 0
            as far as they lie in it.

    Returns:
        per key a float32 MetaTensor of the same shape.

    Raises:
        SegpipeError: at construction, when `min_std` is not above 0 or `block` no odd number.
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
        """Return the morphological opening of what is 0, plane by plane; beyond its edge a plane goes on as canvas."""
        black = convert_to_numpy(image) == 0
        size = [1, self.block, self.block, 1][: black.ndim]
        blocks = ndimage.minimum_filter(black, size, mode="constant", cval=1)
        return torch.from_numpy(ndimage.maximum_filter(blocks, size, mode="constant", cval=0))


class OrientVolumesd(MapTransform, InvertibleTransform):  # type: ignore[misc]  # MONAI is untyped
    """Bring volumes to one orientation, as MONAI's `Orientationd` does; 2D slices stay as their file has them.

    What a slice's axes mean, no 2D format says reliably. The inverse puts volumes back.

    Args:
        keys: images `(C, x, y)` or `(C, x, y, z)`.
        axcodes: where the three axes of a volume are to point, such as "PLS": back, left, head.
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

"""Resizing of images by their shorter side, as ImageNet's networks expect."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch.nn.functional import interpolate

from segpipe.errors import SegpipeError


class ResizeShorterSided(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Resize an image so that its shorter side has a number of pixels; the ratio of the sides stays.

    MONAI's Resized sets all sides, or the longest.

    Args:
        keys: images `(C, rows, columns)`, float.
        size: pixels of the shorter side afterwards; the longer side is rounded down.
        allow_missing_keys: of MONAI's MapTransform.

    Raises:
        SegpipeError: the size is not a whole number of at least 1.

    Returns:
        per key `(C, rows, columns)`, bilinear with antialiasing.
    """

    def __init__(self, keys: KeysCollection, size: int, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise SegpipeError(f"ResizeShorterSided: size is {size!r}, must be a whole number of at least 1")
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize every key of one record."""
        changed = dict(data)
        for key in self.key_iterator(changed):
            changed[key] = self._resized(changed[key])
        return changed

    def _resized(self, image: torch.Tensor) -> torch.Tensor:
        rows, columns = image.shape[1:]
        shorter = min(rows, columns)
        if shorter == self.size:
            return image
        wanted = (rows * self.size // shorter, columns * self.size // shorter)
        return interpolate(image[None], wanted, mode="bilinear", align_corners=False, antialias=True)[0]

"""The part of an image that is not zero: cropping to it, and its mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import CropForegroundd
from monai.utils import convert_to_numpy
from numpy.typing import NDArray
from scipy import ndimage


class CropNonzerod(CropForegroundd):  # type: ignore[misc]  # MONAI is untyped
    """Crop images to the box of the voxels that are not 0 in some channel.

    MONAI's `CropForegroundd` crops to the voxels above 0, and the air of a CT in HU is below.

    Args:
        keys: images `(C, *spatial)`.
        source_key: the image whose voxels count.
        allow_missing_keys: of MONAI's MapTransform.
    """

    def __init__(
        self, keys: KeysCollection, source_key: str = "image", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(
            keys,
            source_key,
            is_nonzero,
            start_coord_key=None,
            end_coord_key=None,
            allow_missing_keys=allow_missing_keys,
        )


def is_nonzero(image: torch.Tensor) -> Any:
    """Return where an image is not 0, of the same shape."""
    return image != 0


def nonzero_mask(image: torch.Tensor) -> NDArray[np.bool_]:
    """Return where an image `(C, *spatial)` is not 0 in some channel, `(*spatial)`; holes are filled.

    Source: Isensee et al., Nature Methods 2021; `create_nonzero_mask` of nnU-Net 2.
    """
    mask: NDArray[np.bool_] = ndimage.binary_fill_holes((convert_to_numpy(image) != 0).any(axis=0))
    return mask

"""Normalise each channel of an image by a scheme of its own, as nnU-Net's plans state them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_numpy
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.transforms.nonzero import nonzero_mask

Voxels = NDArray[np.float32]
_SMALLEST = 1e-8  # of a divisor
_HIGHEST_RGB = 255.0
_OF_CT = ("mean", "std", "low", "high")


class NormalizeChannelsd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Normalise each channel of an image by its scheme.

    Args:
        keys: images `(C, *spatial)`.
        schemes: one mapping a channel, with `scheme` and the numbers of the scheme:

            - `z-score`: mean 0 and standard deviation 1. With `within_nonzero: true` the statistics are of the voxels
              that are not 0 in some channel, holes filled, and the other voxels stay as they are.
            - `ct`: clipped to `low` and `high`, minus `mean`, divided by `std`.
            - `0 to 1`: minus the smallest value, divided by the largest difference from it.
            - `rgb`: divided by 255; voxels must lie between 0 and 255.
            - `none`: as stored.
        allow_missing_keys: of MONAI's MapTransform.

    Returns:
        per key a float32 image of the same shape.

    Raises:
        SegpipeError: an unknown scheme, or one without its numbers; when called, another number of channels, or voxels
            outside of 0 to 255 for `rgb`.

    Source: Isensee et al., Nature Methods 2021; the normalisation schemes of nnU-Net 2.
    """

    def __init__(
        self, keys: KeysCollection, schemes: Sequence[Mapping[str, Any]], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        for number, scheme in enumerate(schemes):
            name = scheme.get("scheme")
            if name not in _SCHEMES:
                raise SegpipeError(
                    f"schemes: channel {number} has the scheme {name!r}; choose from {', '.join(_SCHEMES)}"
                )
            lacking = [part for part in _OF_CT if name == "ct" and part not in scheme]
            if lacking:
                raise SegpipeError(
                    f"schemes: channel {number}, ct, lacks {', '.join(lacking)}; add the numbers"
                )
        self.schemes = tuple(dict(scheme) for scheme in schemes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise every key of one record."""
        changed = dict(data)
        for key in self.key_iterator(changed):
            changed[key] = self._normalized(changed[key])
        return changed

    def _normalized(self, image: MetaTensor) -> MetaTensor:
        name = image.meta.get("filename_or_obj", "image")
        if len(image) != len(self.schemes):
            raise SegpipeError(
                f"{name}: has {len(image)} channels, the bundle normalises {len(self.schemes)}; give one file for each"
            )
        masked = any(scheme.get("within_nonzero") for scheme in self.schemes)
        mask = nonzero_mask(image) if masked else None
        voxels = convert_to_numpy(image).astype(np.float32)  # a copy
        for channel, scheme in zip(voxels, self.schemes, strict=True):
            if scheme["scheme"] == "rgb" and not (channel.min() >= 0 and channel.max() <= _HIGHEST_RGB):
                raise SegpipeError(
                    f"{name}: voxels go from {channel.min():g} to {channel.max():g}, must be 0 to 255 (RGB); give "
                    "images of 8 bits"
                )
            _SCHEMES[scheme["scheme"]](channel, scheme, mask)
        return MetaTensor(torch.from_numpy(voxels)).copy_meta_from(image)


def _z_score(channel: Voxels, scheme: Mapping[str, Any], mask: NDArray[np.bool_] | None) -> None:
    if scheme.get("within_nonzero") and mask is not None:
        inside = channel[mask]
        channel[mask] = (inside - inside.mean()) / max(inside.std(), _SMALLEST)
        return
    mean, std = channel.mean(), channel.std()
    channel -= mean
    channel /= max(std, _SMALLEST)


def _ct(channel: Voxels, scheme: Mapping[str, Any], _: NDArray[np.bool_] | None) -> None:
    np.clip(channel, scheme["low"], scheme["high"], out=channel)
    channel -= scheme["mean"]
    channel /= max(scheme["std"], _SMALLEST)


def _to_0_1(channel: Voxels, _: Mapping[str, Any], __: NDArray[np.bool_] | None) -> None:
    channel -= channel.min()
    channel /= max(channel.max(), _SMALLEST)


def _rgb(channel: Voxels, _: Mapping[str, Any], __: NDArray[np.bool_] | None) -> None:
    channel /= _HIGHEST_RGB


def _as_stored(channel: Voxels, _: Mapping[str, Any], __: NDArray[np.bool_] | None) -> None:
    pass


_SCHEMES: dict[str, Callable[[Voxels, Mapping[str, Any], NDArray[np.bool_] | None], None]] = {
    "z-score": _z_score,
    "ct": _ct,
    "0 to 1": _to_0_1,
    "rgb": _rgb,
    "none": _as_stored,
}

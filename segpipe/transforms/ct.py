"""Scale CT of two kinds, in Hounsfield units or in 8-bit values, to intensities from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ScaleIntensityRange

from segpipe.errors import SegpipeError


class CTKindd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Determine the kind of a CT for `CTIntensityd`: 8-bit values, or Hounsfield units.

    An image that fits neither kind, or both, is refused, since a wrong guess would show the network another tissue.
    The kind is a property of a file, and weights remember only properties of the experiment. So this transform is
    separate from `CTIntensityd`.

    Args:
        keys: images `(C, *spatial)` from `LoadVolumed`.
        intensity: "uint8" or "hu" states the kind. "auto" determines it: uint8 voxels are 8-bit. HU are a rescaled
            DICOM series of modality CT, or signed integers or floats of another format that go from below 0 over a
            range of at least 100.
        kinds: kinds that the network was trained on; images of the other kind are refused.

    Returns:
        per key the unchanged image, with metadata `ct_kind`, "uint8" or "hu".

    Raises:
        SegpipeError: at construction, an unknown `intensity` or `kinds`; in a call, a DICOM series of another modality,
            voxels that fit neither kind or a kind not trained on, or 8-bit voxels outside 0 to 255, with the file.
    """

    def __init__(
        self, keys: KeysCollection, intensity: str = "auto", kinds: Sequence[str] = ("uint8", "hu")
    ) -> None:
        super().__init__(keys)
        self.intensity = check_intensity_kind(intensity)
        if not kinds or not set(kinds) <= set(_KINDS):
            raise SegpipeError(
                f"kinds are {kinds!r}; must be a list of {' and '.join(_KINDS)}, or one of them"
            )
        self.kinds = tuple(kinds)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mark every key of one record."""
        marked = dict(data)
        for key in self.key_iterator(marked):
            kind = self._kind(marked[key])
            if kind not in self.kinds:
                raise SegpipeError(
                    f"{marked[key].meta['filename_or_obj']}: is CT {_KINDS[kind]}; this bundle was made for CT "
                    f"{_KINDS[self.kinds[0]]}: give a scan of this kind"
                )
            marked[key].meta["ct_kind"] = kind
        return marked

    def _kind(self, image: MetaTensor) -> str:
        file, modality = image.meta["filename_or_obj"], image.meta["modality"]
        voxels = image.numpy()  # torch has no minimum of uint16
        low, high = voxels.min().item(), voxels.max().item()
        if modality not in ("", "CT"):
            raise SegpipeError(f"{file}: a DICOM series of modality {modality} where CT is wanted; give a CT")
        if self.intensity == "uint8" and not (low >= 0 and high <= 255):
            raise SegpipeError(
                f"{file}: intensity is uint8, but voxels go from {low:g} to {high:g}, must be 0 to 255; use "
                "--intensity hu or auto (segpipe predict: --set intensity=hu; in YAML: intensity)"
            )
        if self.intensity != "auto":
            return self.intensity
        if image.dtype == torch.uint8:
            return "uint8"
        if image.meta["is_hounsfield"] or (not modality and low < 0 and high - low >= _LEAST_RANGE_HU):
            return "hu"
        raise SegpipeError(
            f"{file}: {str(image.dtype).removeprefix('torch.')} voxels from {low:g} to {high:g}: neither 8-bit "
            f"nor HU (below 0 for air or fat, over at least {_LEAST_RANGE_HU}), nor DICOM CT with RescaleSlope and "
            "RescaleIntercept; say which with --intensity uint8 or --intensity hu (segpipe predict: --set "
            "intensity=hu; in YAML: intensity), or store HU"
        )


def check_intensity_kind(intensity: str) -> str:
    """Check a value for `CTKindd`'s `intensity` and return it.

    Raises:
        SegpipeError: the value is not auto, uint8 or hu.
    """
    if intensity not in _INTENSITIES:
        raise SegpipeError(f"intensity is {intensity!r}; must be one of {', '.join(_INTENSITIES)}")
    return intensity


_KINDS = {"uint8": "as 8-bit images", "hu": "in Hounsfield units"}
_INTENSITIES = ("auto", *_KINDS)
_LEAST_RANGE_HU = 100  # from fat to muscle: a smaller range is no CT in HU but, for example, a z-scored CT


class CTIntensityd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Scale CT to intensities from 0 to 1: 8-bit values divided by 255, Hounsfield units by a window.

    The program that wrote the 8-bit values has already applied a window.

    Args:
        keys: images `(C, *spatial)` that `CTKindd` has marked.
        window_hu: the HU that become 0 and 1, in this order; values outside are clipped.

    Returns:
        per key a float32 MetaTensor of the same shape, 0 to 1.

    Raises:
        SegpipeError: a window whose ends are reversed or equal.
    """

    def __init__(self, keys: KeysCollection, window_hu: Sequence[float]) -> None:
        super().__init__(keys)
        low, high = check_window(window_hu)
        self.hounsfield = ScaleIntensityRange(low, high, 0.0, 1.0, clip=True)
        self.eight_bit = ScaleIntensityRange(0.0, 255.0, 0.0, 1.0, clip=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale every key of one record."""
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            scale = self.eight_bit if scaled[key].meta["ct_kind"] == "uint8" else self.hounsfield
            scaled[key] = scale(scaled[key])
        return scaled


def check_window(window_hu: Sequence[float]) -> tuple[float, float]:
    """Return the two ends of a CT window, in HU.

    Raises:
        SegpipeError: the ends are not two finite numbers, the first below the second.
    """
    ends: list[Any] = list(window_hu) if isinstance(window_hu, list | tuple) else [window_hu]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if len(ends) != 2 or not numbers or not (-math.inf < ends[0] < ends[1] < math.inf):
        raise SegpipeError(
            f"window_hu is {window_hu!r}; must be two numbers in HU, the lower first, such as [-1000, 400]"
        )
    return float(ends[0]), float(ends[1])

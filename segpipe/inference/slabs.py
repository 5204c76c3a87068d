"""MONAI's resampling and rescaling of large volumes, slab by slab: the same voxels with a fraction of the memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import USE_COMPILED
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.networks.layers import AffineTransform
from monai.transforms import (
    Compose,
    ScaleIntensityRange,
    ScaleIntensityRanged,
    Spacingd,
    SpatialResample,
)
from monai.utils import TraceKeys, get_equivalent_dtype
from numpy.typing import NDArray

from segpipe.monai_internals import (
    note_resampling,
    replace_resampler,
    replace_scaler,
    resampler_of,
    scaler_of,
)

_SLAB_VOXELS = 2**22  # MONAI takes up to 40 bytes per voxel: three coordinates, the image, the result
_VOLUME_DIMS = 4  # channel, x, y, z


def work_in_slabs(chain: Compose) -> None:
    """Replace steps of a chain that need several times a volume's memory by steps that work slab by slab.

    These are `Spacingd`, which holds three coordinates per voxel, by default in float64, and `ScaleIntensityRanged`,
    which holds three copies. Their results and records stay the same, so MONAI's inverse transforms undo them.

    Args:
        chain: changed in place.
    """
    for step in chain.flatten().transforms:
        if isinstance(step, Spacingd) and type(monais := resampler_of(step)) is SpatialResample:
            resampler = SlabResample(
                monais.mode, monais.padding_mode, monais.align_corners, monais.dtype, monais.lazy
            )
            replace_resampler(step, resampler)
        elif (
            isinstance(step, ScaleIntensityRanged) and type(monais := scaler_of(step)) is ScaleIntensityRange
        ):
            scaler = SlabScale(
                monais.a_min, monais.a_max, monais.b_min, monais.b_max, monais.clip, monais.dtype
            )
            replace_scaler(step, scaler)


class SlabScale(ScaleIntensityRange):  # type: ignore[misc]  # MONAI is untyped
    """MONAI's `ScaleIntensityRange`, slab by slab."""

    def __call__(self, img: Any) -> Any:
        """Return the image `(C, x, y, z)` with its intensities scaled."""
        if not isinstance(img, MetaTensor) or img.ndim != _VOLUME_DIMS or img[0].numel() <= _SLAB_VOXELS:
            return super().__call__(img)
        plain, dtype = img.as_tensor(), get_equivalent_dtype(self.dtype or img.dtype, torch.Tensor)
        scaled = torch.empty(plain.shape, dtype=dtype, device=plain.device)
        for slab in _slabs(plain.shape[1:]):
            scaled[:, slab] = super().__call__(plain[:, slab])
        return MetaTensor(scaled).copy_meta_from(img)


class SlabResample(SpatialResample):  # type: ignore[misc]  # MONAI is untyped
    """MONAI's `SpatialResample`, slab by slab for volumes in linear or nearest mode; MONAI's code for the rest."""

    def __call__(
        self,
        img: Any,
        dst_affine: Any = None,
        spatial_size: Any = None,
        mode: Any = None,
        padding_mode: Any = None,
        align_corners: Any = None,
        dtype: Any = None,
        lazy: Any = None,
    ) -> Any:
        """Return the image on the grid of an affine, float32, as MONAI does."""
        given = (dst_affine, spatial_size, mode, padding_mode, align_corners, dtype, lazy)
        align_corners = self.align_corners if align_corners is None else align_corners
        mode = str(getattr(mode, "value", self.mode if mode is None else mode))
        padding = str(
            getattr(padding_mode, "value", self.padding_mode if padding_mode is None else padding_mode)
        )
        if (
            USE_COMPILED
            or not isinstance(img, MetaTensor)
            or img.ndim != _VOLUME_DIMS
            or (self.lazy if lazy is None else lazy)
            or img.pending_operations
            or dst_affine is None
            or np.size(spatial_size) != _VOLUME_DIMS - 1
            or min(spatial_size) < 1
            or math.prod(spatial_size) <= _SLAB_VOXELS
            or tuple(spatial_size) == tuple(img.shape[1:])  # MONAI may return the image unchanged
            or mode not in _MODES
            or padding not in _PADDINGS
            or align_corners  # the corners of a slab are not the corners of the volume
        ):
            return super().__call__(img, *given)
        size = tuple(int(length) for length in spatial_size)
        return self._resampled(
            img,
            np.asarray(dst_affine, np.float64),
            size,
            AffineTransform(mode=mode, padding_mode=padding, align_corners=align_corners),
            get_equivalent_dtype(dtype or self.dtype or img.dtype, torch.Tensor),
        )

    def get_transform_info(self) -> dict[str, Any]:
        """Return the record for the inverse: that of MONAI's transform."""
        return {**super().get_transform_info(), TraceKeys.CLASS_NAME: SpatialResample.__name__}

    def _resampled(
        self,
        img: MetaTensor,
        target: NDArray[np.float64],
        size: tuple[int, ...],
        sample: AffineTransform,
        dtype: torch.dtype,
    ) -> MetaTensor:
        source = to_affine_nd(3, np.asarray(img.affine, np.float64))
        there = np.linalg.solve(source, to_affine_nd(3, target))  # from a target voxel to a source voxel
        sampling = {
            "mode": sample.mode,
            "padding_mode": sample.padding_mode,
            "align_corners": sample.align_corners,
            "src_affine": torch.as_tensor(source),
        }
        noted = note_resampling(self, img, torch.as_tensor(there), size, dtype, sampling)
        plain = img.as_tensor()
        resampled = torch.empty((len(plain), *size), device=plain.device)
        for slab in _slabs(size):
            begin = np.array([slab.start, 0, 0])
            source_box = _source_box(there, begin, np.array([slab.stop, *size[1:]]), plain.shape[1:])
            window = plain[:, *source_box].to(dtype)
            shifted = _shift(-np.array([part.start for part in source_box])) @ there @ _shift(begin)
            theta = torch.as_tensor(shifted).to(window)
            resampled[:, slab] = sample(window[None], theta, (slab.stop - slab.start, *size[1:]))[0]
        return MetaTensor(resampled).copy_meta_from(noted)


def _source_box(
    there: NDArray[np.float64], begin: NDArray[np.int64], stop: NDArray[np.int64], size: Sequence[int]
) -> tuple[slice, ...]:
    """Return the part of an image that a box of voxels is interpolated from; at least its nearest voxels."""
    corners = np.array(np.meshgrid(*zip(begin, stop - 1, strict=True), [1])).reshape(_VOLUME_DIMS, -1)
    places = (there @ corners)[:-1]
    lowest = (np.floor(places.min(axis=1)).astype(int) - 1).clip(0, np.array(size) - 1)
    highest = (np.ceil(places.max(axis=1)).astype(int) + 2).clip(1, size)
    return tuple(
        slice(int(low), max(int(high), int(low) + 1)) for low, high in zip(lowest, highest, strict=True)
    )


def _shift(by: NDArray[np.int64]) -> NDArray[np.float64]:
    shift = np.eye(_VOLUME_DIMS)
    shift[:-1, -1] = by
    return shift


def _slabs(size: Sequence[int]) -> Iterator[slice]:
    """Divide a volume along its first axis."""
    planes = max(_SLAB_VOXELS // math.prod(size[1:]), 1)
    for begin in range(0, size[0], planes):
        yield slice(begin, min(begin + planes, size[0]))


_MODES = ("bilinear", "nearest")
_PADDINGS = ("border", "zeros")

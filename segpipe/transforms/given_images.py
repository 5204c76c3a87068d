"""Images that an embedding program has read itself and hands to a bundle's chain, as MONAI Deploy does."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from segpipe.errors import SegpipeError
from segpipe.transforms.given_grids import given_affine
from segpipe.volumes import Grid, Picture, Volume, check_finite, picture_of_volume
from segpipe.volumes.formats import VolumeFormat

_WITHOUT_FILE = "the image that the program handed over"
_CT = "CT"
_FLAT, _DEEP = 2, 3
_COLOURS = (1, 3)


def is_given(value: Any) -> bool:
    """Return whether a record's value is an image rather than a path or a list of paths."""
    return isinstance(value, torch.Tensor)


def given_volume(image: torch.Tensor, spatial_dims: int | None, num_channels: int | None) -> Volume:
    """Return an image that a program has read as the volume that segpipe's reader would have returned.

    Args:
        image: `(*spatial)`, or with a channel axis. Metadata of a MetaTensor count: `original_channel_dim` is the axis
            of the channels or "no_channel"; `modality` is that of a DICOM series, whose CT is in HU. Its grid is that
            of `segpipe.transforms.given_grids.given_affine`.
        spatial_dims: 2 or 3; None for both.
        num_channels: of the image; None for any number.

    Raises:
        SegpipeError: the tensor has too few or too many axes, a voxel is NaN or infinite, or the slices of a DICOM
            series are tilted.
    """
    meta = metadata_of(image)
    affine = image.affine if isinstance(image, MetaTensor) else torch.eye(4)
    voxels = image.as_tensor() if isinstance(image, MetaTensor) else image
    path = Path(_name(meta))
    axis = _channel_axis(voxels.ndim, meta.get("original_channel_dim"), spatial_dims, num_channels)
    channels = voxels[None] if axis is None else voxels.movedim(axis, 0)
    if channels.ndim - 1 not in (_FLAT, _DEEP):
        raise SegpipeError(
            f"{path}: a tensor of shape {tuple(image.shape)} is no image: hand over an image of 2 or 3 axes, or of one "
            "more with original_channel_dim in its metadata"
        )
    modality = str(meta.get("modality") or meta.get("Modality") or "")
    size = tuple(channels.shape[1:])
    volume = Volume(
        channels.cpu().numpy(),
        Grid.from_affine(size, given_affine(affine.cpu().double().numpy(), meta, str(path), size)),
        path,
        VolumeFormat.NIFTI,
        modality=modality or None,
        is_hounsfield=modality == _CT,
    )
    check_finite(volume)
    return volume


def metadata_of(image: torch.Tensor) -> dict[Hashable, Any]:
    """Return the metadata of an image that a program has read; its later steps need them, as Deploy's mesh does."""
    return dict(image.meta) if isinstance(image, MetaTensor) else {}


def _name(meta: Mapping[Hashable, Any]) -> str:
    """Return a name for messages: the file, else the DICOM series."""
    series = meta.get("SeriesInstanceUID")
    return str(meta.get("filename_or_obj") or (f"DICOM series {series}" if series else _WITHOUT_FILE))


def _channel_axis(ndim: int, stated: Any, spatial_dims: int | None, num_channels: int | None) -> int | None:
    """Return the axis of an image's channels; None if the image has no such axis."""
    if isinstance(stated, int) and not isinstance(stated, bool):
        return stated
    if stated is None:
        with_channels = (
            _DEEP + 1 if spatial_dims is None and num_channels == 1 else (spatial_dims or _FLAT) + 1
        )
        return 0 if ndim == with_channels else None
    return None


def given_picture(image: torch.Tensor, window: tuple[float, float] | None) -> Picture:
    """Return an image that a program has read as the picture that `segpipe.volumes.read_picture` would have returned.

    Args:
        image: rows and columns, with red, green and blue first or last, or grey. With `original_channel_dim` =
            "no_channel" in its metadata it is one slice of a DICOM series, columns first. Whole numbers from 0 to 255
            are 8-bit values, also as floats.
        window: see `segpipe.volumes.read_picture`.

    Raises:
        SegpipeError: as `read_picture`, or the tensor has too few or too many axes.
    """
    if isinstance(image, MetaTensor) and image.meta.get("original_channel_dim") == "no_channel":
        return picture_of_volume(given_volume(image, None, 1), window)
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    if plain.ndim == _DEEP and plain.shape[0] not in _COLOURS and plain.shape[-1] in _COLOURS:
        plain = plain.movedim(-1, 0)
    columns_first = MetaTensor(plain.transpose(-1, -2), meta=metadata_of(image))
    columns_first.meta["original_channel_dim"] = "no_channel" if plain.ndim == _FLAT else 0
    volume = given_volume(columns_first, _FLAT, None)
    if volume.array.dtype.kind == "f":
        whole = np.clip(np.nan_to_num(volume.array), 0, 255).astype(np.uint8)
        if np.array_equal(whole, volume.array):
            volume = replace(volume, array=whole)
    return picture_of_volume(volume, window)


class _Path(str):
    """The text of a path under a key such as `image_path`.

    MONAI's Spacingd calls `update` of everything under a key that begins with an image's key and `_`, since it takes
    that for metadata, and MONAI Label puts a path there.
    """

    __slots__ = ()

    def update(self, *_: object) -> None:
        """Change nothing."""


def with_paths_beside(record: dict[Hashable, Any], key: Hashable) -> dict[Hashable, Any]:
    """Return a record whose texts under `<key>_...` are such that MONAI's Spacingd leaves them alone."""
    beside: dict[Hashable, Any] = {
        name: _Path(value)
        for name, value in record.items()
        if isinstance(name, str) and name.startswith(f"{key}_") and isinstance(value, str)
    }
    return {**record, **beside}

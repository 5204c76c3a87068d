"""MONAI's reader interface over `read_volume`, for configurations that name a reader by its dotted path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils import MetaKeys, SpaceKeys

from segpipe.errors import SegpipeError
from segpipe.volumes.formats import volume_format
from segpipe.volumes.reading import read_volume
from segpipe.volumes.volume import Volume, VoxelArray, stack_channels

PathOrPaths = str | Path | Sequence[str | Path]


class SimpleITKReader(ImageReader):  # type: ignore[misc]  # MONAI ships no types
    """Read .mhd, .mha, .nrrd, .png and .jpg files and DICOM folders; NIfTI is left to MONAI's NibabelReader.

    MONAI's `LoadImage` tries its own readers after any exception, so that a refused scan may be read
    anyway: where that matters, use segpipe's load transform.

    Args:
        series_uid: which series to read where a DICOM folder has several.
    """

    def __init__(self, series_uid: str | None = None) -> None:
        super().__init__()
        self.series_uid = series_uid

    def verify_suffix(self, filename: PathOrPaths) -> bool:
        """Say whether this reader takes every path given."""
        try:
            return not any(volume_format(path).is_nifti for path in _paths(filename))
        except SegpipeError:
            return False

    def read(self, data: PathOrPaths, **kwargs: Any) -> list[Volume]:  # noqa: ARG002 - MONAI's signature
        """Read each path given; several are channels of one image.

        Raises:
            SegpipeError: see `read_volume`.
        """
        return [read_volume(path, series_uid=self.series_uid) for path in _paths(data)]

    def get_data(self, img: Sequence[Volume]) -> tuple[VoxelArray, dict[str, Any]]:
        """Return the voxels, channels first where there are several, and the metadata that MONAI looks for.

        Returns:
            (x, y), (x, y, z) or (C, x, y[, z]), and a dict with the (4, 4) RAS affine in mm.

        Raises:
            SegpipeError: the volumes given are not on one grid.
        """
        volume = stack_channels(img)
        array, grid = volume.array, volume.grid
        has_channels = array.ndim > grid.spatial_dims
        return array, {
            MetaKeys.AFFINE: grid.affine,
            MetaKeys.ORIGINAL_AFFINE: grid.affine,
            MetaKeys.SPATIAL_SHAPE: np.array(grid.size),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if has_channels else float("nan"),
        }


def _paths(data: PathOrPaths) -> list[str | Path]:
    return [data] if isinstance(data, str | Path) else list(data)

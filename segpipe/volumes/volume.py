"""A volume in memory, and what its header alone says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segpipe.errors import SegpipeError
from segpipe.volumes.formats import VolumeFormat
from segpipe.volumes.geometry import FloatArray, Grid

VoxelArray = npt.NDArray[Any]


@dataclass(frozen=True)
class NiftiForms:
    """The two affines of a NIfTI file, so that a label map carries what its scan carries.

    Args:
        sform_code: 0 where the sform is unset.
        qform_code: 0 where the qform is unset.
        qform: (4, 4), voxel index to RAS mm; programs that prefer it over the sform see the label map on
            the scan.
    """

    sform_code: int
    qform_code: int
    qform: FloatArray


@dataclass(frozen=True)
class VolumeHeader:
    """What a file says of its volume before any voxel is read.

    Args:
        path: the file, or the folder of a DICOM series.
        format: its format.
        grid: the voxel lattice.
        num_channels: values a voxel has: 1, or the components of colour, vector and 4D files.
        dtype: of the array that reading gives, native byte order.
        nifti_forms: of a NIfTI file, else None.
    """

    path: Path
    format: VolumeFormat
    grid: Grid
    num_channels: int
    dtype: np.dtype[Any]
    nifti_forms: NiftiForms | None = None


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on their grid.

    Args:
        array: (x, y) or (x, y, z); with several channels (C, x, y) or (C, x, y, z). The stored dtype in
            native byte order, or float where the file asks for scaling.
        grid: the voxel lattice.
        path: the file, or the folder of the DICOM series.
        format: its format.
        nifti_forms: of a NIfTI file, else None.
    """

    array: VoxelArray
    grid: Grid
    path: Path
    format: VolumeFormat
    nifti_forms: NiftiForms | None = None

    @property
    def num_channels(self) -> int:
        """Values a voxel has: 1 for an array without channel axis."""
        return 1 if self.array.ndim == self.grid.spatial_dims else int(self.array.shape[0])


def check_finite(volume: Volume) -> None:
    """Refuse a volume with NaN or infinite voxels, which a network spreads over its whole window.

    Raises:
        SegpipeError: naming how many there are and the index of the first.
    """
    if not np.issubdtype(volume.array.dtype, np.inexact):
        return
    bad = ~np.isfinite(volume.array)
    count = int(np.count_nonzero(bad))
    if count:
        first = tuple(int(index) for index in np.unravel_index(int(np.argmax(bad)), bad.shape))
        axes = "x, y, z" if volume.grid.spatial_dims == 3 else "x, y"
        axes = axes if volume.num_channels == 1 else f"channel, {axes}"
        raise SegpipeError(
            f"{volume.path}: {count} of {bad.size} voxels are NaN or infinite, the first at {first} "
            f"({axes}); every voxel must be a number: replace them, for instance by the intensity of air"
        )

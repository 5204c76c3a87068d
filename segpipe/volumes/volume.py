"""A volume in memory, and its header."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segpipe.errors import SegpipeError
from segpipe.files import distinct_names
from segpipe.volumes.formats import VolumeFormat
from segpipe.volumes.geometry import FloatArray, Grid

VoxelArray = npt.NDArray[Any]

MAX_INTENSITY = 1e15
"""Largest magnitude of an intensity: the sum of the squares of 10^8 such voxels does not overflow float32 (3.4e38)."""

CHANNEL_RULE = "channels lie on different grids"
CHANNEL_REMEDY = ", or add --resample-channels (resample_channels: true in a bundle's YAML)"


@dataclass(frozen=True)
class NiftiForms:
    """The two affines of a NIfTI file, so that a label map gets the affines of its scan.

    Args:
        sform_code: 0 for an unset sform.
        qform_code: 0 for an unset qform.
        qform: (4, 4), voxel index to RAS mm; needed for programs that prefer the qform to the sform.
        stored: field name -> stored numbers of the header (srow_x, quatern_b, pixdim and so on).
        time_unit: name of the fourth axis' unit, such as "msec"; its spacing is number 4 of pixdim.
    """

    sform_code: int
    qform_code: int
    qform: FloatArray
    stored: Mapping[str, npt.NDArray[Any]]
    time_unit: str = "unknown"


@dataclass(frozen=True)
class ItkGeometry:
    """The geometry of a MetaImage or NRRD file, in the numbers that ITK stores.

    A label map in such a format is written with the same numbers, although rounding may make the axes slightly oblique.

    Args:
        spacing_mm: along each axis of the file.
        origin_lps: mm of the first voxel's centre.
        direction: the unit axes as columns, row by row.
    """

    spacing_mm: tuple[float, ...]
    origin_lps: tuple[float, ...]
    direction: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ResampledFile:
    """A file of a case that is brought onto the grid of the case's first file.

    Attributes:
        position: of the file among the files of the case, from 1, since the first file stays as it is.
        path: of the file.
        covered: share of the first file's voxels that lie inside this file, 0 to 1.
    """

    position: int
    path: Path
    covered: float

    def note(self, name: str = "") -> str:
        """Return name and share as text, such as "FLAIR covers 96 %"; the default name is the file's."""
        return f"{name or self.path.name} covers {100 * self.covered:.0f} %"


@dataclass(frozen=True)
class VolumeHeader:
    """The properties of a volume that its file gives without its voxels.

    Args:
        path: the file, or the folder of a DICOM series.
        format: its format.
        grid: the voxel lattice.
        num_channels: values per voxel: 1, or the components of colour, vector and 4D files.
        dtype: of the array that reading returns, in native byte order.
        nifti_forms: of a NIfTI file, else None.
        itk_geometry: of a MetaImage or NRRD file, else None.
        num_frames: length of the fourth axis of a NIfTI file, which may be time; 1 for other files.
        resampled: the files of the image that are brought onto the first file's grid.
    """

    path: Path
    format: VolumeFormat
    grid: Grid
    num_channels: int
    dtype: np.dtype[Any]
    nifti_forms: NiftiForms | None = None
    itk_geometry: ItkGeometry | None = None
    num_frames: int = 1
    resampled: tuple[ResampledFile, ...] = ()

    @property
    def num_values(self) -> int:
        """Number of values in the array that reading returns."""
        return math.prod(self.grid.size) * self.num_channels

    @property
    def array_bytes(self) -> int:
        """Bytes of the array that reading returns."""
        return self.num_values * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on their grid.

    Args:
        array: (x, y) or (x, y, z); with several channels (C, x, y) or (C, x, y, z). The stored dtype in native byte
            order, or float for a file with scaling.
        grid: the voxel lattice.
        path: the file, or the folder of the DICOM series.
        format: its format.
        nifti_forms: of a NIfTI file, else None.
        itk_geometry: of a MetaImage or NRRD file, else None.
        modality: of a DICOM series, such as "CT"; None for other formats, which do not state it.
        is_hounsfield: True if the file states that its intensities are HU; only DICOM can.
        resampled: the files of the image that were brought onto the first file's grid.
    """

    array: VoxelArray
    grid: Grid
    path: Path
    format: VolumeFormat
    nifti_forms: NiftiForms | None = None
    itk_geometry: ItkGeometry | None = None
    modality: str | None = None
    is_hounsfield: bool = False
    resampled: tuple[ResampledFile, ...] = ()

    @property
    def num_channels(self) -> int:
        """Values per voxel: 1 for an array without channel axis."""
        return len(self.channels)

    @property
    def channels(self) -> VoxelArray:
        """The voxels with a leading channel axis, (C, x, y) or (C, x, y, z), also for one channel."""
        return self.array if self.array.ndim > self.grid.spatial_dims else self.array[None]


def check_finite(volume: Volume) -> None:
    """Refuse a volume with NaN or infinite voxels, which a network spreads over its whole window.

    Raises:
        SegpipeError: with the number of such voxels and the index of the first.
    """
    if not np.issubdtype(volume.array.dtype, np.inexact):
        return
    # plane by plane, since a mask of all voxels takes as much memory as a uint8 volume
    planes = np.atleast_2d(volume.array.T)
    count = planes.size - sum(int(np.count_nonzero(np.isfinite(plane))) for plane in planes)
    if count:
        bad = ~np.isfinite(volume.array)
        raise SegpipeError(
            f"{volume.path}: {count} of {bad.size} voxels are NaN or infinite, the first at "
            f"{_first_place(volume, bad)}; every voxel must be a number: replace them, for instance by the "
            "intensity of air"
        )


def check_intensities(volume: Volume) -> None:
    """Refuse a blank image, or values too large for float32 arithmetic; not for label maps.

    Normalisation turns a blank image, or one whose sum over voxels overflows, into zeros or NaN, and a network returns
    a label map all the same.

    Raises:
        SegpipeError: a channel whose voxels are all equal in float32, or a voxel beyond `MAX_INTENSITY`.
    """
    for number, channel in enumerate(volume.channels):
        low, high = channel.min(), channel.max()
        if max(-float(low), float(high)) > MAX_INTENSITY:
            worst = high if float(high) > MAX_INTENSITY else low
            bad = np.abs(volume.channels, dtype=np.float64) > MAX_INTENSITY
            raise SegpipeError(
                f"{volume.path}: {np.count_nonzero(bad)} of {bad.size} voxels exceed {MAX_INTENSITY:.0e} in "
                f"magnitude, one is {float(worst):g}, the first at {_first_place(volume, bad)}; no scanner "
                "measures that: replace them, or scale the image"
            )
        if np.float32(low) == np.float32(high):
            which = f"channel {number}: " if volume.num_channels > 1 else ""
            raise SegpipeError(
                f"{volume.path}: {which}every voxel is {low.item():g}; a blank image: export it again or "
                "leave it out"
            )


def check_same_grid(
    first: Volume | VolumeHeader, other: Volume | VolumeHeader, rule: str, remedy: str = ""
) -> None:
    """Refuse a volume whose grid differs from that of another volume.

    Args:
        first: the volume with the right grid.
        other: the volume to compare.
        rule: text for the message about different grids.
        remedy: a second remedy for the message, beside resampling the file.

    Raises:
        SegpipeError: with both files and every difference in both values, the value of `first` first.
    """
    differences = first.grid.differences(other.grid)
    if differences:
        name, target = distinct_names(other.path, first.path)
        raise SegpipeError(
            f"{other.path}: {rule}: {', '.join(differences)}; resample {name} onto {target}{remedy}"
        )


def stack_channels(volumes: Sequence[Volume]) -> Volume:
    """Make one volume of several files of one image, in the order given.

    Args:
        volumes: at least one; all channels of a volume are used.

    Returns:
        The first volume with the channels of all volumes; a single volume unchanged.

    Raises:
        SegpipeError: the volumes have different grids.
    """
    first = volumes[0]
    for volume in volumes[1:]:
        check_same_grid(first, volume, CHANNEL_RULE, CHANNEL_REMEDY)
    if len(volumes) == 1:
        return first
    return replace(first, array=np.concatenate([volume.channels for volume in volumes]))


def _first_place(volume: Volume, mask: npt.NDArray[np.bool_]) -> str:
    """Return the index of the first marked voxel as text, with the names of the axes."""
    if volume.num_channels == 1:
        mask = mask.reshape(volume.grid.size)
    first = tuple(int(index) for index in np.unravel_index(int(np.argmax(mask)), mask.shape))
    axes = "x, y, z" if volume.grid.spatial_dims == 3 else "x, y"
    return f"{first} ({axes if volume.num_channels == 1 else f'channel, {axes}'})"

"""Bring a channel of a case onto the grid of the case's first channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the name all its users know

from segpipe.errors import SegpipeError
from segpipe.volumes.geometry import Grid
from segpipe.volumes.volume import CHANNEL_RULE, ResampledFile, Volume, VolumeHeader

MIN_COVERED = 0.75
"""Smallest share of the first channel's voxels that must lie inside another channel."""

_MOST_POINTS = 64  # along each axis of the grid on which a share is measured


def covered_share(grid: Grid, other: Grid) -> float:
    """Return the share of a grid's voxels whose centres lie inside the voxels of another grid, 0 to 1.

    Of an axis with more than 64 voxels, 64 evenly spaced ones count.

    Args:
        grid: with the voxels to count; 3D.
        other: with the space that they may lie in; 3D.
    """
    places = [
        np.unique(np.linspace(0, length - 1, min(length, _MOST_POINTS)).round()) for length in grid.size
    ]
    points = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 3)
    to_other = np.linalg.inv(other.affine) @ grid.affine
    indices = points @ to_other[:3, :3].T + to_other[:3, 3]
    inside = (indices >= -0.5) & (indices <= np.array(other.size) - 0.5)
    return float(inside.all(axis=1).mean())


def resampled_file(
    first: Volume | VolumeHeader, other: Volume | VolumeHeader, position: int
) -> ResampledFile | None:
    """Return how a file is brought onto the first file's grid; None where it lies on this grid.

    Args:
        first: of the first file.
        other: of the file.
        position: of the file among the files of the case.

    Raises:
        SegpipeError: an image is 2D, so that its position in the patient is unknown, or the file covers less than
            `MIN_COVERED` of the first file's voxels.
    """
    differences = first.grid.differences(other.grid)
    if not differences:
        return None
    where = f"{other.path}: {CHANNEL_RULE}"
    if {first.grid.spatial_dims, other.grid.spatial_dims} != {3}:
        raise SegpipeError(
            f"{where}: {', '.join(differences)}; only volumes are resampled, since 2D images have no position in the "
            f"patient: register {other.path.name} to {first.path.name} yourself"
        )
    covered = covered_share(first.grid, other.grid)
    if covered < MIN_COVERED:
        raise SegpipeError(
            f"{where}, and it covers {100 * covered:.0f} % of {first.path}, at least {100 * MIN_COVERED:.0f} % is "
            "needed to resample it; list the channel that covers least first, or crop the scans to the space that all "
            "channels cover"
        )
    return ResampledFile(position, other.path, covered)


def resampled_volumes(volumes: Sequence[Volume]) -> list[Volume]:
    """Return the volumes of a case's files on the first one's grid; the first one lists the resampled files.

    Raises:
        SegpipeError: as `resampled_file`.
    """
    first, *others = volumes
    files = [resampled_file(first, other, position) for position, other in enumerate(others, start=1)]
    return [
        replace(first, resampled=tuple(file for file in files if file is not None)),
        *(
            other if file is None else onto_grid(other, first.grid)
            for other, file in zip(others, files, strict=True)
        ),
    ]


def onto_grid(volume: Volume, grid: Grid) -> Volume:
    """Resample a volume onto a grid by linear interpolation.

    Where the volume does not reach, each channel gets its smallest value, which is air on CT and background on MRI.
    Within half a voxel of the volume's edge the edge voxel's value counts.

    Args:
        volume: 3D, in any orientation.
        grid: 3D, in any orientation.

    Returns:
        float32 intensities on `grid`; other properties are those of `volume`.
    """
    channels = [_resampled(channel, volume.grid, grid) for channel in volume.channels]
    return replace(volume, array=np.stack(channels) if len(channels) > 1 else channels[0], grid=grid)


def _resampled(channel: npt.NDArray[np.generic], grid: Grid, onto: Grid) -> npt.NDArray[np.float32]:
    values = np.ascontiguousarray(channel.T, np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_lps.tolist())
    image.SetDirection(grid.direction_lps.reshape(-1).tolist())
    resampled = sitk.Resample(
        image,
        size=onto.size,
        transform=sitk.Transform(3, sitk.sitkIdentity),
        interpolator=sitk.sitkLinear,
        outputOrigin=onto.origin_lps.tolist(),
        outputSpacing=onto.spacing_mm,
        outputDirection=onto.direction_lps.reshape(-1).tolist(),
        defaultPixelValue=float(values.min()),
        outputPixelType=sitk.sitkFloat32,
    )
    voxels: npt.NDArray[np.float32] = sitk.GetArrayFromImage(resampled).T
    return voxels

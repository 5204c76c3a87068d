"""Read a scan or a label map, with exactly one reader for each format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segpipe.errors import SegpipeError, counted
from segpipe.regular_files import require_regular
from segpipe.volumes.dicom import read_series, read_series_header
from segpipe.volumes.formats import VolumeFormat, volume_format
from segpipe.volumes.geometry import Grid
from segpipe.volumes.itk_files import read_itk_file, read_itk_header
from segpipe.volumes.needed_memory import REMEDY, require_free_memory, too_large
from segpipe.volumes.nifti import read_nifti, read_nifti_header
from segpipe.volumes.resampling import resampled_file, resampled_volumes
from segpipe.volumes.volume import (
    CHANNEL_REMEDY,
    CHANNEL_RULE,
    Volume,
    VolumeHeader,
    check_finite,
    check_same_grid,
    stack_channels,
)

_MIN_SPACING_MM, _MAX_SPACING_MM = 1e-4, 100.0
_MAX_EXTENT_MM = {2: 10_000.0, 3: 5_000.0}  # a 2D file without a spacing has pixels of 1 mm
_MIN_EXTENT_MM = 1.0  # a scan in metres is shorter
_MAX_ORIGIN_MM = 100_000.0
_CROP_VOXELS = 16


def read_volume(
    path: str | Path, *, series_uid: str | None = None, check: bool = True, frame: int | None = None
) -> Volume:
    """Read a file, or the DICOM series of a folder, with the only reader of its format.

    Args:
        path: .nii, .nii.gz, .mhd, .mha, .nrrd, .png, .jpg or a folder with DICOM files.
        series_uid: UID of the series to read, where a folder has several; only for folders.
        check: also refuse NaN and infinite voxels.
        frame: number of the time frame to read from a 4D NIfTI file, from 1; None: the fourth axis holds channels.

    Returns:
        array (x, y), (x, y, z) or with a leading channel axis, and its grid.

    Raises:
        SegpipeError: the file is missing, irregular, of unknown format, damaged, without a usable grid, or larger or
            smaller than any patient; the free memory does not suffice for its voxels; or it has no such frame.
    """
    path, format_ = _existing(path, series_uid)
    _require_frames(path, format_, frame)
    try:
        if format_ is VolumeFormat.DICOM:
            volume = read_series(path, series_uid)
        else:
            volume = read_nifti(path, frame) if format_.is_nifti else read_itk_file(path)
    except MemoryError as error:
        raise _out_of_memory(path, series_uid, frame) from error
    _check_extent(path, format_, volume.grid)
    if check:
        check_finite(volume)
    return volume


def read_channels(
    paths: Sequence[str | Path],
    series_uid: str | None = None,
    *,
    frame: int | None = None,
    resample: bool = False,
) -> Volume:
    """Read the files of one image and stack their channels in the order given.

    Args:
        paths: at least one, each as `read_volume`.
        series_uid: UID of the series to read, where a folder has several; ignored for files.
        frame: as `read_volume`.
        resample: bring files on another grid onto the first file's grid, see `segpipe.volumes.resampling`.

    Returns:
        The first file's volume with the channels of all files.

    Raises:
        SegpipeError: as `read_volume`, or the files lie on different grids; with `resample`, only if a file covers too
            little of the first file's voxels, or is 2D.
    """
    volumes = [
        read_volume(path, series_uid=series_uid if Path(path).is_dir() else None, frame=frame)
        for path in paths
    ]
    return stack_channels(resampled_volumes(volumes) if resample else volumes)


def read_header(path: str | Path, series_uid: str | None = None, frame: int | None = None) -> VolumeHeader:
    """Read grid, channels and dtype without the voxels: the cheap check before a long run.

    Args:
        path: as `read_volume`.
        series_uid: as `read_volume`.
        frame: as `read_volume`.

    Raises:
        SegpipeError: as `read_volume`, for faults that show without unpacking voxels: among them a missing, short or
            too long voxel file of an .mhd, a short .nii, every fault in a DICOM series' headers, a grid larger or
            smaller than any patient, and too little free memory.
    """
    path, format_ = _existing(path, series_uid)
    _require_frames(path, format_, frame)
    if format_ is VolumeFormat.DICOM:
        header = read_series_header(path, series_uid)
    else:
        header = read_nifti_header(path, frame) if format_.is_nifti else read_itk_header(path)
    _check_extent(path, format_, header.grid)
    require_free_memory(header)
    return header


def read_channel_headers(
    paths: Sequence[str | Path],
    series_uid: str | None = None,
    *,
    frame: int | None = None,
    resample: bool = False,
) -> VolumeHeader:
    """Read the headers of one image's files: grid, format and dtype of the first file, and the channels of all.

    Args:
        paths: as `read_channels`.
        series_uid: as `read_channels`.
        frame: as `read_channels`.
        resample: as `read_channels`.

    Raises:
        SegpipeError: as `read_header`; the files lie on different grids, or cannot be resampled; or one file has more
            time frames than another.
    """
    headers = [read_header(path, series_uid if Path(path).is_dir() else None, frame) for path in paths]
    first, resampled = headers[0], []
    for position, header in enumerate(headers[1:], start=1):
        if resample:
            resampled.append(resampled_file(first, header, position))
        else:
            check_same_grid(first, header, CHANNEL_RULE, CHANNEL_REMEDY)
        if frame is not None and header.num_frames != first.num_frames:
            raise SegpipeError(
                f"{header.path}: has {counted(header.num_frames, 'frame')}, {first.path} has {first.num_frames}; the "
                "channels of a case need the same time frames: export them again, or leave the case out"
            )
    return replace(
        first,
        num_channels=sum(header.num_channels for header in headers),
        resampled=tuple(one for one in resampled if one is not None),
    )


def num_frames(path: str | Path) -> int:
    """Return the number of time frames of a file: the length of a NIfTI file's fourth axis, 1 for other formats.

    Raises:
        SegpipeError: as `read_header`; or the file's fourth axis cannot be time.
    """
    return read_header(path, frame=1).num_frames if volume_format(path).is_nifti else 1


def label_frame(label_map: str | Path, frame: int | None, images: Sequence[str | Path]) -> int | None:
    """Return the time frame to read from the label map of a case.

    Args:
        label_map: of the case.
        frame: of the case's images, from 1; None for images without time frames.
        images: files of the case.

    Returns:
        None for a label map of one frame, which is of the case's frame; else `frame`.

    Raises:
        SegpipeError: the label map has several frames, but not as many as the first image.
    """
    held = 1 if frame is None else num_frames(label_map)
    if held == 1:
        return None
    wanted = num_frames(images[0])
    if held != wanted:
        raise SegpipeError(
            f"{label_map}: has {held} frames, its image {images[0]} has {wanted}; must be as many, or one label map "
            "for each labelled frame: export the label map again, or leave the case out"
        )
    return frame


def _require_frames(path: Path, format_: VolumeFormat, frame: int | None) -> None:
    if frame is not None and not format_.is_nifti:
        raise SegpipeError(
            f"{path}: time frames are read from NIfTI files (.nii, .nii.gz) only; convert the series to 4D NIfTI"
        )


def _out_of_memory(path: Path, series_uid: str | None, frame: int | None) -> SegpipeError:
    """Return the error for a volume that exhausted the memory, although enough seemed free."""
    header = read_header(path, series_uid, frame)
    return SegpipeError(f"{too_large(header, header.array_bytes)}, and the memory ran out; {REMEDY}")


def _check_extent(path: Path, format_: VolumeFormat, grid: Grid) -> None:
    """Refuse a grid larger or smaller than any patient: resampled, it would fill the memory or vanish."""
    if format_.is_2d_format:
        return
    extent_mm = [size * spacing for size, spacing in zip(grid.size, grid.spacing_mm, strict=True)]
    largest_mm = _MAX_EXTENT_MM[grid.spatial_dims]
    farthest_mm = float(np.abs(grid.origin_lps).max())
    if farthest_mm > _MAX_ORIGIN_MM:
        raise SegpipeError(
            f"{path}: origin {grid.origin_lps.tolist()} mm (LPS) lies more than {_MAX_ORIGIN_MM:g} mm from the "
            "scanner's centre; check the units and mend the header's origin"
        )
    rules = [
        (max(grid.spacing_mm) > _MAX_SPACING_MM, f"a spacing must be at most {_MAX_SPACING_MM:g} mm"),
        (min(grid.spacing_mm) < _MIN_SPACING_MM, f"a spacing must be at least {_MIN_SPACING_MM:g} mm"),
        (max(extent_mm) > largest_mm, f"a {grid.spatial_dims}D scan must be at most {largest_mm:g} mm long"),
        (
            grid.spatial_dims == 3 and max(grid.size) > _CROP_VOXELS and max(extent_mm) < _MIN_EXTENT_MM,
            f"a 3D scan of more than {_CROP_VOXELS} voxels must be at least {_MIN_EXTENT_MM:g} mm long",
        ),
    ]
    for broken, rule in rules:
        if broken:
            sizes, spacings, extents = (
                "(" + ", ".join(f"{value:.7g}" for value in values) + ")"
                for values in (grid.size, grid.spacing_mm, extent_mm)
            )
            raise SegpipeError(
                f"{path}: size {sizes} voxels of spacing {spacings} mm make {extents} mm (x, y, z): {rule}; "
                "check the units and mend the header's spacing"
            )


def _existing(path: str | Path, series_uid: str | None) -> tuple[Path, VolumeFormat]:
    path = Path(path)
    try:
        if not path.is_dir():
            require_regular(path)
    except OSError as error:
        raise SegpipeError(
            f"{path}: cannot be read ({error.strerror}); check path and permissions"
        ) from error
    format_ = volume_format(path)
    if series_uid is not None and format_ is not VolumeFormat.DICOM:
        raise SegpipeError(
            f"{path}: series_uid {series_uid} chooses in a folder of DICOM files, and this is a file"
        )
    return path, format_

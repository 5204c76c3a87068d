"""Read NIfTI: check the header, read the voxels into one array, and check the bytes after them.

nibabel needs twice the memory for compressed voxels, and more for scaled voxels. So segpipe uses nibabel's types and
arithmetic, but reads and scales the voxels itself, a part at a time.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import numpy as np
from nibabel.volumeutils import apply_read_scaling

from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular
from segpipe.volumes.file_start import read_start
from segpipe.volumes.formats import VolumeFormat, volume_format
from segpipe.volumes.needed_memory import require_free_memory
from segpipe.volumes.nifti_header import NiftiHeader, parse_nifti_header
from segpipe.volumes.streams import DEFLATE_MOST, LONGEST_TAIL, check_length, check_tail, fill, native
from segpipe.volumes.volume import Volume, VolumeHeader, VoxelArray

_GZIP_MAGIC = b"\x1f\x8b"
_SCALED_AT_ONCE = 1 << 20  # voxels
_STARTS = (
    b"\x5c\x01\0\0",
    b"\0\0\x01\x5c",
    b"\x1c\x02\0\0",
    b"\0\0\x02\x1c",
)  # 348 and 540 in both byte orders


def read_nifti_header(path: Path, frame: int | None = None) -> VolumeHeader:
    """Read grid, channels and dtype of a .nii or .nii.gz file, and check its length without unpacking it.

    Args:
        path: of the file.
        frame: number of the time frame to describe, from 1; None: the fourth axis holds channels.

    Raises:
        SegpipeError: no NIfTI, an unusable header, a .nii whose length differs from its header, or a .nii.gz that is
            too short for its voxels; or the file has no such frame.
    """
    with _opened(path) as file:
        header = parse_nifti_header(path, file)
        _check_length(path, file, header)
        return _volume_header(path, header, frame)


def read_nifti(path: Path, frame: int | None = None) -> Volume:
    """Read a .nii or .nii.gz file; stored integers stay integers unless the header scales them.

    The gzip stream is read to its end, since only its checksum detects a flipped bit.

    Args:
        path: of the file.
        frame: number of the time frame to read, from 1; only its voxels are held in memory. None: all voxels.

    Raises:
        SegpipeError: as `read_nifti_header`, and for truncated or corrupt voxels.
    """
    with _opened(path) as file:
        header = parse_nifti_header(path, file)
        volume_header = _volume_header(path, header, frame)
        _check_length(path, file, header)
        wanted = header if frame is None else replace(header, shape=header.shape[:3])
        is_turned = header.slope is not None and header.stored.itemsize != volume_header.dtype.itemsize
        require_free_memory(volume_header, beside=wanted.voxel_bytes if is_turned else 0)
        skipped = 0 if frame is None else (frame - 1) * wanted.voxel_bytes
        file.seek(header.data_offset + skipped)
        stored = _stored_voxels(path, file, wanted)
        before: VoxelArray = stored
        if skipped + stored.nbytes < header.voxel_bytes:
            before = _last_frame(path, file, header, wanted)
        _check_tail(path, file, header, before)
    header = wanted
    array = _channels_first(
        _in_axes(_scaled(native(stored), header, volume_header.dtype), header), volume_header
    )
    return Volume(array, volume_header.grid, path, volume_header.format, volume_header.nifti_forms)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open the file for reading unpacked bytes; refuse a suffix that contradicts the content."""
    compressed = volume_format(path) is VolumeFormat.NIFTI_GZ
    try:
        start = read_start(path, 4)
        if compressed and start in _STARTS:
            raise SegpipeError(f"{path}: is not compressed, as .nii.gz says; rename it to .nii")
        if compressed and not start.startswith(_GZIP_MAGIC):
            raise SegpipeError(
                f"{path}: not a gzip file: begins with bytes {start.hex(' ')}, must be {_GZIP_MAGIC.hex(' ')}; give "
                "the file the suffix of its format"
            )
        if not compressed and start.startswith(_GZIP_MAGIC):
            raise SegpipeError(
                f"{path}: is compressed with gzip, which .nii does not say; rename it to .nii.gz"
            )
        with open_regular(path) as plain:
            if not compressed:
                yield plain
            else:
                with gzip.GzipFile(fileobj=plain, mode="rb") as unpacked:
                    yield cast("IO[bytes]", unpacked)
    except EOFError as error:
        raise _cut_short(path, "its gzip stream has no end") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise SegpipeError(f"{path}: corrupt ({error}); copy the file again from its source") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise SegpipeError(
            f"{path}: cannot be read ({reason}); check the path and the permissions"
        ) from error


def _cut_short(path: Path, why: str) -> SegpipeError:
    return SegpipeError(f"{path}: truncated: {why}; copy the file again from its source")


def _check_length(path: Path, file: IO[bytes], header: NiftiHeader) -> None:
    """Refuse a file that is too short for its header, or an uncompressed file that is longer by more than zeros."""
    needed = header.data_offset + header.voxel_bytes
    if volume_format(path) is VolumeFormat.NIFTI_GZ:
        held = path.stat().st_size
        if needed > DEFLATE_MOST * held:  # before memory is allocated
            raise _cut_short(path, f"{held} bytes cannot unpack to the {needed} of its header")
        return
    held = file.seek(0, 2)
    if held < needed:
        raise _cut_short(path, f"{held} bytes, its header asks for {needed}")
    check_length(path, path, header.data_offset, header.voxel_bytes, header.row_bytes)


def _check_tail(path: Path, file: IO[bytes], header: NiftiHeader, stored: VoxelArray) -> None:
    """Read to the end of the stream, which checks its checksum; refuse other bytes than zeros after the voxels."""
    tail = file.read(LONGEST_TAIL + 1)
    last = -(-len(tail) // stored.dtype.itemsize)
    before = stored[stored.size - min(last, stored.size) :].tobytes()
    check_tail(path, before, tail, header.data_offset + header.voxel_bytes + len(tail), header.row_bytes)


def _last_frame(path: Path, file: IO[bytes], header: NiftiHeader, frame: NiftiHeader) -> VoxelArray:
    """Return the voxels of the last time frame, before which the file must be positioned."""
    file.seek(header.data_offset + header.voxel_bytes - frame.voxel_bytes)
    return _stored_voxels(path, file, frame)


def _volume_header(path: Path, header: NiftiHeader, frame: int | None) -> VolumeHeader:
    num_channels = header.num_channels
    if frame is not None:
        _require_frame(path, header, frame)
        num_channels = 1
    return VolumeHeader(
        path,
        volume_format(path),
        header.grid,
        num_channels,
        _read_dtype(header),
        header.forms,
        num_frames=header.num_frames,
    )


def _require_frame(path: Path, header: NiftiHeader, frame: int) -> None:
    if header.grid.spatial_dims != 3 or header.num_channels != header.num_frames:
        raise SegpipeError(
            f"{path}: shape {header.shape} with {header.num_channels} values a voxel; time frames are read from the "
            "fourth axis of a file (x, y, z, time) without colours: leave out --frames, or save the file so"
        )
    if not 1 <= frame <= header.num_frames:
        raise SegpipeError(
            f"{path}: has no frame {frame}: its frames are 1 to {header.num_frames}; give a number among these"
        )


def _read_dtype(header: NiftiHeader) -> np.dtype[np.generic]:
    stored = header.stored
    if stored.fields:
        return np.dtype(np.uint8)
    if header.slope is None:
        return stored.newbyteorder("=")
    # float32 is exact enough for the product of 16 stored bits and a slope; more bits need float64
    return np.dtype(np.float32 if stored.itemsize <= 2 or stored == np.float32 else np.float64)


def _stored_voxels(path: Path, file: IO[bytes], header: NiftiHeader) -> VoxelArray:
    """Return the stored voxels, flat and in the file's byte order."""
    stored = np.empty(header.voxel_bytes // header.stored.itemsize, header.stored)
    held = fill(file, stored)
    if held < stored.nbytes:
        raise _cut_short(path, f"{held} bytes of voxels, its header asks for {stored.nbytes}")
    return stored


def _scaled(stored: VoxelArray, header: NiftiHeader, dtype: np.dtype[np.generic]) -> VoxelArray:
    """Return the voxels scaled by the header's slope and intercept, a part at a time, in place where possible."""
    if header.slope is None:
        return stored
    values: VoxelArray = (
        stored.view(dtype) if dtype.itemsize == stored.itemsize else np.empty(stored.shape, dtype)
    )
    slope, intercept = np.asarray(header.slope), np.asarray(header.intercept)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite voxel is refused as such
        for start in range(0, stored.size, _SCALED_AT_ONCE):
            part = slice(start, start + _SCALED_AT_ONCE)
            values[part] = apply_read_scaling(stored[part], slope, intercept)
    return values


def _in_axes(flat: VoxelArray, header: NiftiHeader) -> VoxelArray:
    """Return the values in the shape of the file; the components of a colour are an additional last axis."""
    fields = header.stored.fields
    if not fields:
        return flat.reshape(header.shape, order="F")
    return np.moveaxis(flat.view(np.uint8).reshape((len(fields), *header.shape), order="F"), 0, -1)


def _channels_first(array: VoxelArray, header: VolumeHeader) -> VoxelArray:
    size = header.grid.size
    if header.num_channels == 1:
        return array.reshape(size, order="F")
    if len(size) == 3:
        array = array.reshape((*size, header.num_channels), order="F")
    return np.moveaxis(array, -1, 0)

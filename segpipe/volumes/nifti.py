"""Reading NIfTI: the header judged here, the voxels through nibabel, and nothing left in the file unexplained."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.volumeutils import apply_read_scaling

from segpipe.errors import SegpipeError
from segpipe.volumes.formats import VolumeFormat, volume_format
from segpipe.volumes.nifti_header import NiftiHeader, parse_nifti_header
from segpipe.volumes.streams import LONGEST_TAIL, check_length, check_tail
from segpipe.volumes.volume import Volume, VolumeHeader, VoxelArray

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_MOST = 1032  # times its size that a gzip stream can unpack to
_STARTS = (
    b"\x5c\x01\0\0",
    b"\0\0\x01\x5c",
    b"\x1c\x02\0\0",
    b"\0\0\x02\x1c",
)  # 348 and 540 in both byte orders


def read_nifti_header(path: Path) -> VolumeHeader:
    """Read grid, channels and dtype of a .nii or .nii.gz file, and check an uncompressed one's length.

    Raises:
        SegpipeError: no NIfTI, an unusable header, or a .nii of another length than its header says.
    """
    with _opened(path) as file:
        header = parse_nifti_header(path, file)
        if volume_format(path) is VolumeFormat.NIFTI:
            _check_length(path, file, header)
        return _volume_header(path, header)


def read_nifti(path: Path) -> Volume:
    """Read a .nii or .nii.gz file; stored integers stay integers unless the header scales them.

    The whole gzip stream is read to its end, since its checksum is the only guard against a flipped bit.

    Raises:
        SegpipeError: as `read_nifti_header`, and for truncated or corrupt voxels.
    """
    with _opened(path) as file:
        header = parse_nifti_header(path, file)
        if volume_format(path) is VolumeFormat.NIFTI:
            _check_length(path, file, header)
        elif header.voxel_bytes > _GZIP_MOST * path.stat().st_size:
            raise _cut_short(path, f"its header asks for {header.voxel_bytes} bytes of voxels")
        stored = _stored_voxels(file, header)
        _check_tail(path, file, header, stored)
    found = _volume_header(path, header)
    array = _channels_first(_scaled(stored, header), found)
    return Volume(array, found.grid, path, found.format, found.nifti_forms)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open the file, unpacked, for reading; a name that contradicts the content is refused."""
    compressed = volume_format(path) is VolumeFormat.NIFTI_GZ
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if not start:
            raise SegpipeError(f"{path}: empty file (0 bytes); copy the file again from its source")
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
        with gzip.open(path, "rb") if compressed else path.open("rb") as opened:
            yield cast("IO[bytes]", opened)
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
    """Refuse an uncompressed file that is shorter than its header says, or longer by anything but zeros."""
    needed = header.data_offset + header.voxel_bytes
    held = file.seek(0, 2)
    if held < needed:
        raise _cut_short(path, f"{held} bytes, its header asks for {needed}")
    check_length(path, path, header.data_offset, header.voxel_bytes, header.row_bytes)


def _check_tail(path: Path, file: IO[bytes], header: NiftiHeader, stored: VoxelArray) -> None:
    """Read on to the end of the stream, whose checksum is then compared; only zeros may follow the voxels."""
    tail = file.read(LONGEST_TAIL + 1)
    last = -(-len(tail) // stored.dtype.itemsize)
    before = stored.reshape(-1, order="F")[stored.size - min(last, stored.size) :].tobytes()
    check_tail(path, before, tail, header.data_offset + header.voxel_bytes + len(tail), header.row_bytes)


def _volume_header(path: Path, header: NiftiHeader) -> VolumeHeader:
    return VolumeHeader(
        path, volume_format(path), header.grid, header.num_channels, _read_dtype(header), header.forms
    )


def _read_dtype(header: NiftiHeader) -> np.dtype[np.generic]:
    stored = header.stored
    if stored.fields:
        return np.dtype(np.uint8)
    if header.slope is None:
        return stored.newbyteorder("=")
    # the product of 16 stored bits and a slope keeps its meaning in float32; more bits need float64
    return np.dtype(np.float32 if stored.itemsize <= 2 or stored == np.float32 else np.float64)


def _stored_voxels(file: IO[bytes], header: NiftiHeader) -> VoxelArray:
    """Read the voxels as they are stored, in the file's axes and byte order."""
    spec = (header.shape, header.stored, header.data_offset, 1.0, 0.0)
    try:
        return np.asarray(ArrayProxy(file, spec, mmap=False).get_unscaled())
    except OSError as error:
        if "Expected" in str(error):  # nibabel's words for a stream that ends too early
            raise EOFError(str(error)) from error
        raise


def _scaled(stored: VoxelArray, header: NiftiHeader) -> VoxelArray:
    if stored.dtype.fields:
        return np.stack([stored[name] for name in stored.dtype.fields], axis=-1)
    dtype = _read_dtype(header)
    if header.slope is None:
        return stored.astype(dtype, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite voxel is refused as such
        values: VoxelArray = apply_read_scaling(
            stored, np.asarray(header.slope), np.asarray(header.intercept)
        )
        return values.astype(dtype)


def _channels_first(array: VoxelArray, header: VolumeHeader) -> VoxelArray:
    size = header.grid.size
    if header.num_channels == 1:
        return array.reshape(size, order="F")
    if len(size) == 3:
        array = array.reshape((*size, header.num_channels), order="F")
    return np.moveaxis(array, -1, 0)

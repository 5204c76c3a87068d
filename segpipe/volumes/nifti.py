"""Reading NIfTI through nibabel, which keeps sheared affines, with the checks that nibabel leaves out."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from segpipe.errors import SegpipeError
from segpipe.volumes.formats import VolumeFormat, volume_format
from segpipe.volumes.geometry import Grid
from segpipe.volumes.volume import NiftiForms, Volume, VolumeHeader, VoxelArray

_HEADER_BYTES = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
_FILE_ERRORS = (EOFError, zlib.error, OSError, ValueError, OverflowError, HeaderDataError, ImageFileError)
_CHUNK_BYTES = 1 << 20


def read_nifti_header(path: Path) -> VolumeHeader:
    """Read grid, channels and dtype of a .nii or .nii.gz file, and check an uncompressed one's length.

    Raises:
        SegpipeError: no NIfTI, an unusable header, or a .nii shorter than its header says.
    """
    with _opened(path) as (file, image):
        header = _describe(path, image)
        if header.format is VolumeFormat.NIFTI:
            needed = image.dataobj.offset + int(np.prod(image.shape)) * image.dataobj.dtype.itemsize
            held = file.seek(0, 2)
            if held < needed:
                raise SegpipeError(
                    f"{path}: truncated: {held} bytes, its header asks for {needed}; copy the file again "
                    "from its source"
                )
        return header


def read_nifti(path: Path) -> Volume:
    """Read a .nii or .nii.gz file; stored integers stay integers unless the header scales them.

    The whole gzip stream is read to its end, since its checksum is the only guard against a flipped bit.

    Raises:
        SegpipeError: as `read_nifti_header`, and for truncated or corrupt voxels.
    """
    read_nifti_header(path)
    with _opened(path) as (file, image):
        header = _describe(path, image)
        array = _voxels(image)
        while file.read(_CHUNK_BYTES):
            pass
    return Volume(_channels_first(array, header), header.grid, path, header.format, header.nifti_forms)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Any]]:
    compressed = volume_format(path) is VolumeFormat.NIFTI_GZ
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as opened:
            file = cast("IO[bytes]", opened)
            start = file.read(4)
            sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
            kinds = [kind for size, kind in _HEADER_BYTES.items() if size in sizes]
            if not kinds:
                raise SegpipeError(
                    f"{path}: not a NIfTI file: begins with bytes {start.hex(' ') or '(none)'}, a NIfTI "
                    "begins with its header size 348 or 540; export the scan again"
                )
            file.seek(0)
            yield file, kinds[0].from_stream(file)
    except _FILE_ERRORS as error:
        raise SegpipeError(
            f"{path}: truncated, corrupt or unreadable NIfTI ({_reason(error)}); copy the file again from "
            "its source"
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _describe(path: Path, image: Any) -> VolumeHeader:
    header = image.header
    shape = list(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    extra = [length for length in shape[3:] if length > 1]
    if len(shape) < 2 or len(extra) > 1:
        raise SegpipeError(
            f"{path}: shape {tuple(image.shape)}: must be (x, y), (x, y, z) or (x, y, z, channels); "
            "extract one volume"
        )
    units = header["xyzt_units"] & 7
    if units in (1, 3):
        raise SegpipeError(
            f"{path}: spatial unit {'metre' if units == 1 else 'micrometre'}: must be mm or unset; scale "
            "the affine to mm and set xyzt_units to 2"
        )
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        raise SegpipeError(
            f"{path}: sform_code {int(header['sform_code'])} and qform_code {int(header['qform_code'])}: neither "
            "affine is set, so which side is left is unknown and programs guess differently; set one of them "
            "from the scan's source, for instance by converting its DICOM series again"
        )
    stored = header.get_data_dtype()
    if stored.kind == "c" or (
        stored.fields and {kind for kind, _ in stored.fields.values()} != {np.dtype("u1")}
    ):
        raise SegpipeError(f"{path}: voxels of type {stored}: must be real numbers; export the magnitude")
    try:
        grid = Grid.from_affine(shape[:3], image.affine)
    except SegpipeError as error:
        raise SegpipeError(f"{path}: {error}") from None
    forms = NiftiForms(int(header["sform_code"]), int(header["qform_code"]), _qform(image))
    channels = (extra[0] if extra else 1) * (len(stored.fields) if stored.fields else 1)
    return VolumeHeader(path, volume_format(path), grid, channels, _read_dtype(image), forms)


def _qform(image: Any) -> Any:
    return image.get_qform() if image.header["qform_code"] > 0 else image.affine


def _read_dtype(image: Any) -> np.dtype[Any]:
    stored: np.dtype[Any] = image.header.get_data_dtype()
    if stored.fields:
        return np.dtype(np.uint8)
    if not _is_scaled(image):
        return stored.newbyteorder("=")
    # the product of 16 stored bits and a slope keeps its meaning in float32; more bits need float64
    return np.dtype(np.float32 if stored.itemsize <= 2 or stored == np.float32 else np.float64)


def _is_scaled(image: Any) -> bool:
    """Ask the voxels, not the header: nibabel clears the header's slope when it loads a file."""
    return (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)


def _voxels(image: Any) -> VoxelArray:
    dtype = _read_dtype(image)
    if not _is_scaled(image):
        stored = np.asarray(image.dataobj.get_unscaled())
        if stored.dtype.fields:
            names = list(stored.dtype.fields)
            return np.stack([stored[name] for name in names], axis=-1)
        return stored.astype(dtype, copy=False)
    return np.asarray(image.dataobj, dtype)


def _channels_first(array: VoxelArray, header: VolumeHeader) -> VoxelArray:
    size = header.grid.size
    if header.num_channels == 1:
        return array.reshape(size, order="F")
    if len(size) == 3:
        array = array.reshape((*size, header.num_channels), order="F")
    return np.moveaxis(array, -1, 0)

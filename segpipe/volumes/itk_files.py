"""Reading MetaImage, NRRD, PNG and JPEG files through SimpleITK, each by the one ITK class of its format."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name all its users know

from segpipe.errors import SegpipeError
from segpipe.volumes.formats import VolumeFormat, volume_format
from segpipe.volumes.geometry import Grid
from segpipe.volumes.metaimage import check_metaimage_stream, check_voxel_file, read_metaimage_header
from segpipe.volumes.nrrd import check_nrrd_stream, check_nrrd_units
from segpipe.volumes.volume import Volume, VolumeHeader

_READERS = {
    VolumeFormat.MHD: "MetaImageIO",
    VolumeFormat.MHA: "MetaImageIO",
    VolumeFormat.NRRD: "NrrdImageIO",
    VolumeFormat.SEG_NRRD: "NrrdImageIO",
    VolumeFormat.PNG: "PNGImageIO",
    VolumeFormat.JPEG: "JPEGImageIO",
}
_SIGNATURES = {
    VolumeFormat.NRRD: b"NRRD",
    VolumeFormat.SEG_NRRD: b"NRRD",
    VolumeFormat.PNG: b"\x89PNG\r\n\x1a\n",
    VolumeFormat.JPEG: b"\xff\xd8\xff",
}
_METAIMAGE = (VolumeFormat.MHD, VolumeFormat.MHA)
_PIXEL_DTYPES = {
    sitk.sitkUInt8: np.uint8,
    sitk.sitkInt8: np.int8,
    sitk.sitkUInt16: np.uint16,
    sitk.sitkInt16: np.int16,
    sitk.sitkUInt32: np.uint32,
    sitk.sitkInt32: np.int32,
    sitk.sitkUInt64: np.uint64,
    sitk.sitkInt64: np.int64,
    sitk.sitkFloat32: np.float32,
    sitk.sitkFloat64: np.float64,
    sitk.sitkVectorUInt8: np.uint8,
    sitk.sitkVectorInt8: np.int8,
    sitk.sitkVectorUInt16: np.uint16,
    sitk.sitkVectorInt16: np.int16,
    sitk.sitkVectorUInt32: np.uint32,
    sitk.sitkVectorInt32: np.int32,
    sitk.sitkVectorUInt64: np.uint64,
    sitk.sitkVectorInt64: np.int64,
    sitk.sitkVectorFloat32: np.float32,
    sitk.sitkVectorFloat64: np.float64,
}
_JPEG_END = 0xD9
_JPEG_BARE_MARKERS = frozenset(
    {0x00, 0x01, *range(0xD0, 0xD9)}
)  # stuffing, TEM, restarts, start: no length follows

# what ITK warns of on the terminal is either checked here or raised as an error
sitk.ProcessObject.GlobalWarningDisplayOff()


def read_itk_header(path: Path) -> VolumeHeader:
    """Read grid, channels and dtype of a .mhd, .mha, .nrrd, .png or .jpg file.

    The length of a .mhd's voxel file is checked too.

    Raises:
        SegpipeError: not such a file, an unusable header, or a voxel file that is missing, short or too long.
    """
    header, _ = _read_header(path)
    return header


def read_itk_file(path: Path) -> Volume:
    """Read a .mhd, .mha, .nrrd, .png or .jpg file.

    Raises:
        SegpipeError: as `read_itk_header`, and for truncated or corrupt voxels.
    """
    header, reader = _read_header(path)
    if header.format in _METAIMAGE:
        check_metaimage_stream(read_metaimage_header(path))
    if header.format.is_nrrd:
        voxels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
        check_nrrd_stream(path, voxels * header.dtype.itemsize)
    if header.format is VolumeFormat.JPEG and not _jpeg_is_whole(path.read_bytes()):
        raise SegpipeError(f"{path}: truncated: no end-of-image marker; copy the file again from its source")
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    array_zyx = sitk.GetArrayFromImage(image)
    if header.num_channels == 1:
        array = array_zyx.T.reshape(header.grid.size, order="F")
    elif image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array_zyx, -1, 0).transpose(0, *range(array_zyx.ndim - 1, 0, -1))
    else:  # 4D: the slowest axis holds the channels
        array = array_zyx.transpose(0, 3, 2, 1)
    return Volume(array, header.grid, path, header.format)


def _read_header(path: Path) -> tuple[VolumeHeader, sitk.ImageFileReader]:
    format_ = volume_format(path)
    _check_start(path, format_)
    if format_ in _METAIMAGE:
        check_voxel_file(read_metaimage_header(path))
    if format_.is_nrrd:
        check_nrrd_units(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[format_])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    dtype = _PIXEL_DTYPES.get(reader.GetPixelIDValue())
    if dtype is None:
        raise SegpipeError(
            f"{path}: voxels of type {sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())}: must be "
            "real numbers; export the magnitude"
        )
    components = reader.GetNumberOfComponents()
    grid, series = _grid(path, reader, is_picture=format_.is_picture)
    if series > 1 and components > 1:
        raise SegpipeError(
            f"{path}: 4D with {components} values a voxel: must be 3D or one value; extract one volume"
        )
    return VolumeHeader(path, format_, grid, components * series, np.dtype(dtype)), reader


def _grid(path: Path, reader: sitk.ImageFileReader, *, is_picture: bool) -> tuple[Grid, int]:
    """Return the spatial grid, and the length of a fourth axis (1 if there is none)."""
    size = reader.GetSize()
    dims = len(size)
    if dims not in (2, 3, 4):
        raise SegpipeError(f"{path}: size {tuple(size)}: must have 2 to 4 axes; extract one volume")
    spatial = min(dims, 3)
    try:
        if is_picture:  # a resolution in dots per inch says nothing of the patient
            return Grid.from_lps(size, (1.0, 1.0), (0.0, 0.0), np.eye(2)), 1
        direction = np.array(reader.GetDirection()).reshape(dims, dims)[:spatial, :spatial]
        grid = Grid.from_lps(size[:3], reader.GetSpacing()[:3], reader.GetOrigin()[:3], direction)
    except SegpipeError as error:
        raise SegpipeError(f"{path}: {error}") from None
    return grid, size[3] if dims == 4 else 1


def _check_start(path: Path, format_: VolumeFormat) -> None:
    signature = _SIGNATURES.get(format_, b"")
    try:
        with path.open("rb") as file:
            start = file.read(max(len(signature), 1))
    except OSError as error:
        raise SegpipeError(
            f"{path}: cannot be read ({error.strerror}); check the path and the permissions"
        ) from error
    if not start:
        raise SegpipeError(f"{path}: empty file (0 bytes); copy the file again from its source")
    if not start.startswith(signature):
        raise SegpipeError(
            f"{path}: not a {format_.value} file: begins with bytes {start.hex(' ')}, must be "
            f"{signature.hex(' ')}; give the file the suffix of its format"
        )


def _jpeg_is_whole(data: bytes) -> bool:
    """Follow the segments to the end-of-image marker; libjpeg fills what a truncated file lacks with grey."""
    position = 2
    while (position := data.find(b"\xff", position)) != -1 and position + 1 < len(data):
        marker = data[position + 1]
        if marker == _JPEG_END:
            return True
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _JPEG_BARE_MARKERS:
            position += 2
        else:  # a segment with its length; after a start of scan (0xDA) the search runs on through its data
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False


def _unreadable(path: Path, error: RuntimeError) -> SegpipeError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return SegpipeError(
        f"{path}: truncated, corrupt or unreadable ({lines[-1]}); copy the file again from its source"
    )

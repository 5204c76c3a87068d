"""Read MetaImage, NRRD, PNG and JPEG files; segpipe and the ITK class of the format both check the header.

ITK reads 2D image files, and voxels that are written as text. For other voxels ITK would need twice the memory, and
unpack compressed voxels twice: `segpipe.volumes.streams` reads these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name all its users know

from segpipe.errors import SegpipeError
from segpipe.regular_files import require_regular
from segpipe.volumes.file_start import read_start
from segpipe.volumes.formats import VolumeFormat, volume_format
from segpipe.volumes.geometry import Grid
from segpipe.volumes.image_2d_files import check_jpeg, check_png
from segpipe.volumes.jpeg_messages import refusing_damaged_jpeg
from segpipe.volumes.metaimage import check_voxel_file, metaimage_voxels
from segpipe.volumes.metaimage_header import MetaImageHeader, read_metaimage_header
from segpipe.volumes.needed_memory import require_free_memory
from segpipe.volumes.nrrd import check_nrrd_length, nrrd_voxels, require_nrrd_file
from segpipe.volumes.nrrd_header import NrrdHeader, read_nrrd_header
from segpipe.volumes.volume import ItkGeometry, Volume, VolumeHeader, VoxelArray

_READERS = {
    VolumeFormat.MHD: "MetaImageIO",
    VolumeFormat.MHA: "MetaImageIO",
    VolumeFormat.NRRD: "NrrdImageIO",
    VolumeFormat.SEG_NRRD: "NrrdImageIO",
    VolumeFormat.PNG: "PNGImageIO",
    VolumeFormat.JPEG: "JPEGImageIO",
}
_SIGNATURES = {
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
# ITK's warnings on the terminal are checked here or raised as errors
sitk.ProcessObject.GlobalWarningDisplayOff()


def read_itk_header(path: Path) -> VolumeHeader:
    """Read grid, channels and dtype of a .mhd, .mha, .nrrd, .png or .jpg file.

    The length of uncompressed voxels of a .mhd, .mha or .nrrd file is checked, too. Of a .png or .jpg file everything
    except the compressed pixels is checked.

    Raises:
        SegpipeError: a file of another format, an unusable header, or a voxel file that is missing, short or too long.
    """
    return _read_header(path).header


def read_itk_file(path: Path) -> Volume:
    """Read a .mhd, .mha, .nrrd, .png or .jpg file.

    Raises:
        SegpipeError: as `read_itk_header`, and for truncated or corrupt voxels.
    """
    opened = _read_header(path)
    header = opened.header
    require_free_memory(header, beside=2 * header.num_values if opened.is_progressive else 0)
    if opened.metaimage is not None and not opened.metaimage.is_text:
        array = metaimage_voxels(opened.metaimage, header.dtype)
    elif opened.nrrd is not None and opened.nrrd.is_plain:
        array = nrrd_voxels(opened.nrrd, header.dtype)
    elif header.format is VolumeFormat.JPEG:
        with refusing_damaged_jpeg(path):
            array = _read_by_itk(path, opened.reader)
    else:
        array = _read_by_itk(path, opened.reader)
    if header.num_channels == 1:
        array = array.reshape(header.grid.size, order="F")
    elif opened.channels_last:
        array = np.moveaxis(array, -1, 0)
    return Volume(array, header.grid, path, header.format, itk_geometry=header.itk_geometry)


def _read_by_itk(path: Path, reader: sitk.ImageFileReader) -> VoxelArray:
    """Return ITK's voxels in the order (x, y), (x, y, z) or (x, y, z, t), after an axis of components if any."""
    require_regular(path)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    array: VoxelArray = np.asarray(_ItkBuffer(image)).T
    return array


@dataclass(frozen=True)
class _ItkBuffer:
    """The voxels of an ITK image for NumPy without a copy; the array keeps the image alive."""

    image: sitk.Image

    @property
    def __array_interface__(self) -> dict[str, Any]:
        view = sitk.GetArrayViewFromImage(self.image)
        return {**view.__array_interface__, "data": (view.ctypes.data, False)}


@dataclass(frozen=True)
class _Opened:
    """An opened file with a checked header, ready to read the voxels."""

    header: VolumeHeader
    reader: sitk.ImageFileReader
    metaimage: MetaImageHeader | None
    nrrd: NrrdHeader | None
    is_progressive: bool = False
    """True for a JPEG whose decoder holds the coefficients of all pixels, two bytes a value."""

    @property
    def channels_last(self) -> bool:
        """True for a 4D file, whose slowest axis holds the channels; reading an NRRD puts the channels first."""
        in_order = self.nrrd is not None and self.nrrd.is_plain
        return self.reader.GetDimension() == 4 and not in_order


def _read_header(path: Path) -> _Opened:
    format_ = volume_format(path)
    metaimage = nrrd = None
    is_progressive = False
    if format_ in _METAIMAGE:
        metaimage = read_metaimage_header(path)
        check_voxel_file(metaimage)
    elif format_.is_nrrd:
        nrrd = read_nrrd_header(path)
        require_nrrd_file(nrrd)
    else:
        is_progressive = _check_image_2d_file(path, format_)
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
    grid, geometry = _lattice(metaimage, nrrd, reader.GetSize())
    series = _fourth_axis(path, reader.GetSize(), grid)
    components = reader.GetNumberOfComponents()
    if series > 1 and components > 1:
        raise SegpipeError(
            f"{path}: 4D with {components} values a voxel: must be 3D or one value; extract one volume"
        )
    header = VolumeHeader(path, format_, grid, components * series, np.dtype(dtype), itk_geometry=geometry)
    stated = header.num_values
    if nrrd is not None:
        stated = math.prod(nrrd.sizes)
    elif metaimage is not None:
        stated = math.prod(metaimage.sizes) * metaimage.channels
    if stated != header.num_values:
        raise SegpipeError(
            f"{path}: ITK reads {header.num_values} values, the header says {stated}: this kind of voxel cannot be "
            "read; save the file with one value a voxel, or as vectors"
        )
    if nrrd is not None:
        check_nrrd_length(nrrd, header.array_bytes)
    return _Opened(header, reader, metaimage, nrrd, is_progressive)


def _lattice(
    metaimage: MetaImageHeader | None, nrrd: NrrdHeader | None, size: Sequence[int]
) -> tuple[Grid, ItkGeometry | None]:
    """Return the grid of the file's header; of a 2D image file a grid of unit pixels, since dots per inch are no mm."""
    if metaimage is not None:
        return metaimage.grid(), metaimage.geometry
    if nrrd is not None:
        return nrrd.grid, nrrd.geometry
    return Grid.from_lps(size, (1.0, 1.0), (0.0, 0.0), np.eye(2)), None


def _fourth_axis(path: Path, size: Sequence[int], grid: Grid) -> int:
    """Check that ITK's first axes are those of the grid; return the length of a fourth axis, 1 if there is none."""
    if tuple(size[: grid.spatial_dims]) != grid.size or len(size) > 4:
        raise SegpipeError(
            f"{path}: ITK reads {tuple(size)} voxels, the header says {grid.size}: this order of axes "
            "cannot be read; save the file as one 3D volume"
        )
    return int(size[3]) if len(size) == 4 else 1


def _check_image_2d_file(path: Path, format_: VolumeFormat) -> bool:
    """Check a 2D image file except its compressed pixels; return whether it is a progressive JPEG."""
    signature = _SIGNATURES[format_]
    start = read_start(path, len(signature))
    if not start.startswith(signature):
        raise SegpipeError(
            f"{path}: not a {format_.value} file: begins with bytes {start.hex(' ')}, must be "
            f"{signature.hex(' ')}; give the file the suffix of its format"
        )
    if format_ is VolumeFormat.JPEG:
        return check_jpeg(path)
    check_png(path)
    return False


def _unreadable(path: Path, error: RuntimeError) -> SegpipeError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return SegpipeError(
        f"{path}: ITK cannot read this file ({lines[-1]}); save it again with the program that made it, as "
        "another of segpipe's formats if need be"
    )

"""Read the pixels of one slice: the stored values, scaled by slope and intercept.

GDCM, ITK's DICOM library, inverts MONOCHROME1 and scales by its own rules. So this module reads uncompressed pixels
from the file directly, and unpacks compressed pixels from a copy with a plain header.
"""

from __future__ import annotations

import struct
import tempfile
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - the name all its users know
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    RLELossless,
    SecondaryCaptureImageStorage,
)

from segpipe.errors import SegpipeError
from segpipe.volumes.dicom_file import read_pixel_bytes, trailing_fault
from segpipe.volumes.dicom_frames import frame_fault
from segpipe.volumes.dicom_slice import DicomSlice
from segpipe.volumes.volume import VoxelArray

_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_HALF_INT32 = 1 << 30
_MOST_BESIDE = 1 << 24  # bytes that may follow compressed pixels
_JPEG_END = b"\xff\xd9"


def read_intensities(slice_: DicomSlice, dtype: np.dtype[Any]) -> VoxelArray:
    """Read the pixels of a slice and scale them by its slope and intercept.

    Args:
        slice_: header of the slice.
        dtype: of the intensities; must hold all values that the stored bits can give.

    Returns:
        (x, y) of `dtype`.

    Raises:
        SegpipeError: the pixels are truncated, damaged, or hold bits that the header does not explain.
    """
    stored = _unpacked(slice_) if slice_.is_compressed else _native(slice_)
    if slice_.is_inverted:
        stored = sum(slice_.stored_range) - stored
    if not np.issubdtype(dtype, np.integer):
        values = stored * slice_.slope + slice_.intercept
    elif (slice_.slope, slice_.intercept) == (1, 0):
        values = stored
    else:
        scaled = max(abs(slice_.slope * end) for end in slice_.stored_range)
        exact = np.int32 if max(scaled, abs(slice_.intercept)) < _HALF_INT32 else np.int64
        values = np.multiply(stored, int(slice_.slope), dtype=exact) + exact(slice_.intercept)
    array: VoxelArray = values.astype(dtype, copy=False).reshape(slice_.rows, slice_.columns).T
    return array


def _native(slice_: DicomSlice) -> VoxelArray:
    """Return the stored values of uncompressed pixels, flat, in native byte order."""
    raw = read_pixel_bytes(slice_.path, slice_.pixels)[: slice_.pixel_bytes]
    order = "<" if slice_.pixels.is_little_endian else ">"
    width, bits = slice_.bits_allocated // 8, slice_.bits_stored
    if width == 1 and slice_.pixels.is_words and order == ">":
        raw = np.frombuffer(raw, ">u2").astype("<u2").tobytes()
    kind = "i" if slice_.is_signed else "u"
    cells = np.frombuffer(raw, f"{order}{kind}{width}").astype(f"={kind}{width}", copy=False)
    unused = slice_.bits_allocated - bits
    if not unused:
        return cells
    values: VoxelArray = (cells << unused) >> unused  # extends the sign of signed values
    without_sign = cells & ((1 << bits) - 1)
    other_bits = (cells != values) & (cells != without_sign)
    if other_bits.any() and not slice_.has_overlay_bits:
        raise SegpipeError(
            f"{slice_.path}: {int(other_bits.sum())} pixels hold bits above BitsStored {bits} (of BitsAllocated "
            f"{slice_.bits_allocated}), and no overlay explains them; export the original series"
        )
    return values


def _unpacked(slice_: DicomSlice) -> VoxelArray:
    """Return the stored values of compressed pixels, flat."""
    fragments = _fragments(slice_)
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = slice_.syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = slice_.rows, slice_.columns, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = slice_.bits_allocated, slice_.bits_stored
    dataset.HighBit, dataset.PixelRepresentation = slice_.bits_stored - 1, int(slice_.is_signed)
    dataset.PixelData = fragments
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    try:
        # pydicom unpacks RLE, since GDCM loses rows; other compressions need GDCM
        array = dataset.pixel_array if slice_.syntax == RLELossless else _unpacked_by_gdcm(dataset)
    except (RuntimeError, ValueError) as error:
        raise SegpipeError(
            f"{slice_.path}: pixels compressed as {slice_.syntax.name} cannot be unpacked; export the series again, "
            "uncompressed"
        ) from error
    low, high = slice_.stored_range
    if array.size != slice_.rows * slice_.columns or not low <= array.min() <= array.max() <= high:
        raise SegpipeError(
            f"{slice_.path}: unpacking gives {array.size} pixels of {array.min()} to {array.max()}, and Rows x Columns "
            f"{slice_.rows} x {slice_.columns} and BitsStored {slice_.bits_stored} ask for "
            f"{slice_.rows * slice_.columns} of {low} to {high}; export the series again"
        )
    return array.reshape(-1).astype(np.int64)


def _unpacked_by_gdcm(dataset: pydicom.Dataset) -> VoxelArray:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with tempfile.NamedTemporaryFile(suffix=".dcm") as plain:
        dataset.save_as(plain, enforce_file_format=True)
        plain.flush()
        reader.SetFileName(plain.name)
        array: VoxelArray = sitk.GetArrayFromImage(reader.Execute())
    return array


def _fragments(slice_: DicomSlice) -> bytes:
    """Return the fragments of the compressed pixels as in the file, without the sequence's end mark."""
    most = 2 * slice_.pixel_bytes + _MOST_BESIDE
    if slice_.pixels.held > most:
        raise SegpipeError(
            f"{slice_.path}: {slice_.pixels.held} bytes of compressed pixels and what follows them, for pixels of "
            f"{slice_.pixel_bytes} bytes: at most {most} are read; export the series again, uncompressed"
        )
    held = read_pixel_bytes(slice_.path, slice_.pixels)
    at, stream = 0, b""
    while True:
        if len(held) < at + 8:
            raise SegpipeError(
                f"{slice_.path}: pixel data truncated: the file ends within the compressed pixels, {len(held)} bytes "
                "after their start; copy the file again from its source"
            )
        group, element, length = struct.unpack("<HHI", held[at : at + 8])
        if (group, element) == _SEQUENCE_END:
            break
        if (group, element) != _ITEM:
            raise SegpipeError(
                f"{slice_.path}: compressed pixel data without item tag at byte {slice_.pixels.offset + at}; export "
                "the series again"
            )
        if at > 0:  # the first item is the table of offsets
            stream += held[at + 8 : at + 8 + length]
        at += 8 + length
    fault = trailing_fault(BytesIO(held), at + 8, len(held), slice_.pixels)
    if not fault and slice_.syntax != RLELossless and not stream.rstrip(b"\0").endswith(_JPEG_END):
        fault = "the compressed pixels have no end mark, so that some are missing; export the series again"
    fault = fault or frame_fault(stream, slice_.syntax, slice_.rows, slice_.columns)
    if fault:
        raise SegpipeError(f"{slice_.path}: {fault}")
    return held[:at]

"""Read one DICOM file: its header, the position of its pixel data, and whether the file is complete."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular, require_regular
from segpipe.volumes.dicom_stream import InflatedDataSet, parsed_header
from segpipe.volumes.formats import starts_data_set
from segpipe.volumes.streams import LONGEST_TAIL

_OVERLAY_BIT_POSITIONS = frozenset(Tag(group, 0x0102) for group in range(0x6000, 0x6020, 2))
_TAGS = (
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "FrameOfReferenceUID",
    "HighBit",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "Modality",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SOPClassUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Units",
)
_READ_TAGS = [*map(Tag, _TAGS), *_OVERLAY_BIT_POSITIONS]
_SPARE_TAGS = ("ImageType", "InstanceNumber", "SeriesDescription", "SliceThickness", "SpacingBetweenSlices")
"""Optional tags, dropped where they cannot be read."""
_READING_ERRORS = (
    InvalidDicomError,
    EOFError,
    struct.error,
    zlib.error,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RecursionError,
    NotImplementedError,  # pydicom, for an unknown value representation
    BytesLengthException,
)
_MAGIC_AT, _MAGIC = 128, b"DICM"
_PIXEL_DATA = (0x7FE0, 0x0010)
_FLOAT_PIXEL_DATA = {(0x7FE0, 0x0008): "FloatPixelData", (0x7FE0, 0x0009): "DoubleFloatPixelData"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 512  # tapes and archives fill their last block with zeros
_PIXEL_VRS = (b"OB", b"OW", b"UN")


@dataclass(frozen=True)
class PixelElement:
    """Position and encoding of the pixel data in a file.

    Args:
        offset: first byte of the value; in a deflated file, counted in the unpacked data set.
        length: bytes of the value; None where the value is encapsulated in fragments.
        held: bytes of the value in the file; for fragments all bytes after `offset`. For a deflated file the header's
            length, since the true length shows only in unpacking.
        is_little_endian: byte order of the pixels.
        is_implicit: True if elements have no value representation.
        is_words: True if the value representation is OW: 8-bit pixels are paired in 16-bit words.
        is_deflated: True if the whole data set is compressed.
    """

    offset: int
    length: int | None
    held: int
    is_little_endian: bool
    is_implicit: bool
    is_words: bool
    is_deflated: bool


@dataclass(frozen=True)
class DicomFile:
    """The header of one DICOM file, with the file's fault, if any.

    Args:
        path: the file.
        header: the tags that segpipe uses.
        syntax: transfer syntax of the data set.
        pixels: None where the file has no pixel data.
        overlay_bits: True if some bits of a pixel hold an overlay.
        fault: message why the file is no complete image; empty for a complete image.
    """

    path: Path
    header: pydicom.FileDataset
    syntax: UID
    pixels: PixelElement | None
    overlay_bits: bool
    fault: str = ""

    @property
    def stated_classes(self) -> tuple[UID, ...]:
        """The SOP classes in the data set and in the file's meta information, without repetition."""
        stated = (self.text("SOPClassUID"), str(self.header.file_meta.get("MediaStorageSOPClassUID") or ""))
        return tuple(UID(kind) for kind in dict.fromkeys(stated) if kind)

    @property
    def sop_class(self) -> UID:
        """The SOP class of the object in the file; empty where the file does not state it."""
        return next(iter(self.stated_classes), UID(""))

    def text(self, tag: str) -> str:
        """Return a tag as text, empty where it is missing."""
        value = self.header.get(tag)
        return "" if value is None else str(value)


def read_dicom_file(path: Path, further_tags: Sequence[str] = ()) -> DicomFile:
    """Read the header of a DICOM file with or without preamble.

    Args:
        path: the file.
        further_tags: keywords of tags to read beside those of a series.

    Raises:
        SegpipeError: the file is no DICOM file, or its header cannot be read.
    """
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            _require_dicom(path, file.read(_MAGIC_AT + len(_MAGIC)), size)
            header, stream = parsed_header(path, file, [*_READ_TAGS, *map(Tag, further_tags)])
            syntax = _transfer_syntax(header)
            header.file_meta.get(
                "MediaStorageSOPClassUID"
            )  # converts the value here, where errors are caught
            pixels, fault = _find_pixels(stream, header)
    except _READING_ERRORS as error:
        raise SegpipeError(
            f"{path}: not a readable DICOM file ({error or type(error).__name__}); export it again, or remove it from "
            "the folder if it is no slice"
        ) from error
    _convert_values(path, header)
    overlay_bits = not _OVERLAY_BIT_POSITIONS.isdisjoint(header.keys())
    return DicomFile(path, header, syntax, pixels, overlay_bits, fault)


def read_pixel_bytes(path: Path, pixels: PixelElement) -> bytes:
    """Return the value of the pixel data element; for encapsulated pixels all bytes after the element's start.

    Raises:
        SegpipeError: the file cannot be read; or it is deflated, and truncated or followed by invalid bytes.
    """
    try:
        with open_regular(path) as file:
            if pixels.is_deflated:
                return _unpacked_bytes(path, file, pixels)
            file.seek(pixels.offset)
            return file.read(pixels.held if pixels.length is None else pixels.length)
    except _READING_ERRORS as error:
        raise SegpipeError(f"{path}: pixels cannot be read ({error}); export the file again") from error


def _unpacked_bytes(path: Path, file: BinaryIO, pixels: PixelElement) -> bytes:
    """Return the pixel data of a deflated file, after a check of the bytes that follow them."""
    length = pixels.held
    stream = parsed_header(path, file, _READ_TAGS)[1]
    stream.most = pixels.offset + length + LONGEST_TAIL
    stream.seek(pixels.offset)
    value = bytes(stream.read(length))
    tail = stream.read(LONGEST_TAIL)
    if len(value) < length or (len(tail) < LONGEST_TAIL and not stream.has_ended):
        raise SegpipeError(
            f"{path}: truncated: its deflated data set ends within the pixel data or behind them, without an end mark; "
            "copy the file again from its source"
        )
    if not stream.has_ended:
        raise SegpipeError(
            f"{path}: more than {LONGEST_TAIL} bytes follow the pixel data of its deflated data set; export the file "
            "again, uncompressed"
        )
    if fault := _rest_fault(stream, pixels, pixels.offset + length + len(tail)):
        raise SegpipeError(f"{path}: {fault}")
    return value


def stated_class(path: Path) -> UID:
    """Return the SOP class in the meta information of a file, without reading the data set.

    Returns:
        MediaStorageSOPClassUID; empty where it is missing or cannot be read.
    """
    try:
        require_regular(path)
        return UID(str(read_file_meta_info(path).get("MediaStorageSOPClassUID") or ""))
    except (SegpipeError, *_READING_ERRORS):
        return UID("")


def _require_dicom(path: Path, start: bytes, size: int) -> None:
    if start[_MAGIC_AT:] == _MAGIC or starts_data_set(start):
        return
    if not size:
        raise SegpipeError(f"{path}: the file is empty (0 bytes): copy it again from its source")
    raise SegpipeError(
        f"{path}: not a readable DICOM file ({size} bytes, without the letters DICM at byte {_MAGIC_AT} and "
        "without a data set at its start); copy or export it again, or remove it from the folder"
    )


def _transfer_syntax(header: pydicom.FileDataset) -> UID:
    stated = header.file_meta.get("TransferSyntaxUID")
    if stated:
        return UID(str(stated))
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _find_pixels(stream: Any, header: pydicom.FileDataset) -> tuple[PixelElement | None, str]:
    """Return the pixel data element, None where it does not follow the header; and the file's fault or empty."""
    implicit, little = map(bool, header.original_encoding)
    start = stream.tell()
    element = stream.read(12)
    is_deflated = isinstance(stream, InflatedDataSet)
    size = start + len(element) if is_deflated else stream.seek(0, 2)
    if len(element) < (8 if implicit else 12):
        return None, (
            f"the file ends at byte {size} and holds no pixel data: it is cut short, or a length in its header is "
            "wrong; copy it again from its source, or export it with its pixels"
        )
    order = "<" if little else ">"
    tag = struct.unpack(f"{order}HH", element[:4])
    if tag in _FLOAT_PIXEL_DATA:
        return (
            None,
            f"{_FLOAT_PIXEL_DATA[tag]} in place of PixelData; convert the series, for instance to NIfTI",
        )
    vr = b"OW" if implicit else element[4:6]
    if tag != _PIXEL_DATA or vr not in _PIXEL_VRS:
        return None, f"no PixelData where the header ends, at byte {start} of {size}; export the file again"
    length = struct.unpack(f"{order}I", element[4:8] if implicit else element[8:12])[0]
    offset = start + (8 if implicit else 12)
    pixels = PixelElement(
        offset=offset,
        length=None if length == _UNDEFINED_LENGTH else length,
        held=length if is_deflated else max(0, min(size - offset, length)),
        is_little_endian=little,
        is_implicit=implicit,
        is_words=vr == b"OW",
        is_deflated=is_deflated,
    )
    if is_deflated or pixels.held < length or pixels.length is None:  # unpacking checks the end of a stream
        return pixels, ""
    return pixels, _rest_fault(stream, pixels, size)


def _rest_fault(stream: Any, pixels: PixelElement, size: int) -> str:
    """Return the fault of the bytes between pixels of a stated length and `size`; empty where they are right."""
    end = pixels.offset + pixels.held
    if end == size or not _only_zeros(stream, end, size):
        return trailing_fault(stream, end, size, pixels)
    before = max(pixels.offset, 2 * end - size)
    is_padding = not _only_zeros(stream, before, end) or size % _BLOCK_BYTES == 0
    return "" if is_padding else _trailing(size - end)


def _only_zeros(stream: Any, start: int, end: int) -> bool:
    stream.seek(start)
    return all(not any(stream.read(min(_CHUNK_BYTES, end - at))) for at in range(start, end, _CHUNK_BYTES))


def trailing_fault(stream: Any, start: int, size: int, pixels: PixelElement) -> str:
    """Return the fault of the bytes after the pixel data, which must be whole elements of higher tags.

    Args:
        stream: contains the bytes.
        start: position of the first byte.
        size: position after the last byte.
        pixels: the pixel data before them.

    Returns:
        A message; empty where the bytes are right.
    """
    order = "<" if pixels.is_little_endian else ">"
    at = start
    while at < size:
        stream.seek(at)
        head = stream.read(min(12, size - at))
        if len(head) < 8 or struct.unpack(f"{order}HH", head[:4]) <= _PIXEL_DATA:
            break
        if pixels.is_implicit:
            length, header_bytes = struct.unpack(f"{order}I", head[4:8])[0], 8
        elif head[4:6] in _LONG_VRS:
            length, header_bytes = int.from_bytes(head[8:12], "little" if order == "<" else "big"), 12
        elif re.fullmatch(rb"[A-Z]{2}", head[4:6]):
            length, header_bytes = struct.unpack(f"{order}H", head[6:8])[0], 8
        else:
            break
        if length == _UNDEFINED_LENGTH:
            return ""
        at += header_bytes + length
    return "" if at == size else _trailing(size - start)


def _trailing(count: int) -> str:
    return (
        f"{count} bytes follow the pixel data and are no DICOM elements, so that the pixels may be shifted; "
        "export the file again"
    )


def _convert_values(path: Path, header: pydicom.FileDataset) -> None:
    """Convert every value, which pydicom does on access; drop optional tags that cannot be converted."""
    for tag in list(header.keys()):
        try:
            header[tag].value  # noqa: B018
        except _READING_ERRORS as error:
            if keyword_for_tag(tag) in _SPARE_TAGS:
                header.pop(tag)
                continue
            raise SegpipeError(
                f"{path}: not a readable DICOM file: {keyword_for_tag(tag) or tag} cannot be converted ({error}); "
                "export it again"
            ) from error

"""One DICOM file: its header, where its pixel data lie, and whether the file is whole."""

from __future__ import annotations

import re
import struct
import zlib
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
from segpipe.volumes.formats import starts_data_set

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
"""A series can be read without them."""
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
    NotImplementedError,  # what pydicom raises for a value representation that it does not know
    BytesLengthException,
)
_MAGIC_AT, _MAGIC = 128, b"DICM"
_PIXEL_DATA = (0x7FE0, 0x0010)
_FLOAT_PIXEL_DATA = {(0x7FE0, 0x0008): "FloatPixelData", (0x7FE0, 0x0009): "DoubleFloatPixelData"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_BLOCK_BYTES = 512  # of tapes and archives, which fill the last one with zeros
_PIXEL_VRS = (b"OB", b"OW", b"UN")


@dataclass(frozen=True)
class PixelElement:
    """Where the pixel data lie in a file.

    Args:
        offset: of the first byte of the value; in a deflated file, of the unpacked data set.
        length: bytes of the value; None where it is encapsulated in fragments.
        held: bytes of the value that the file really holds; for fragments all that follows `offset`.
        is_little_endian: byte order of the pixels.
        is_implicit: elements are written without their value representation.
        is_words: the value representation is OW: 8-bit pixels are paired in 16-bit words.
        is_deflated: the whole data set is packed.
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
    """The header of one DICOM file, and what is wrong with the file.

    Args:
        path: the file.
        header: the few tags that segpipe uses.
        syntax: how the data set is encoded.
        pixels: None where the file has no pixel data.
        overlay_bits: some bits of a pixel hold an overlay.
        fault: why the file is no whole image, for people; empty where nothing is wrong.
    """

    path: Path
    header: pydicom.FileDataset
    syntax: UID
    pixels: PixelElement | None
    overlay_bits: bool
    fault: str = ""

    @property
    def stated_classes(self) -> tuple[UID, ...]:
        """The kinds of object that the data set and the file's meta information state, without repetition."""
        stated = (self.text("SOPClassUID"), str(self.header.file_meta.get("MediaStorageSOPClassUID") or ""))
        return tuple(UID(kind) for kind in dict.fromkeys(stated) if kind)

    @property
    def sop_class(self) -> UID:
        """The kind of object that the file holds; empty where it does not say."""
        return next(iter(self.stated_classes), UID(""))

    def text(self, tag: str) -> str:
        """Return a tag as text, empty where it is missing."""
        value = self.header.get(tag)
        return "" if value is None else str(value)


def read_dicom_file(path: Path) -> DicomFile:
    """Read the header of a DICOM file with or without preamble.

    Raises:
        SegpipeError: the file is no DICOM file, or its header cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            _require_dicom(path, file.read(_MAGIC_AT + len(_MAGIC)), size)
            file.seek(0)
            header = _parsed(file)
            syntax = _transfer_syntax(header)
            header.file_meta.get("MediaStorageSOPClassUID")  # converted here, where errors are caught
            stream = _data_set_stream(file, header)
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
    """Read the value of the pixel data element; all that follows its start where it is encapsulated.

    Raises:
        SegpipeError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            stream = file if not pixels.is_deflated else _data_set_stream(file, _parsed(file))
            stream.seek(pixels.offset)
            return bytes(stream.read(pixels.held if pixels.length is None else pixels.length))
    except _READING_ERRORS as error:
        raise SegpipeError(f"{path}: pixels cannot be read ({error}); export the file again") from error


def stated_class(path: Path) -> UID:
    """Return the kind of object that the meta information of a file states, without reading the data set.

    Returns:
        MediaStorageSOPClassUID, empty where there is none or it cannot be read.
    """
    try:
        return UID(str(read_file_meta_info(path).get("MediaStorageSOPClassUID") or ""))
    except _READING_ERRORS:
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


def _parsed(file: BinaryIO) -> pydicom.FileDataset:
    return pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_READ_TAGS)


def _data_set_stream(file: BinaryIO, header: pydicom.FileDataset) -> Any:
    """Return the stream that holds the data set, standing where the header ends: of a deflated file, unpacked."""
    return file if header.buffer is None else header.buffer


def _transfer_syntax(header: pydicom.FileDataset) -> UID:
    stated = header.file_meta.get("TransferSyntaxUID")
    if stated:
        return UID(str(stated))
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _find_pixels(stream: Any, header: pydicom.FileDataset) -> tuple[PixelElement | None, str]:
    """Return where the pixel data lie, and what is wrong with the file where they do not follow the header."""
    implicit, little = map(bool, header.original_encoding)
    start = stream.tell()
    size = stream.seek(0, 2)
    stream.seek(start)
    element = stream.read(12)
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
        held=max(0, min(size - offset, length)),
        is_little_endian=little,
        is_implicit=implicit,
        is_words=vr == b"OW",
        is_deflated=header.buffer is not None,
    )
    if pixels.held < length or pixels.length is None:
        return pixels, ""
    stream.seek(offset + length)
    rest = stream.read()
    if rest and not any(rest):
        stream.seek(offset + max(0, length - len(rest)))
        is_padding = any(stream.read(min(length, len(rest)))) or size % _BLOCK_BYTES == 0
        return pixels, "" if is_padding else _trailing(rest)
    return pixels, trailing_fault(rest, pixels)


def trailing_fault(rest: bytes, pixels: PixelElement) -> str:
    """Say what is wrong with the bytes after the pixel data: they must be whole elements of higher tags.

    Returns:
        A text for people; empty where nothing is wrong.
    """
    order = "<" if pixels.is_little_endian else ">"
    at = 0
    while at < len(rest):
        head = rest[at : at + 12]
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
    return "" if at == len(rest) else _trailing(rest)


def _trailing(rest: bytes) -> str:
    return (
        f"{len(rest)} bytes follow the pixel data and are no DICOM elements, so that the pixels may be shifted; "
        "export the file again"
    )


def _convert_values(path: Path, header: pydicom.FileDataset) -> None:
    """Convert every value, which pydicom does when a value is asked for; drop spare tags that cannot be."""
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

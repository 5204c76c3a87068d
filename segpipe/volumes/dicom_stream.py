"""Read a DICOM data set in bounded memory: limit the size of headers, unpack deflated data sets only as far as needed.

pydicom unpacks a deflated file at once, to any size, and reads a value of any length.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segpipe.errors import SegpipeError

LARGEST_HEADER = 1 << 26
"""Bytes of a data set that are read before its pixel data."""
_CHUNK_BYTES = 1 << 16
_META_GROUP = 2
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


class BoundedReader:
    """An open file that allows a parser to read `LARGEST_HEADER` bytes in all; skipped bytes do not count.

    Args:
        path: of the file, for messages.
        file: open for reading, at any position.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.name = str(path)
        self._file = file
        self._left = LARGEST_HEADER

    def read(self, count: int = -1) -> bytes:
        """Return the next `count` bytes; all remaining bytes where `count` is negative.

        Raises:
            SegpipeError: the reads exceed `LARGEST_HEADER`.
        """
        content = self._file.read(min(count, self._left + 1) if count >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise _too_long(self.name)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, as files do, and return it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()


class InflatedDataSet:
    """The unpacked data set of a deflated file, to be read like a file; unpacked only as far as needed.

    Args:
        path: of the file, for messages.
        packed: open for reading, at the beginning of the stream.

    Attributes:
        most: largest number of unpacked bytes; `LARGEST_HEADER` until the pixel data are read.
    """

    def __init__(self, path: Path, packed: IO[bytes]) -> None:
        self.name = str(path)
        self.most = LARGEST_HEADER
        self._packed = packed
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        self._unpacked = bytearray()
        self._waiting = b""
        self._place = 0

    @property
    def has_ended(self) -> bool:
        """True once the stream has been unpacked to its end mark."""
        return self._unpacker.eof

    def read(self, count: int) -> bytes:
        """Return the next bytes; fewer where the stream ends.

        Raises:
            SegpipeError: the position is beyond `most`, and the stream continues.
            zlib.error: the stream is damaged.
        """
        self._unpack_to(self._place + count)
        content = bytes(self._unpacked[self._place : self._place + count])
        self._place += len(content)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, from the start or relative to the current one; beyond the end is allowed."""
        self._place = offset if whence == io.SEEK_SET else self._place + offset
        return self._place

    def tell(self) -> int:
        """Return the position."""
        return self._place

    def _unpack_to(self, end: int) -> None:
        while len(self._unpacked) < end and not self._unpacker.eof:
            if len(self._unpacked) > self.most:
                raise _too_long(self.name)
            if not self._waiting:
                self._waiting = self._packed.read(_CHUNK_BYTES)
            wanted = min(_CHUNK_BYTES, end - len(self._unpacked), self.most + 1 - len(self._unpacked))
            piece = self._unpacker.decompress(self._waiting, wanted)
            if not piece and not self._waiting:
                return
            self._waiting = self._unpacker.unconsumed_tail
            self._unpacked += piece


def parsed_header(path: Path, file: IO[bytes], tags: Sequence[BaseTag]) -> tuple[FileDataset, Any]:
    """Read some tags of a DICOM file up to its pixel data.

    Args:
        path: of the file, for messages.
        file: open for reading, at any position.
        tags: to read.

    Returns:
        The tags, and the stream with the data set, positioned at the pixel data: the file, or an `InflatedDataSet`.

    Raises:
        SegpipeError: the header is larger than `LARGEST_HEADER`.
        Exception: the exceptions of pydicom and zlib for a damaged file.
    """
    file.seek(0)
    bounded: Any = BoundedReader(path, file)
    preamble = read_preamble(bounded, force=True)
    meta = FileMetaDataset(read_dataset(bounded, False, True, stop_when=_after_meta))
    if str(meta.get("TransferSyntaxUID") or "") != DeflatedExplicitVRLittleEndian:
        bounded.seek(0)
        return pydicom.dcmread(bounded, stop_before_pixels=True, force=True, specific_tags=[*tags]), file
    stream: Any = InflatedDataSet(path, file)
    dataset = read_dataset(stream, False, True, stop_when=_at_pixels, specific_tags=[*tags])
    header = FileDataset(stream, dataset, preamble, meta, is_implicit_VR=False, is_little_endian=True)
    implicit, little = dataset.original_encoding
    header.set_original_encoding(implicit, little, dataset.original_character_set)
    return header, stream


def _too_long(name: str) -> SegpipeError:
    return SegpipeError(
        f"{name}: its header, before the pixel data, has more than {LARGEST_HEADER} bytes; export the file again "
        "without its private elements, or remove it from the folder if it is no slice"
    )


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 - pydicom's signature
    return tag in _PIXEL_TAGS


def _after_meta(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 - pydicom's signature
    return tag.group != _META_GROUP

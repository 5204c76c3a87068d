"""Voxels as they are stored, whole and nothing else: their length, and where they are compressed their checksum.

ITK looks at neither, and takes memory twice. So the voxels are read here, into the array that is returned. A stream is
unpacked to one byte past what its header asks for, and no further.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular
from segpipe.volumes.volume import VoxelArray

_CHUNK_BYTES = 1 << 20
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32
_BLOCK_BYTES = 512  # of tapes and archives, which fill the last one with zeros
_WORD_BYTES = 4  # to which programs pad
LONGEST_TAIL = 1 << 20
"""Bytes that may follow the voxels of a file at most, where they are zeros."""
DEFLATE_MOST = 1032
"""Times its length that a zlib or gzip stream can unpack to, by its format."""


def check_length(scan: Path, data: Path, offset: int, voxel_bytes: int, row_bytes: int) -> None:
    """Refuse an uncompressed voxel file that goes on behind its voxels with anything but padding.

    Args:
        scan: the file that the user named.
        data: the file with the voxels, often the same; not shorter than the header says.
        offset: where in `data` the voxels begin, in bytes.
        voxel_bytes: what they take.
        row_bytes: what a row of voxels takes.

    Raises:
        SegpipeError: see `check_tail`.
    """
    held = data.stat().st_size
    extra = held - offset - voxel_bytes
    if extra == 0:
        return
    before = min(extra, voxel_bytes, LONGEST_TAIL)
    with open_regular(data) as file:
        file.seek(offset + voxel_bytes - before)
        check_tail(scan, file.read(before), file.read(LONGEST_TAIL + 1), held, row_bytes)


def check_tail(scan: Path, before: bytes, tail: bytes, held: int, row_bytes: int) -> None:
    """Refuse what follows the voxels unless it is padding with zeros.

    Bytes that were inserted further up push the last voxels out behind the end. Where those are zeros, and so are the
    voxels before them, padding and a shift look alike. Then only whole words are believed to be padding, of less than a
    row of voxels, or what fills a file up to whole blocks.

    Args:
        scan: the file that the user named.
        before: the last bytes of the voxels, as many as `tail` has if there are so many.
        tail: what follows the voxels, up to one byte more than `LONGEST_TAIL`.
        held: bytes of the whole file, unpacked.
        row_bytes: what a row of voxels takes.

    Raises:
        SegpipeError: the tail is not of zeros, too long, or may be a shift.
    """
    if not tail:
        return
    if any(tail) or len(tail) > LONGEST_TAIL:
        count = str(len(tail)) if len(tail) <= LONGEST_TAIL else f"more than {LONGEST_TAIL}"
        raise SegpipeError(
            f"{scan}: {count} bytes longer than the header says, not just zeros as padding: bytes were inserted, or "
            "the header gives a wrong size; copy the scan again from its source, or export it again"
        )
    is_padding = held % _BLOCK_BYTES == 0 or (len(tail) % _WORD_BYTES == 0 and len(tail) < row_bytes)
    if not any(before) and not is_padding:
        raise SegpipeError(
            f"{scan}: {len(tail)} bytes longer than the header says, zeros as the last voxels are: padding, or bytes "
            "that were inserted further up and shift the voxels; save the scan again with the program that made it"
        )


def check_stream(
    scan: Path, data: Path, offset: int, voxel_bytes: int, stored_bytes: int | None = None
) -> None:
    """Unpack a zlib or gzip stream once, in bounded memory, and throw the bytes away.

    Args:
        scan: the file that the user named.
        data: the file with the stream, often the same.
        offset: where in `data` the stream begins, in bytes.
        voxel_bytes: what it must unpack to.
        stored_bytes: the stream's length by the header, beyond which ITK does not read; None if not stated.

    Raises:
        SegpipeError: the stream is damaged, cut short, or unpacks to another length.
    """
    _unpack(scan, data, offset, voxel_bytes, stored_bytes, None)


def check_packed_length(scan: Path, data: Path, packed_bytes: int, voxel_bytes: int) -> None:
    """Refuse a zlib or gzip stream that is too short for its voxels, before memory is taken for them.

    Args:
        scan: the file that the user named.
        data: the file with the stream, often the same.
        packed_bytes: length of the stream.
        voxel_bytes: what it must unpack to.

    Raises:
        SegpipeError: with both lengths.
    """
    if voxel_bytes > DEFLATE_MOST * packed_bytes:
        raise _cut_short(scan, data, f"{packed_bytes} bytes cannot unpack to the {voxel_bytes} of its header")


def unpacked_voxels(
    scan: Path, data: Path, offset: int, stored: np.dtype[Any], count: int, stored_bytes: int | None = None
) -> VoxelArray:
    """Unpack a zlib or gzip stream into an array, and check it as `check_stream` does.

    Args:
        scan: as `check_stream`, like `data`, `offset` and `stored_bytes`.
        data: see there.
        offset: see there.
        stored: the dtype of the voxels in the file, with its byte order.
        count: of the voxels.
        stored_bytes: see there.

    Returns:
        (count,) in native byte order.

    Raises:
        SegpipeError: see `check_stream`.
    """
    voxel_bytes = count * stored.itemsize
    array = np.empty(count, stored)
    _unpack(scan, data, offset, voxel_bytes, stored_bytes, array.view(np.uint8).data)
    return native(array)


def raw_voxels(scan: Path, data: Path, offset: int, stored: np.dtype[Any], count: int) -> VoxelArray:
    """Read voxels that are not compressed; arguments and result as `unpacked_voxels`.

    Raises:
        SegpipeError: the file ends before them.
    """
    array = np.empty(count, stored)
    with open_regular(data) as file:
        file.seek(offset)
        held = fill(file, array)
    if held < array.nbytes:
        raise _cut_short(scan, data, f"{held} bytes, its header asks for {array.nbytes}")
    return native(array)


def fill(file: IO[bytes], array: VoxelArray) -> int:
    """Read from an open file into an array, without a second copy of what is read.

    Args:
        file: stands at the first voxel.
        array: flat, of the stored dtype; all of it is filled if the file holds so much.

    Returns:
        The number of bytes that the file gave.
    """
    into, held = array.view(np.uint8).data, 0
    while held < len(into) and (chunk := file.read(min(_CHUNK_BYTES, len(into) - held))):
        into[held : held + len(chunk)] = chunk
        held += len(chunk)
    return held


def native(array: VoxelArray) -> VoxelArray:
    """Return an array in native byte order, turned round in place where it is not."""
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


def _unpack(
    scan: Path, data: Path, offset: int, voxel_bytes: int, stored_bytes: int | None, into: memoryview | None
) -> None:
    unpacker = zlib.decompressobj(wbits=_ZLIB_OR_GZIP)
    held, packed = 0, b""
    try:
        with open_regular(data) as file:
            left = data.stat().st_size - offset if stored_bytes is None else stored_bytes
            file.seek(offset)
            while not unpacker.eof and held <= voxel_bytes:
                if not packed:
                    packed = file.read(min(left, _CHUNK_BYTES))
                    left -= len(packed)
                piece = unpacker.decompress(packed, min(_CHUNK_BYTES, voxel_bytes + 1 - held))
                if not piece and not packed:
                    break
                packed = unpacker.unconsumed_tail
                if into is not None and held + len(piece) <= voxel_bytes:
                    into[held : held + len(piece)] = piece
                held += len(piece)
    except (zlib.error, OSError) as error:
        raise SegpipeError(
            f"{scan}: voxel data in {data.name} corrupt ({error}); copy the scan again from its source"
        ) from error
    if held > voxel_bytes:
        raise SegpipeError(
            f"{scan}: voxel data in {data.name} unpacks to more than the {voxel_bytes} bytes that the header asks for: "
            "the stream is corrupt, or the header gives a wrong size; copy the scan again from its source, or export "
            "it again"
        )
    if held < voxel_bytes or not unpacker.eof:
        raise _cut_short(scan, data, f"unpacks to {held} bytes, the header asks for {voxel_bytes}")


def _cut_short(scan: Path, data: Path, why: str) -> SegpipeError:
    return SegpipeError(
        f"{scan}: voxel data in {data.name} truncated: {why}; copy the scan again from its source"
    )

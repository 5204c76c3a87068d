"""Read stored voxels, and check their length and, for compressed voxels, their checksum.

ITK checks neither, and needs twice the memory. So this module reads the voxels directly into the returned array. A
stream is unpacked to at most one byte more than its header says.
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
_BLOCK_BYTES = 512  # tapes and archives fill their last block with zeros
_WORD_BYTES = 4  # programs pad to whole words
LONGEST_TAIL = 1 << 20
"""Largest number of zero bytes that may follow the voxels of a file."""
DEFLATE_MOST = 1032
"""Largest factor between unpacked and packed length of a zlib or gzip stream, by its format."""


def check_length(scan: Path, data: Path, offset: int, voxel_bytes: int, row_bytes: int) -> None:
    """Refuse an uncompressed voxel file with other bytes than padding after its voxels.

    Args:
        scan: the file that the user named.
        data: the file with the voxels, often the same; not shorter than the header says.
        offset: position of the first voxel in `data`, in bytes.
        voxel_bytes: bytes of all voxels.
        row_bytes: bytes of a row of voxels.

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
    """Refuse bytes after the voxels unless they are padding with zeros.

    Bytes that were inserted before or among the voxels push the last voxels beyond the end. If these voxels and the
    voxels before them are zeros, padding and a shift look alike. Then only two forms count as padding: whole words of
    less than a row of voxels, and zeros that fill the file up to whole blocks.

    Args:
        scan: the file that the user named.
        before: the last bytes of the voxels, as many as `tail` has, or all.
        tail: the bytes after the voxels, at most one byte more than `LONGEST_TAIL`.
        held: bytes of the whole file, unpacked.
        row_bytes: bytes of a row of voxels.

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
    """Unpack a zlib or gzip stream once, in bounded memory, to check it; the bytes are discarded.

    Args:
        scan: the file that the user named.
        data: the file with the stream, often the same.
        offset: position of the stream in `data`, in bytes.
        voxel_bytes: required bytes of the unpacked stream.
        stored_bytes: the stream's length by the header, beyond which ITK does not read; None if not stated.

    Raises:
        SegpipeError: the stream is damaged, cut short, or unpacks to another length.
    """
    _unpack(scan, data, offset, voxel_bytes, stored_bytes, None)


def check_packed_length(scan: Path, data: Path, packed_bytes: int, voxel_bytes: int) -> None:
    """Refuse a zlib or gzip stream that is too short for its voxels, before memory is allocated.

    Args:
        scan: the file that the user named.
        data: the file with the stream, often the same.
        packed_bytes: length of the stream.
        voxel_bytes: required bytes of the unpacked stream.

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
        scan: as `check_stream`.
        data: as `check_stream`.
        offset: as `check_stream`.
        stored: the dtype of the voxels in the file, with its byte order.
        count: number of voxels.
        stored_bytes: as `check_stream`.

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
        SegpipeError: the file ends before the last voxel.
    """
    array = np.empty(count, stored)
    with open_regular(data) as file:
        file.seek(offset)
        held = fill(file, array)
    if held < array.nbytes:
        raise _cut_short(scan, data, f"{held} bytes, its header asks for {array.nbytes}")
    return native(array)


def fill(file: IO[bytes], array: VoxelArray) -> int:
    """Read from an open file into an array, without a second copy of the voxels.

    Args:
        file: positioned at the first voxel.
        array: flat, of the stored dtype; filled completely if the file is long enough.

    Returns:
        The number of bytes read.
    """
    into, held = array.view(np.uint8).data, 0
    while held < len(into) and (chunk := file.read(min(_CHUNK_BYTES, len(into) - held))):
        into[held : held + len(chunk)] = chunk
        held += len(chunk)
    return held


def native(array: VoxelArray) -> VoxelArray:
    """Return an array in native byte order; other arrays are swapped in place."""
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

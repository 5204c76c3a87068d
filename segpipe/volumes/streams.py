"""Whether a voxel stream is whole and nothing else: its length, and where it is compressed its checksum.

ITK looks at neither.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from segpipe.errors import SegpipeError

_CHUNK_BYTES = 1 << 20
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32
_BLOCK_BYTES = 512  # of tapes and archives, which fill the last one with zeros
_WORD_BYTES = 4  # to which programs pad
LONGEST_TAIL = 1 << 20
"""Bytes that may follow the voxels of a file at most, where they are zeros."""


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
    with data.open("rb") as file:
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
    unpacker = zlib.decompressobj(wbits=_ZLIB_OR_GZIP)
    held = 0
    left = data.stat().st_size - offset if stored_bytes is None else stored_bytes
    try:
        with data.open("rb") as file:
            file.seek(offset)
            while not unpacker.eof and (chunk := file.read(min(left, _CHUNK_BYTES))):
                left -= len(chunk)
                held += len(unpacker.decompress(chunk))
    except (zlib.error, OSError) as error:
        raise SegpipeError(
            f"{scan}: voxel data in {data.name} corrupt ({error}); copy the scan again from its source"
        ) from error
    if held != voxel_bytes or not unpacker.eof:
        raise SegpipeError(
            f"{scan}: voxel data in {data.name} truncated: unpacks to {held} bytes, the header asks for "
            f"{voxel_bytes}; copy the scan again from its source"
        )

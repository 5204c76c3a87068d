"""Whether a compressed voxel stream is whole: its checksum, which ITK does not look at, and its length."""

from __future__ import annotations

import zlib
from pathlib import Path

from segpipe.errors import SegpipeError

_CHUNK_BYTES = 1 << 20
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32


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

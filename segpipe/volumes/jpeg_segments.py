"""The segments of a JPEG file, read in memory that does not grow with the file.

Source: ITU-T T.81, annex B; T.87, annex C (JPEG-LS).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

JPEG_END, JPEG_APP1 = 0xD9, 0xE1
_BARE_MARKERS = frozenset(
    {0x00, 0x01, *range(0xD0, 0xD9)}
)  # stuffing, TEM, restarts, start: no length follows
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_CHUNK_BYTES = 1 << 12


def jpeg_segments(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each marker with its segment, up to the end-of-image marker; compressed data between them are skipped.

    Args:
        file: open for reading, with the start-of-image marker at its start.
    """
    position = 2
    while (position := _find_marker(file, position)) != -1:
        file.seek(position)
        head = file.read(4)
        if len(head) < 2:
            return
        marker = head[1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _BARE_MARKERS:
            position += 2
        elif marker == JPEG_END:
            yield marker, b""
            return
        else:  # after a start of scan the search continues through its data
            length = int.from_bytes(head[2:4], "big")
            yield marker, file.read(max(length - 2, 0))
            position += 2 + length


def frame_size(marker: int, body: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and values a pixel from a frame's segment; None for other segments."""
    if marker not in _FRAMES or len(body) < 6:
        return None
    return int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]


def _find_marker(file: IO[bytes], position: int) -> int:
    """Return the position of the next byte of value 255; -1 where there is none."""
    file.seek(position)
    while chunk := file.read(_CHUNK_BYTES):
        index = chunk.find(b"\xff")
        if index >= 0:
            return position + index
        position += len(chunk)
    return -1

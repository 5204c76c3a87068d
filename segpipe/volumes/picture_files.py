"""What a PNG or JPEG file says of its pixels that ITK interprets, or passes over, in its own way.

ITK shifts the values of a PNG with significant bits (sBIT). It does not turn a picture as the EXIF orientation asks,
and viewers do: a mask that was drawn in a viewer then lies across its picture. The table of all fields is
docs/reference/file_formats/png_jpeg.md.

Source: Portable Network Graphics, third edition (W3C); ITU-T T.81 (JPEG); Exif 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from segpipe.errors import SegpipeError

_PNG_START = 8
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4
_SAMPLES = {_GREY: 1, _COLOUR: 3, _PALETTE: 3, _GREY_ALPHA: 2, 6: 4}
_UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_JPEG_END, _JPEG_SCAN, _JPEG_APP1 = 0xD9, 0xDA, 0xE1
_JPEG_BARE_MARKERS = frozenset(
    {0x00, 0x01, *range(0xD0, 0xD9)}
)  # stuffing, TEM, restarts, start: no length follows
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_BITS = 8


def check_png(path: Path) -> None:
    """Refuse a PNG whose chunks are damaged, or whose values ITK would not give as they are stored.

    Raises:
        SegpipeError: cut short, a chunk that fails its checksum, transparency with one grey value, a palette,
            significant bits below the bit depth, several frames, or an EXIF orientation other than upright.
    """
    data = path.read_bytes()
    depth = color = -1
    for kind, body in _png_chunks(path, data):
        if kind == b"IHDR":
            depth, color = body[8], body[9]
            if color == _GREY_ALPHA:
                raise SegpipeError(
                    f"{path}: grey values with transparency (PNG colour type 4): must be grey or RGB; save the picture "
                    "without transparency"
                )
        elif kind == b"PLTE" and color == _PALETTE:
            raise SegpipeError(
                f"{path}: colours from a palette (PNG colour type 3): the pixels are numbers of colours, not values; "
                "save a label map's numbers as a grey PNG, a picture as RGB"
            )
        elif kind == b"tRNS" and color == _GREY:
            raise SegpipeError(
                f"{path}: one grey value is transparent (PNG chunk tRNS); save the picture without transparency"
            )
        elif kind == b"sBIT" and any(bits != depth for bits in body[: _SAMPLES.get(color, 1)]):
            raise SegpipeError(
                f"{path}: {body[0]} of {depth} bits are significant (PNG chunk sBIT): some programs shift the values "
                "by the difference and others do not; save the picture without sBIT"
            )
        elif kind == b"acTL":
            raise SegpipeError(f"{path}: several frames (animated PNG); save one frame")
        elif kind == b"eXIf":
            _refuse_turned(path, body)


def check_jpeg(path: Path) -> None:
    """Refuse a JPEG that is cut short, or whose values or axes programs read differently.

    Raises:
        SegpipeError: no end-of-image marker, other than 8 bits, other than 1 or 3 components, or an EXIF orientation
            other than upright.
    """
    data = path.read_bytes()
    ended = False
    for marker, body in _jpeg_segments(data):
        if marker in _JPEG_FRAMES and len(body) >= 6:
            bits, components = body[0], body[5]
            if bits != _JPEG_BITS or components not in (1, 3):
                raise SegpipeError(
                    f"{path}: JPEG of {bits} bits with {components} components: must be 8 bits, grey or RGB; save the "
                    "picture as PNG"
                )
        elif marker == _JPEG_APP1 and body.startswith(b"Exif\0\0"):
            _refuse_turned(path, body[6:])
        ended |= marker == _JPEG_END
    if not ended:
        raise SegpipeError(f"{path}: truncated: no end-of-image marker; copy the file again from its source")


def _png_chunks(path: Path, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's type and content up to IEND, the checksum compared."""
    position = _PNG_START
    kind = b""
    while kind != b"IEND":
        head = data[position : position + 8]
        length = int.from_bytes(head[:4], "big")
        kind = head[4:]
        body = data[position + 8 : position + 8 + length]
        checksum = data[position + 8 + length : position + 12 + length]
        if len(head) < 8 or len(checksum) < 4:
            raise SegpipeError(
                f"{path}: truncated or corrupt: a chunk ends behind its {len(data)} bytes; copy the file again from "
                "its source"
            )
        if zlib.crc32(kind + body) != int.from_bytes(checksum, "big"):
            raise SegpipeError(
                f"{path}: corrupt: a chunk fails its checksum at byte {position}; copy the file again from its source"
            )
        if position == _PNG_START and (kind, length) != (b"IHDR", 13):
            raise SegpipeError(f"{path}: not a PNG file: its first chunk is no IHDR; save the picture again")
        yield kind, body
        position += 12 + length


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each marker and its segment, to the end-of-image marker; compressed data between two are passed over."""
    position = 2
    while (position := data.find(b"\xff", position)) != -1 and position + 1 < len(data):
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _JPEG_BARE_MARKERS:
            position += 2
        elif marker == _JPEG_END:
            yield marker, b""
            return
        else:  # after a start of scan the search runs on through its data
            length = int.from_bytes(data[position + 2 : position + 4], "big")
            yield marker, data[position + 4 : position + 2 + length]
            position += 2 + length


def _refuse_turned(path: Path, exif: bytes) -> None:
    orientation = _orientation(exif)
    if orientation != _UPRIGHT:
        raise SegpipeError(
            f"{path}: EXIF orientation {orientation}: viewers show the picture turned or mirrored, so a mask drawn "
            "there does not lie on the stored pixels; save the picture upright (orientation 1), and check its mask"
        )


def _orientation(exif: bytes) -> int:
    """Return the orientation of the first directory of a TIFF block: 1 where it has none, 0 where it is unreadable."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return int(value) if kind == 3 and 1 <= value <= 8 else 0
    except struct.error:
        return 0
    return _UPRIGHT

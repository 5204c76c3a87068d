"""Check the fields of a PNG or JPEG file that change its pixels and that ITK ignores or interprets differently.

ITK shifts the values of a PNG with significant bits (sBIT). ITK ignores the EXIF orientation, but viewers turn images
by it: a mask that was drawn in a viewer then does not fit the stored pixels. The table of all fields is
docs/reference/file_formats/png_jpeg.md.

Source: Portable Network Graphics, third edition (W3C); ITU-T T.81 (JPEG); Exif 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from segpipe.errors import SegpipeError
from segpipe.regular_files import open_regular
from segpipe.volumes.jpeg_segments import JPEG_APP1, JPEG_END, frame_size, jpeg_segments
from segpipe.volumes.streams import DEFLATE_MOST

_PNG_START = 8
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4
_SAMPLES = {_GREY: 1, _COLOUR: 3, _PALETTE: 3, _GREY_ALPHA: 2, 6: 4}
_UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_JPEG_BITS, _CMYK = 8, 4
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)  # markers of a frame
_BLOCK = 8  # pixels of a JPEG block along each axis; a block takes at least one bit
_LARGEST_CHUNK = 1 << 20  # bytes; the content of larger chunks is not checked
_READ_AT_ONCE = 1 << 20


def check_png(path: Path) -> None:
    """Refuse a PNG with damaged chunks, or with values that ITK would not return as stored.

    Raises:
        SegpipeError: a truncated file, a chunk with a wrong checksum, transparency with one grey value, a palette,
            significant bits below the bit depth, several frames, or an EXIF orientation other than upright.
    """
    with open_regular(path) as file:
        _check_chunks(path, _png_chunks(path, file))
        held = file.seek(0, 2)
        file.seek(_PNG_START + 8)
        width, height, depth, color = struct.unpack(">IIBB", file.read(10))
    needed = height * (width * depth * _SAMPLES.get(color, 1) // 8)
    if needed > DEFLATE_MOST * held:  # before memory is allocated
        raise SegpipeError(
            f"{path}: truncated: {held} bytes cannot unpack to the {width} x {height} pixels of its header; copy the "
            "file again from its source"
        )


def _check_chunks(path: Path, chunks: Iterator[tuple[bytes, bytes]]) -> None:
    depth = color = -1
    for kind, body in chunks:
        if kind == b"IHDR":
            depth, color = body[8], body[9]
            if color == _GREY_ALPHA:
                raise SegpipeError(
                    f"{path}: grey values with transparency (PNG colour type 4): must be grey or RGB; save the "
                    "image without transparency"
                )
        elif kind == b"PLTE" and color == _PALETTE:
            raise SegpipeError(
                f"{path}: colours from a palette (PNG colour type 3): the pixels are numbers of colours, not "
                "values; save a label map's numbers as a grey PNG, an image as RGB"
            )
        elif kind == b"tRNS" and color == _GREY:
            raise SegpipeError(
                f"{path}: one grey value is transparent (PNG chunk tRNS); save the image without transparency"
            )
        elif kind == b"sBIT" and any(bits != depth for bits in body[: _SAMPLES.get(color, 1)]):
            raise SegpipeError(
                f"{path}: {body[0]} of {depth} bits are significant (PNG chunk sBIT): some programs shift the "
                "values by the difference and others do not; save the image without sBIT"
            )
        elif kind == b"acTL":
            raise SegpipeError(f"{path}: several frames (animated PNG); save one frame")
        elif kind == b"eXIf":
            _refuse_turned(path, body)


def check_jpeg(path: Path) -> bool:
    """Refuse a JPEG that is truncated, or whose values or axes programs read differently.

    Returns:
        True for a progressive JPEG, whose decoder holds the coefficients of all pixels.

    Raises:
        SegpipeError: no end-of-image marker, other than 8 bits, other than 1 or 3 components, or an EXIF orientation
            other than upright.
    """
    ended = is_progressive = False
    with open_regular(path) as file:
        held = file.seek(0, 2)
        for marker, body in jpeg_segments(file):
            size = frame_size(marker, body)
            if size is not None and -(-size[0] // _BLOCK) * -(-size[1] // _BLOCK) > 8 * held:
                raise SegpipeError(
                    f"{path}: truncated: {held} bytes cannot hold a bit for each block of the {size[1]} x {size[0]} "
                    "pixels of its header; copy the file again from its source"
                )
            if size is not None and (body[0] != _JPEG_BITS or size[2] not in (1, 3)):
                kind = " (CMYK)" if size[2] == _CMYK else ""
                raise SegpipeError(
                    f"{path}: JPEG of {body[0]} bits with {size[2]} components{kind}: must be 8 bits, grey or RGB; "
                    "save the image as PNG"
                )
            if marker == JPEG_APP1 and body.startswith(b"Exif\0\0"):
                _refuse_turned(path, body[6:])
            ended |= marker == JPEG_END
            is_progressive |= marker in _PROGRESSIVE
    if not ended:
        raise SegpipeError(f"{path}: truncated: no end-of-image marker; copy the file again from its source")
    return is_progressive


def _png_chunks(path: Path, file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of each chunk up to IEND, after a check of its checksum.

    The content of large chunks and of chunks of pixels is empty.
    """
    size = file.seek(0, 2)
    position = _PNG_START
    kind = b""
    while kind != b"IEND":
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        kind = head[4:]
        if len(head) < 8 or position + length + 12 > size:
            raise SegpipeError(
                f"{path}: truncated or corrupt: a chunk ends behind its {size} bytes; copy the file again from its "
                "source"
            )
        body, checksum = _chunk_content(file, kind, length)
        if checksum != int.from_bytes(file.read(4), "big"):
            raise SegpipeError(
                f"{path}: corrupt: a chunk fails its checksum at byte {position}; copy the file again from its source"
            )
        if position == _PNG_START and (kind, length) != (b"IHDR", 13):
            raise SegpipeError(f"{path}: not a PNG file: its first chunk is no IHDR; save the image again")
        yield kind, body
        position += 12 + length


def _chunk_content(file: IO[bytes], kind: bytes, length: int) -> tuple[bytes, int]:
    """Return a chunk's content, empty for large chunks and chunks of pixels; and its checksum."""
    kept, checksum, left = b"", zlib.crc32(kind), length
    while left and (part := file.read(min(_READ_AT_ONCE, left))):
        checksum = zlib.crc32(part, checksum)
        left -= len(part)
        if kind != b"IDAT" and length <= _LARGEST_CHUNK:
            kept += part
    return kept, checksum


def _refuse_turned(path: Path, exif: bytes) -> None:
    orientation = _orientation(exif)
    if orientation == 0:
        raise SegpipeError(
            f"{path}: its EXIF orientation cannot be read, so programs may show the image turned; look at the image, "
            "and save it upright without EXIF"
        )
    if orientation != _UPRIGHT:
        raise SegpipeError(
            f"{path}: EXIF orientation {orientation}: viewers show the image turned or mirrored, unlike its stored "
            "pixels; save the image upright (orientation 1); a mask that was drawn in a viewer must be drawn again"
        )


def _orientation(exif: bytes) -> int:
    """Return the orientation in the first directory of a TIFF block: 1 where it is missing, 0 where unreadable."""
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

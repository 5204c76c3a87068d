"""Compare the size in a compressed frame with the header, since a decoder allocates memory for the frame's size.

Sources: ITU-T T.81 (JPEG), T.87 (JPEG-LS) and T.800 (JPEG 2000); DICOM PS3.5, annex G (RLE).
"""

from __future__ import annotations

import io
import struct

from pydicom.uid import JPEG2000, UID, JPEG2000Lossless, RLELossless

from segpipe.volumes.jpeg_segments import frame_size, jpeg_segments

_CODESTREAM = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream, and of its segment of sizes
_RLE_HEADER = struct.Struct("<16I")
_RLE_NOTHING = 128
_RLE_PADDING = 128  # bytes; the last run may exceed the end by these


def frame_fault(frame: bytes, syntax: UID, rows: int, columns: int) -> str:
    """Return how a compressed frame differs in size from its header.

    Args:
        frame: the compressed pixels.
        syntax: kind of compression: a kind of JPEG, JPEG 2000 or RLE.
        rows: Rows of the header.
        columns: Columns of the header.

    Returns:
        The end of a sentence that begins with the file; empty where the sizes agree.
    """
    if syntax == RLELossless:
        return _rle_fault(frame, rows * columns)
    size = _codestream_size(frame) if syntax in (JPEG2000, JPEG2000Lossless) else _jpeg_size(frame)
    if size is None:
        return f"pixels compressed as {syntax.name} do not state their size; export the series again, uncompressed"
    if size != (rows, columns, 1):
        return (
            f"the compressed pixels are {size[0]} x {size[1]} with {size[2]} values each, and Rows x Columns "
            f"{rows} x {columns} with 1; export the series again"
        )
    return ""


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    for marker, body in jpeg_segments(io.BytesIO(frame)):
        if (size := frame_size(marker, body)) is not None:
            return size
    return None


def _codestream_size(frame: bytes) -> tuple[int, int, int] | None:
    start = frame.find(_CODESTREAM)  # some files keep the boxes of a .jp2 file around it
    if start < 0 or len(frame) < start + 42:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    return bottom - top, right - left, components


def _rle_fault(frame: bytes, pixels: int) -> str:
    """Return the fault of a segment that unpacks to more than one byte a pixel; unpacking finds other faults."""
    if len(frame) < _RLE_HEADER.size:
        return ""
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    ends = [*offsets[1 : min(count, 15)], len(frame)]
    most = pixels + _RLE_PADDING
    for start, end in zip(offsets, ends, strict=False):
        if _rle_bytes(frame, start, min(end, len(frame)), most) > most:
            return (
                f"a segment of the pixels compressed as RLE unpacks to more than the {pixels} bytes of Rows x Columns; "
                "export the series again"
            )
    return ""


def _rle_bytes(frame: bytes, start: int, end: int, most: int) -> int:
    """Return the number of bytes that a segment unpacks to; counting stops above `most`."""
    held, at = 0, start
    while at < end and held <= most:
        control = frame[at]
        if control > _RLE_NOTHING:
            held += 257 - control
            at += 2
        elif control < _RLE_NOTHING:
            held += control + 1
            at += control + 2
        else:
            at += 1
    return held

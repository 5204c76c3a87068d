"""What a compressed frame says of its own size, against its header: a decoder takes the memory that the frame asks for.

Sources: ITU-T T.81 (JPEG), T.87 (JPEG-LS) and T.800 (JPEG 2000); DICOM PS3.5, annex G (RLE).
"""

from __future__ import annotations

import io
import struct

from pydicom.uid import JPEG2000, UID, JPEG2000Lossless, RLELossless

from segpipe.volumes.jpeg_segments import jpeg_segments, picture_size

_CODESTREAM = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream, and of its segment of sizes
_RLE_HEADER = struct.Struct("<16I")
_RLE_NOTHING = 128
_RLE_PADDING = 128  # what a last run may pass the end by


def frame_fault(frame: bytes, syntax: UID, rows: int, columns: int) -> str:
    """Say how a compressed frame differs from its header in size.

    Args:
        frame: the compressed pixels.
        syntax: how they are compressed: a kind of JPEG, JPEG 2000 or RLE.
        rows: by the header.
        columns: by the header.

    Returns:
        The end of a sentence that begins with the file; empty where nothing is wrong.
    """
    if syntax == RLELossless:
        return _rle_fault(frame, rows * columns)
    found = _codestream_size(frame) if syntax in (JPEG2000, JPEG2000Lossless) else _jpeg_size(frame)
    if found is None:
        return f"pixels compressed as {syntax.name} do not state their size; export the series again, uncompressed"
    if found != (rows, columns, 1):
        return (
            f"the compressed pixels are {found[0]} x {found[1]} with {found[2]} values each, and Rows x Columns "
            f"{rows} x {columns} with 1; export the series again"
        )
    return ""


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    for marker, body in jpeg_segments(io.BytesIO(frame)):
        if (size := picture_size(marker, body)) is not None:
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
    """Say that a segment, which holds one byte of each pixel, unpacks to more; other faults show in unpacking."""
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
    """Count what a segment unpacks to, up to a little more than `most`."""
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

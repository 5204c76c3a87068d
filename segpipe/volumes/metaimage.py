"""Whether the voxels that a MetaImage header (.mhd, .mha) announces are all there, and nothing else.

ITK prints to the terminal when the voxel file is short and goes on without a word when its compressed
stream is damaged, so both are checked here, before ITK sees the file.
"""

from __future__ import annotations

import math
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.volumes.metaimage_header import MetaImageHeader, read_metaimage_header
from segpipe.volumes.streams import check_length, check_stream

_REMEDY = "copy the scan again from its source, header and voxel file together"


def voxel_file(path: Path) -> Path | None:
    """Return the file beside a .mhd header that holds its voxels; None for every other scan.

    Raises:
        SegpipeError: see `read_metaimage_header`.
    """
    if path.suffix.lower() != ".mhd":
        return None
    data = read_metaimage_header(path).data_path
    return None if data == path else data


def check_voxel_file(header: MetaImageHeader) -> None:
    """Refuse voxel data that is missing, shorter than the header says, or longer by anything but padding.

    Raises:
        SegpipeError: naming both lengths in bytes.
    """
    data = header.data_path
    if not data.is_file():
        raise SegpipeError(
            f"{header.path}: its voxel file {data.name} is missing in {data.parent}; {_REMEDY}"
        )
    if header.is_text:
        return
    held = data.stat().st_size - header.data_offset
    needed = header.stored_bytes
    if held < needed or held <= 0:
        raise SegpipeError(
            f"{header.path}: voxel data in {data.name} truncated: {held} bytes, the header asks for {needed}; {_REMEDY}"
        )
    if not header.is_compressed:
        check_length(header.path, data, header.data_offset, needed, needed // math.prod(header.sizes[1:]))


def check_metaimage_stream(header: MetaImageHeader) -> None:
    """Unpack a compressed file's voxels once to check them; does nothing for an uncompressed one.

    Raises:
        SegpipeError: see `check_stream`.
    """
    if header.is_compressed:
        check_stream(
            header.path, header.data_path, header.data_offset, header.voxel_bytes, header.stored_bytes or None
        )

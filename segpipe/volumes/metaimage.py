"""Check that a MetaImage file (.mhd, .mha) holds exactly the voxels of its header, and read binary voxels.

ITK prints to the terminal when the voxel file is short, ignores a damaged compressed stream, and holds a compressed
file in memory beside its voxels. So this module checks and reads the voxels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.errors import SegpipeError
from segpipe.volumes.metaimage_header import MetaImageHeader, read_metaimage_header
from segpipe.volumes.streams import (
    check_length,
    check_packed_length,
    check_stream,
    raw_voxels,
    unpacked_voxels,
)
from segpipe.volumes.volume import VoxelArray
from segpipe.volumes.voxel_files import require_voxel_file

_REMEDY = "copy the scan again from its source, header and voxel file together"


def voxel_file(path: Path) -> Path | None:
    """Return the voxel file of a .mhd header; None for every other scan.

    Raises:
        SegpipeError: see `read_metaimage_header`; or the file is missing, irregular, or outside the header's folder.
    """
    if path.suffix.lower() != ".mhd":
        return None
    header = read_metaimage_header(path)
    _require_voxel_file(header)
    return None if header.data_path == path else header.data_path


def _require_voxel_file(header: MetaImageHeader) -> None:
    field = f"ElementDataFile = {header.fields['ElementDataFile']}"
    require_voxel_file(header.path, field, header.data_path, _REMEDY)


def check_voxel_file(header: MetaImageHeader) -> None:
    """Refuse voxel data that is missing, shorter than the header says, or longer by more than padding.

    Raises:
        SegpipeError: with both lengths in bytes; or the voxel file is irregular, or outside the header's folder.
    """
    data = header.data_path
    _require_voxel_file(header)
    if header.is_text:
        return
    held = data.stat().st_size - header.data_offset
    needed = header.stored_bytes
    if held < needed or held <= 0:
        raise SegpipeError(
            f"{header.path}: voxel data in {data.name} truncated: {held} bytes, the header asks for {needed}; {_REMEDY}"
        )
    if header.is_compressed:
        check_packed_length(header.path, data, needed or held, header.voxel_bytes)
    else:
        check_length(header.path, data, header.data_offset, needed, needed // math.prod(header.sizes[1:]))


def check_metaimage_stream(header: MetaImageHeader) -> None:
    """Unpack a compressed file's voxels once to check them; do nothing for an uncompressed file.

    Raises:
        SegpipeError: see `check_stream`.
    """
    if header.is_compressed:
        check_stream(
            header.path, header.data_path, header.data_offset, header.voxel_bytes, header.stored_bytes or None
        )


def metaimage_voxels(header: MetaImageHeader, native: np.dtype[Any]) -> VoxelArray:
    """Read the binary voxels of a file that `check_voxel_file` accepted.

    Args:
        header: from `read_metaimage_header`, not `is_text`.
        native: the dtype of a voxel, in native byte order.

    Returns:
        (x, y), (x, y, z) or (x, y, z, t), with a leading axis where a voxel has several values.

    Raises:
        SegpipeError: see `check_stream`.
    """
    stored = native.newbyteorder(">" if header.is_big_endian else "<")
    shape = header.sizes if header.channels == 1 else (header.channels, *header.sizes)
    place = header.path, header.data_path, header.data_offset, stored, math.prod(shape)
    flat = (
        unpacked_voxels(*place, header.stored_bytes or None) if header.is_compressed else raw_voxels(*place)
    )
    return flat.reshape(shape, order="F")

"""Whether the voxels that a MetaImage header (.mhd, .mha) announces are all there, and nothing else.

ITK prints to the terminal when the voxel file is short, goes on without a word when its compressed stream is damaged,
and holds a compressed file in memory beside its voxels. So both are checked here, and binary voxels are read here.
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
    """Return the file beside a .mhd header that holds its voxels; None for every other scan.

    Raises:
        SegpipeError: see `read_metaimage_header`; or the file is missing, no regular file, or elsewhere.
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
    """Refuse voxel data that is missing, shorter than the header says, or longer by anything but padding.

    Raises:
        SegpipeError: naming both lengths in bytes; or the voxel file is no regular file, or elsewhere.
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
    """Unpack a compressed file's voxels once to check them; does nothing for an uncompressed one.

    Raises:
        SegpipeError: see `check_stream`.
    """
    if header.is_compressed:
        check_stream(
            header.path, header.data_path, header.data_offset, header.voxel_bytes, header.stored_bytes or None
        )


def metaimage_voxels(header: MetaImageHeader, native: np.dtype[Any]) -> VoxelArray:
    """Read the binary voxels of a file that `check_voxel_file` let pass.

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

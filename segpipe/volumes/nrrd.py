"""Check that an NRRD file holds exactly the voxels of its header, which ITK does not check, and read them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from segpipe.errors import SegpipeError
from segpipe.volumes.nrrd_header import NrrdHeader
from segpipe.volumes.streams import (
    check_length,
    check_packed_length,
    check_stream,
    raw_voxels,
    unpacked_voxels,
)
from segpipe.volumes.volume import VoxelArray
from segpipe.volumes.voxel_files import require_voxel_file


def require_nrrd_file(header: NrrdHeader) -> None:
    """Refuse a header whose voxel file is missing, irregular, or outside the header's folder.

    Raises:
        SegpipeError: with both files.
    """
    require_voxel_file(
        header.path, f"data file: {header.data_file}", header.data_path, "copy both files together"
    )


def check_nrrd_length(header: NrrdHeader, voxel_bytes: int) -> None:
    """Check the length of raw and of gzipped voxels; do nothing for voxels written as text.

    Args:
        header: from `read_nrrd_header`.
        voxel_bytes: bytes of the uncompressed voxels.

    Raises:
        SegpipeError: the voxels are too short; see `check_length` for the rest.
    """
    if not header.is_plain:
        return
    data, offset = header.data_path, header.data_offset(voxel_bytes)
    held = data.stat().st_size - offset
    if header.is_packed:
        check_packed_length(header.path, data, held, voxel_bytes)
        return
    if held < voxel_bytes:
        raise SegpipeError(
            f"{header.path}: voxel data in {data.name} truncated: {held} bytes, the header asks for {voxel_bytes}; "
            "copy the scan again from its source"
        )
    check_length(header.path, data, offset, voxel_bytes, voxel_bytes // math.prod(header.grid.size[1:]))


def check_nrrd_stream(header: NrrdHeader, voxel_bytes: int) -> None:
    """Unpack gzipped voxels once to check them; do nothing for other voxels.

    Args:
        header: from `read_nrrd_header`.
        voxel_bytes: bytes of the uncompressed voxels.

    Raises:
        SegpipeError: see `check_stream`.
    """
    if header.is_plain and header.is_packed:
        check_stream(header.path, header.data_path, header.data_offset(voxel_bytes), voxel_bytes)


def nrrd_voxels(header: NrrdHeader, native: np.dtype[Any]) -> VoxelArray:
    """Read the voxels of a file that `check_nrrd_length` accepted.

    Args:
        header: from `read_nrrd_header`, `is_plain`.
        native: the dtype of a voxel, in native byte order.

    Returns:
        (x, y), (x, y, z), or with a leading axis of channels.

    Raises:
        SegpipeError: see `check_stream`.
    """
    stored = native.newbyteorder(">" if header.fields.get("endian", "").lower() == "big" else "<")
    count = math.prod(header.sizes)
    place = header.path, header.data_path, header.data_offset(count * stored.itemsize), stored, count
    flat = unpacked_voxels(*place) if header.is_packed else raw_voxels(*place)
    others = [axis for axis in range(len(header.sizes)) if axis not in header.spatial]
    return flat.reshape(header.sizes, order="F").transpose(*others, *header.spatial)

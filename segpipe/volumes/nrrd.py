"""Whether the voxels that an NRRD header announces are all there, and nothing else, which ITK does not look at."""

from __future__ import annotations

import math

from segpipe.errors import SegpipeError
from segpipe.volumes.nrrd_header import NrrdHeader
from segpipe.volumes.streams import check_length, check_stream

_GZIP_NAMES = ("gzip", "gz")


def require_nrrd_file(header: NrrdHeader) -> None:
    """Refuse a header whose voxel file is not there.

    Raises:
        SegpipeError: naming both files.
    """
    data = header.data_file
    if data is not None and not data.is_file():
        raise SegpipeError(
            f"{header.path}: its voxel file {data.name} is missing in {data.parent}; copy both files together"
        )


def check_nrrd_voxels(header: NrrdHeader, voxel_bytes: int) -> None:
    """Check the length of raw voxels, and unpack gzipped ones once; does nothing for voxels written as text.

    Args:
        header: from `read_nrrd_header`.
        voxel_bytes: what the voxels take uncompressed.

    Raises:
        SegpipeError: the voxels are too short; see `check_stream` and `check_length` for the rest.
    """
    data = header.path if header.data_file is None else header.data_file
    offset = header.header_bytes if header.data_file is None else 0
    if header.skips:
        return
    if header.encoding in _GZIP_NAMES:
        check_stream(header.path, data, offset, voxel_bytes)
    elif header.encoding == "raw":
        held = data.stat().st_size - offset
        if held < voxel_bytes:
            raise SegpipeError(
                f"{header.path}: voxel data in {data.name} truncated: {held} bytes, the header asks for {voxel_bytes}; "
                "copy the scan again from its source"
            )
        check_length(header.path, data, offset, voxel_bytes, voxel_bytes // math.prod(header.grid.size[1:]))

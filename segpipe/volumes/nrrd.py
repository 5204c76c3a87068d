"""The part of an NRRD header that says where a gzipped voxel stream is, so that it can be checked."""

from __future__ import annotations

from pathlib import Path

from segpipe.volumes.streams import check_stream

_HEADER_LIMIT_BYTES = 1 << 20
_GZIP_NAMES = ("gzip", "gz")
_SKIPS = frozenset({"line skip", "lineskip", "byte skip", "byteskip"})


def check_nrrd_stream(path: Path, voxel_bytes: int) -> None:
    """Unpack the voxels of a gzipped NRRD file once to check them; does nothing for another encoding.

    Args:
        path: a file whose header ITK has read.
        voxel_bytes: what the voxels take uncompressed.

    Raises:
        SegpipeError: see `check_stream`.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER_LIMIT_BYTES)
    lines = start.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0].decode("latin-1").splitlines()
    fields = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if fields.get("encoding", "").lower() not in _GZIP_NAMES:
        return
    name = fields.get("data file", fields.get("datafile"))
    if name is None:
        ends = [start.find(blank) + len(blank) for blank in (b"\n\n", b"\r\n\r\n") if blank in start]
        check_stream(path, path, min(ends), voxel_bytes)
    elif (path.parent / name).is_file() and not _SKIPS & fields.keys():
        check_stream(path, path.parent / name, 0, voxel_bytes)

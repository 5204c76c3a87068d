"""What ITK passes over in an NRRD header: units of length, and where a gzipped voxel stream is."""

from __future__ import annotations

import re
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.volumes.streams import check_stream

_HEADER_LIMIT_BYTES = 1 << 20
_GZIP_NAMES = ("gzip", "gz")
_SKIPS = frozenset({"line skip", "lineskip", "byte skip", "byteskip"})
_QUOTED = re.compile(r'"([^"]*)"')
_MM = frozenset({"mm", "millimeter", "millimeters", "millimetre", "millimetres"})
_UNKNOWN_UNITS = frozenset({"", "???", "none", "unknown", "pixel", "pixels"})
_OTHER_LENGTHS = frozenset(
    {
        *("m", "meter", "meters", "metre", "metres", "cm", "centimeter", "centimeters", "centimetre"),
        *("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"),
        *("nm", "nanometer", "nanometers", "nanometre", "in", "inch", "inches"),
    }
)


def check_nrrd_units(path: Path) -> None:
    """Refuse an NRRD file that measures in another unit than mm, which ITK would take for mm.

    Raises:
        SegpipeError: `space units` other than mm, or an axis in `units` in another unit of length.
    """
    _, fields = _header(path)
    space = [unit.lower() for unit in _QUOTED.findall(fields.get("space units", ""))]
    axes = [unit.lower() for unit in _QUOTED.findall(fields.get("units", ""))]
    odd = [unit for unit in space if unit not in _MM | _UNKNOWN_UNITS]
    odd += [unit for unit in axes if unit in _OTHER_LENGTHS]
    if odd:
        raise SegpipeError(
            f"{path}: spatial unit {odd[0]}: must be mm or unset; scale the space directions and origin to mm and "
            "set the units to mm"
        )


def check_nrrd_stream(path: Path, voxel_bytes: int) -> None:
    """Unpack the voxels of a gzipped NRRD file once to check them; does nothing for another encoding.

    Args:
        path: a file whose header ITK has read.
        voxel_bytes: what the voxels take uncompressed.

    Raises:
        SegpipeError: see `check_stream`.
    """
    start, fields = _header(path)
    if fields.get("encoding", "").lower() not in _GZIP_NAMES:
        return
    name = fields.get("data file", fields.get("datafile"))
    if name is None:
        ends = [start.find(blank) + len(blank) for blank in (b"\n\n", b"\r\n\r\n") if blank in start]
        check_stream(path, path, min(ends), voxel_bytes)
    elif (path.parent / name).is_file() and not _SKIPS & fields.keys():
        check_stream(path, path.parent / name, 0, voxel_bytes)


def _header(path: Path) -> tuple[bytes, dict[str, str]]:
    """Return the first bytes of a file, and its header's fields in lower case with their values."""
    with path.open("rb") as file:
        start = file.read(_HEADER_LIMIT_BYTES)
    text = start.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0].decode("utf-8", errors="replace")
    lines = (line.partition(":") for line in text.splitlines())
    return start, {key.strip().lower(): value.strip() for key, _, value in lines}

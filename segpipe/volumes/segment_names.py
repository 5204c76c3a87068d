"""Names of the segments in 3D Slicer's segmentations (.seg.nrrd)."""

from __future__ import annotations

import re
from pathlib import Path

from segpipe.volumes.file_start import read_start

_HEADER_LIMIT_BYTES = 2**20
_KEY = re.compile(r"Segment([0-9]{1,6})_(Name|LabelValue):=(.*)")


def segment_names(path: Path) -> dict[int, str]:
    """Return stored value -> name of the segment; empty for a file without names.

    Args:
        path: of a .seg.nrrd file.

    Raises:
        SegpipeError: the file cannot be read.
    """
    names: dict[str, str] = {}
    values: dict[str, str] = {}
    for line in read_start(path, _HEADER_LIMIT_BYTES).split(b"\n"):
        if not line.strip():
            break
        match = _KEY.fullmatch(line.decode("utf-8", errors="replace").strip())
        if match is not None:
            number, key, text = match.groups()
            (names if key == "Name" else values)[number] = text.strip()
    return {
        int(value): names[number]
        for number, value in values.items()
        if names.get(number) and re.fullmatch("[0-9]{1,9}", value)
    }

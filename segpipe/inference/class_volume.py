"""Volume and number of pieces of one class, as a row of a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassVolume:
    """Volume and pieces of a class, or of a region of several classes, in a label map.

    Attributes:
        label: name of the class or region.
        voxels: number of voxels.
        millilitres: volume; None for a slice, which has no volume.
        components: number of pieces; voxels that share a face, an edge or a corner are in one piece.
        frame: number of the time frame, from 1; None for scans without time frames.
    """

    label: str
    voxels: int
    millilitres: float | None
    components: int
    frame: int | None = None

"""Volume and number of pieces of one class, as a row of a table."""

from __future__ import annotations

from dataclasses import dataclass

EXPECTED_NUMBERS = ("dice", "dice_low", "dice_high", "millilitres_low", "millilitres_high")
"""The numbers of `Expected`."""


@dataclass(frozen=True)
class Expected:
    """What is expected of a label map, without a reference, by a calibration on held-out cases.

    Attributes:
        dice: expected Dice, 0 to 1; None where it is not predicted.
        dice_low, dice_high: 90 % interval of the Dice; None: there is none.
        millilitres_low, millilitres_high: 90 % interval of the true volume; None: it has no such end.
        note: why there is no expected Dice, or no interval.
    """

    dice: float | None = None
    dice_low: float | None = None
    dice_high: float | None = None
    millilitres_low: float | None = None
    millilitres_high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ClassVolume:
    """Volume and pieces of a class, or of a region of several classes, in a label map.

    Attributes:
        label: name of the class or region.
        voxels: number of voxels.
        millilitres: volume; None for a slice, which has no volume.
        components: number of pieces; voxels that share a face, an edge or a corner are in one piece.
        frame: number of the time frame, from 1; None for scans without time frames.
        expected: expected Dice and volume; None without a calibration, or where no voxel has the class.
    """

    label: str
    voxels: int
    millilitres: float | None
    components: int
    frame: int | None = None
    expected: Expected | None = None

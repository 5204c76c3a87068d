"""The measure kinds: name, scale of comparison, and how far a value may lie from those of equal training cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

HAS_FOREGROUND = "found"
LIKENESS = "likeness"
FACING = "facing"


def _linear(value: float) -> float:
    return value


def _ratio(value: float) -> float:
    return math.log(max(value, 1e-6))


def _magnitude(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


@dataclass(frozen=True)
class MeasureKind:
    """A measure kind, such as the voxel spacing along each axis.

    Attributes:
        title: name of the measure in a message; `{of}` stands for the part after the slash, such as an axis.
        unit: unit in a message.
        slack: distance that is allowed where all of many training cases have one value, on the kind's scale.
        scale: transform before values are compared: identity, logarithm (ratios) or order of magnitude.
        low: warn about values below the range.
        enough: values of at least this are never too low.
        high: warn about values above the range.
    """

    title: str
    unit: str
    slack: float
    scale: Callable[[float], float] = _linear
    low: bool = True
    enough: float = math.inf
    high: bool = True

    def message(self, of: str, value: float, lowest: float, highest: float) -> str:
        """Return a warning about one measure of a scan.

        Args:
            of: the part of the measure's name after the slash.
            value: of the scan.
            lowest: lowest value of the training cases.
            highest: highest value of the training cases.
        """
        had = f"{lowest:.3g}" if f"{lowest:.3g}" == f"{highest:.3g}" else f"{lowest:.3g} to {highest:.3g}"
        return f"{self.title.format(of=of)} is {value:.3g}{self.unit}; training cases: {had}{self.unit}"


MEASURE_KINDS: Mapping[str, MeasureKind] = {
    "spacing": MeasureKind("the header's voxel spacing along {of}", " mm", math.log(1.1), _ratio),
    "extent": MeasureKind("length along {of}", " mm", math.log(1.2), _ratio),
    "size": MeasureKind("size along {of}", " pixels", math.log(1.1), _ratio),
    "normalised": MeasureKind("{of} of the intensities, as the bundle normalises them,", "", 0.2, _magnitude),
    "scaled": MeasureKind("{of} of the intensities, as the bundle scales them to 0 to 1,", "", 0.05),
    "tone": MeasureKind("place of the {of} between the darkest and the brightest", "", 0.1),
    "ends": MeasureKind("share of voxels at the {of} intensity", "", 0.02),
    "roughness": MeasureKind("roughness along {of} (more: noise; less: smoothed)", "", 0.4, _ratio),
    LIKENESS: MeasureKind("likeness to the mean of the training cases (1: the same)", "", 0.1, high=False),
    FACING: MeasureKind(
        "likeness to the training cases, less that when {of},", "", 0.02, enough=0.0, high=False
    ),
    "uncertainty": MeasureKind(
        "uncertainty where the label map has a class (entropy, 0 to 1)", "", 0.03, low=False
    ),
    "doubt": MeasureKind("uncertainty of the classification (entropy, 0 to 1)", "", 0.03, low=False),
    "volume": MeasureKind("volume of {of}", " ml", 0.05, _magnitude),
    "area": MeasureKind("area of {of}", " pixels", 0.2, _magnitude),
    "pieces": MeasureKind("number of pieces of {of}", "", 0.7, _magnitude, low=False),
    "centre": MeasureKind("centre of all classes along {of}, as a share of the scan,", "", 0.05),
    HAS_FOREGROUND: MeasureKind("the label map is empty", "", 0.0, high=False),
}


def kind_of(name: str) -> MeasureKind:
    """Return the kind of a measure, such as of `spacing/x`."""
    return MEASURE_KINDS[name.partition("/")[0]]


def require_measure(name: str) -> None:
    """Refuse a name that does not belong to a measure.

    Raises:
        ValueError: no measure has this name.
    """
    if name.partition("/")[0] not in MEASURE_KINDS:
        raise ValueError(f"no measure is {name}")

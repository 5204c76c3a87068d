"""Fit a regular line through the slices of a series: their order, distance and direction.

Positions in headers are rounded, so the line is a least-squares fit to all positions. Each slice is checked by its
distance from the line through the other slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segpipe.errors import SegpipeError, shown
from segpipe.volumes.dicom_slice import DicomSlice
from segpipe.volumes.geometry import FloatArray

DEVIATION_SHARE = 0.01
"""Largest deviation of a slice: along the normal a share of the slice distance, in its plane of the pixel spacing."""

LARGEST_DEVIATION_SHARE = 0.099
"""Largest deviation that rounded positions may explain, as a share."""

MAX_TILT_DEGREES = 0.1
"""Largest angle between the line through the slice positions and the slice normal."""

_SAME_PLACE_MM = 1e-3
_GAP_SHARES = (0.5, 1.5)  # of the usual distance; outside this range slices are missing or doubled
_NUMBERED_SLICES = 4  # fewer instance numbers are not checked


@dataclass(frozen=True)
class Line:
    """The positions of the slices of a regular stack.

    Args:
        origin_lps: (3,), LPS mm of the first slice's first pixel.
        step_lps: (3,), LPS mm from one slice to the next.
    """

    origin_lps: FloatArray
    step_lps: FloatArray


def fit_line(where: str, slices: Sequence[DicomSlice], normal: FloatArray, pixel_mm: float) -> Line:
    """Refuse slices that are no regular stack, and fit the regular line through them.

    Args:
        where: name of the series, for messages.
        slices: sorted along `normal`.
        normal: (3,), the unit normal of the slices in LPS.
        pixel_mm: the smaller pixel spacing.

    Raises:
        SegpipeError: two slices at one place, gaps, slices off the line, gantry tilt, a first or last slice whose
            InstanceNumber belongs to the other end, or a single slice without thickness.
    """
    if len(slices) == 1:
        thickness = slices[0].thickness_mm
        if thickness is None:
            raise SegpipeError(
                f"{where}: a single slice without SpacingBetweenSlices or SliceThickness: its z spacing in "
                "mm is unknown; export the series again with either tag"
            )
        return Line(slices[0].position_lps, normal * thickness)
    positions = np.array([slice_.position_lps for slice_ in slices])
    _refuse_gaps(where, slices, np.diff(positions @ normal))
    weights = np.arange(len(slices)) - (len(slices) - 1) / 2
    step: FloatArray = weights @ positions / (weights @ weights)
    centre = positions.mean(axis=0)
    half_digits = np.min([slice_.position_digits_mm for slice_ in slices], axis=0) / 2
    residuals = positions - (centre + weights[:, None] * step)
    _refuse_off_line(where, slices, residuals, normal, (float(step @ normal), pixel_mm), half_digits)
    _refuse_wrapped_numbers(where, slices)
    step = _without_rounded_tilt(where, slices, step, normal, pixel_mm, half_digits)
    return Line(centre + weights[0] * step, step)


def _refuse_gaps(where: str, slices: Sequence[DicomSlice], distances: FloatArray) -> None:
    typical = float(np.sort(distances)[(len(distances) - 1) // 2])
    same = np.flatnonzero(distances <= _SAME_PLACE_MM)
    if same.size:
        pairs = [slices[int(i) + end].path.name for i in same for end in (0, 1)]
        raise SegpipeError(
            f"{where}: {same.size} slices at the position of another (0 mm apart, must be above "
            f"{_SAME_PLACE_MM} mm): {shown(pairs)}; keep one of each: a repeated export, or several "
            "echoes or time points to move apart"
        )
    low, high = (share * typical for share in _GAP_SHARES)
    odd = np.flatnonzero((distances < low) | (distances > high))
    if odd.size:
        i = int(odd[0])
        raise SegpipeError(
            f"{where}: gap in the series: {distances[i]:.4g} mm between {slices[i].path.name} and "
            f"{slices[i + 1].path.name}, {typical:.4g} mm is usual (must be {low:.4g} to {high:.4g} mm; "
            f"{odd.size} such places); slices are missing, doubled or unevenly spaced: export the whole series again"
        )


def _refuse_off_line(
    where: str,
    slices: Sequence[DicomSlice],
    residuals: FloatArray,
    normal: FloatArray,
    distances_mm: tuple[float, float],
    half_digits: FloatArray,
) -> None:
    """Refuse a slice that deviates from the line through the other slices, along the normal or in its plane.

    Args:
        where: name of the series.
        slices: sorted along the normal.
        residuals: (slices, 3), mm from the line through all slices.
        normal: (3,).
        distances_mm: slice distance, for deviations along the normal, and pixel spacing, for those in the plane.
        half_digits: (3,), largest rounding error of each coordinate, in mm.
    """
    count = len(slices)
    if count == 2:
        return
    weights = np.arange(count) - (count - 1) / 2
    hat = 1 / count + np.outer(weights, weights) / (weights @ weights)
    leverage = np.diag(hat)
    # the distance of a slice from the line through the other slices, and the part that rounding cannot explain
    off = residuals / (1 - leverage)[:, None]
    amplified = 1 + (np.abs(hat).sum(axis=1) - leverage) / (1 - leverage)
    unexplained = np.sign(off) * (np.abs(off) - np.outer(amplified, half_digits)).clip(0)
    parts = (("slice distance", _along, distances_mm[0]), ("pixel spacing", _across, distances_mm[1]))
    for what, part, mm in parts:
        deviation, rest = part(off, normal), part(unexplained, normal)
        is_odd = (rest > DEVIATION_SHARE * mm) | (deviation > LARGEST_DEVIATION_SHARE * mm)
        if is_odd.any():
            worst = int(np.argmax(np.where(is_odd, deviation, 0)))
            raise SegpipeError(
                f"{where}: {slices[worst].path.name} lies {deviation[worst]:.4g} mm off the line of the other slices, "
                f"{deviation[worst] / mm:.1%} of the {what} of {mm:.4g} mm (limit {DEVIATION_SHARE:.0%} and what "
                f"rounding of the positions explains, at most {LARGEST_DEVIATION_SHARE:.1%}); slices are unevenly "
                "spaced or one is misplaced: export the series again"
            )


def _along(vectors: FloatArray, normal: FloatArray) -> FloatArray:
    length: FloatArray = np.abs(vectors @ normal)
    return length


def _across(vectors: FloatArray, normal: FloatArray) -> FloatArray:
    length: FloatArray = np.linalg.norm(vectors - np.outer(vectors @ normal, normal), axis=1)
    return length


def _refuse_wrapped_numbers(where: str, slices: Sequence[DicomSlice]) -> None:
    """Refuse a first or last slice whose instance number belongs to the other end: its position is wrong."""
    numbers = [slice_.instance_number for slice_ in slices]
    if len(numbers) < _NUMBERED_SLICES or any(number is None for number in numbers):
        return
    steps = np.diff(np.array(numbers, np.int64))
    for odd, others, neighbour in ((-1, steps[:-1], 0), (0, steps[1:], -1)):
        step = others[0]
        jump = numbers[neighbour] - numbers[odd]  # type: ignore[operator]  # None was ruled out
        if step and (others == step).all() and jump == (step if odd == -1 else -step):
            raise SegpipeError(
                f"{where}: {slices[odd].path.name} lies at one end of the series, and its InstanceNumber "
                f"{numbers[odd]} belongs at the other, beside {numbers[neighbour]} of {slices[neighbour].path.name}; "
                "its ImagePositionPatient is wrong: export the series again"
            )


def _without_rounded_tilt(
    where: str,
    slices: Sequence[DicomSlice],
    step: FloatArray,
    normal: FloatArray,
    pixel_mm: float,
    half_digits: FloatArray,
) -> FloatArray:
    """Return the step without tilt where rounding explains the tilt, else the step; refuse a true tilt."""
    sideways = step - (step @ normal) * normal
    count = len(slices)
    weights = np.arange(count) - (count - 1) / 2
    half = (count - 1) / 2
    across = np.sqrt(half_digits**2 @ (1 - normal**2).clip(0))
    rounded = across * np.abs(weights).sum() / (weights @ weights) * half
    limit = min(DEVIATION_SHARE * pixel_mm + rounded, LARGEST_DEVIATION_SHARE * pixel_mm)
    if np.linalg.norm(sideways) * half <= limit:
        straight: FloatArray = (step @ normal) * normal
        return straight
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(sideways), step @ normal)))
    if tilt > MAX_TILT_DEGREES:
        raise SegpipeError(
            f"{where}: gantry tilt of {tilt:.2f} degrees between the slice normal and the line of slices "
            f"from {slices[0].path.name} to {slices[-1].path.name} (limit {MAX_TILT_DEGREES} degrees): the "
            "slices make no right-angled grid; correct the tilt first"
        )
    return step

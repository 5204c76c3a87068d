"""Whether the voxel spacing in a scan's header is wrong: spacing and length are off by the same factor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

_SAME_FACTOR = 1.5  # ratio of the two factors, up to which they count as the same


def wrong_spacing(
    values: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
    side: Callable[[str], int],
) -> tuple[str, list[str]] | None:
    """Return a warning about the header's spacing, and the measures that it explains; None if nothing is wrong.

    A scan that really has other voxels has more or fewer of them, and its usual length.

    Args:
        values: measures of a scan.
        ranges: measure -> its lowest and highest value in the training cases.
        side: returns 1 for a measure above its limits, -1 for one below, else 0.
    """
    wrong = [axis for axis in "xyz" if _is_wrong(axis, values, ranges, side)]
    if not wrong:
        return None
    spacings, lengths = (
        ", ".join(f"{values[f'{kind}/{axis}']:.3g}" for axis in wrong) for kind in ("spacing", "extent")
    )
    usual_spacings, usual_lengths = (
        ", ".join(_between(*ranges[f"{kind}/{axis}"]) for axis in wrong) for kind in ("spacing", "extent")
    )
    return (
        f"the voxel spacing in its header looks wrong: along {', '.join(wrong)} it is {spacings} mm, which makes the "
        f"scan {lengths} mm long; training cases: {usual_spacings} mm, and {usual_lengths} mm long; correct the "
        "header, since volumes in ml are wrong, too",
        [f"{kind}/{axis}" for kind in ("spacing", "extent") for axis in wrong],
    )


def _is_wrong(
    axis: str,
    values: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
    side: Callable[[str], int],
) -> bool:
    spacing, extent = f"spacing/{axis}", f"extent/{axis}"
    if not side(spacing) or side(spacing) != side(extent):
        return False
    factors = [values[name] / math.sqrt(math.prod(ranges[name])) for name in (spacing, extent)]
    return max(factors) / min(factors) <= _SAME_FACTOR


def _between(lowest: float, highest: float) -> str:
    low, high = f"{lowest:.3g}", f"{highest:.3g}"
    return low if low == high else f"{low} to {high}"

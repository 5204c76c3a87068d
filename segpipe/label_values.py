"""The values that label files store: whole numbers, their look-up, and messages on values of no class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError

ROUNDING = 1e-3
"""A stored label may lie this far from a whole number: a file's slope and intercept round."""
_LONGEST_TABLE = 2**16  # entries of a lookup table by stored value; a larger range is searched instead
_VALUES_SHOWN = 10  # in a message; an image given as a label map can hold thousands of values


def whole_numbers(stored: NDArray[Any]) -> NDArray[Any]:
    """Return a label map's values as whole numbers; refuse values that are not whole.

    Args:
        stored: array of any shape; integers, or floats that hold integers up to `ROUNDING`, as a file's slope leaves
            them (255 times 0.00392157 is 1.0000004).

    Returns:
        The array itself if every value is whole already, else its rounded values in the same dtype.

    Raises:
        SegpipeError: the map holds fractions, NaN, infinite values, or values that are not numbers.
    """
    if stored.dtype.kind in "iub":
        return stored
    if stored.dtype.kind != "f":
        raise SegpipeError(f"label map holds {stored.dtype} values; needs whole numbers")
    rounded = np.round(stored)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        off = np.abs(stored - rounded)
    broken = ~(off <= ROUNDING)
    if broken.any():
        raise SegpipeError(
            f"label map holds values that are not whole numbers ({_shown(stored[broken])}) in "
            f"{np.count_nonzero(broken)} voxel(s); probabilities or an interpolated map are no label map: "
            "resample label maps with nearest neighbour"
        )
    return rounded if off.any() else stored


def looked_up(
    stored: NDArray[Any], values: Sequence[int], classes: NDArray[np.unsignedinteger[Any]], otherwise: int
) -> NDArray[np.unsignedinteger[Any]]:
    """Return the class of each stored value; all lie between the first and the last of the ascending `values`."""
    if values[-1] - values[0] < _LONGEST_TABLE:
        table = np.full(values[-1] - values[0] + 1, otherwise, classes.dtype)
        table[np.subtract(values, values[0])] = classes
        classes_of_stored: NDArray[np.unsignedinteger[Any]] = table[
            np.subtract(stored, values[0], dtype=np.intp, casting="unsafe")
        ]
        return classes_of_stored
    position = np.searchsorted(values, stored)
    return np.where(np.asarray(values)[position] == stored, classes[position], classes.dtype.type(otherwise))


def unknown_values_message(unknown: NDArray[Any], allowed: list[int]) -> str:
    """Return a message on stored values of no class.

    Args:
        unknown: one entry a voxel.
        allowed: the values that classes have.
    """
    return (
        f"label map holds the value(s) {_shown(unknown)} in {unknown.size} voxel(s); allowed are "
        f"{', '.join(map(str, allowed))}; correct the file, or the labels of the manifest or label table"
    )


def _shown(values: NDArray[Any]) -> str:
    distinct = np.unique(values)
    more = f" and {len(distinct) - _VALUES_SHOWN} more" if len(distinct) > _VALUES_SHOWN else ""
    return ", ".join(str(value.item()) for value in distinct[:_VALUES_SHOWN]) + more


def smallest_unsigned(largest: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest unsigned type that holds a number."""
    return np.min_scalar_type(largest)

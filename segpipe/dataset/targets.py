"""The label of an image as numbers: the index of its class, or a value for each finding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segpipe.categories import Categories
from segpipe.dataset.manifest import Case


def target_of(case: Case, categories: Categories) -> NDArray[np.int64] | NDArray[np.float32]:
    """Return the target of a labelled case.

    Args:
        case: of a manifest of these categories; for classes it has exactly one class.
        categories: the classes or findings.

    Returns:
        for classes the index, int64 of shape `()`; for findings float32 of shape `(F,)`: 1 present, 0 absent,
        NaN unknown.

    Raises:
        SegpipeError: the case names a class or finding that the categories lack.
    """
    if categories.exclusive:
        (name,) = case.classes
        return np.array(categories.index(name), np.int64)
    target = np.zeros(categories.num, np.float32)
    for name in case.classes:
        target[categories.index(name)] = 1.0
    for name in case.unknown:
        target[categories.index(name)] = np.nan
    return target

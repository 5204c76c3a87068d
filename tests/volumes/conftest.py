"""Fixtures for the tests of this folder."""

from __future__ import annotations

import numpy as np
import pytest
from sample_grids import ORIGIN_LPS, SIZE, SPACING_MM, rotation

from segpipe.volumes import Grid


@pytest.fixture
def grid() -> Grid:
    """One oblique 3D grid."""
    return Grid.from_lps(SIZE, SPACING_MM, ORIGIN_LPS, rotation(0.3, -0.2, 0.4))


@pytest.fixture
def picture_grid() -> Grid:
    """The grid of a 2D image of 5 x 4 unit pixels."""
    return Grid.from_lps((5, 4), (1.0, 1.0), (0.0, 0.0), np.eye(2))


@pytest.fixture
def labels() -> np.ndarray:
    """Labels 0 to 59, a different one in every voxel, on `grid`."""
    return np.arange(60, dtype=np.int64).reshape(SIZE)

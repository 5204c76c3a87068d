"""An oblique scan for the tests of transforms."""

import numpy as np
import pytest
from sample_grids import OBLIQUE

from segpipe.volumes import Grid, write_volume


@pytest.fixture
def array():
    return np.arange(60, dtype=np.int16).reshape(5, 4, 3)


@pytest.fixture
def grid():
    return Grid.from_affine((5, 4, 3), OBLIQUE)


@pytest.fixture
def scan(tmp_path, array, grid):
    """Return an oblique NIfTI scan."""
    write_volume(array, grid, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"

"""Fixtures for tests that read a folder of a data set."""

import pytest
from made_sets import SIZE, write_set


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes images and label maps into a folder, and returns the folder."""
    return lambda images=(), labels=(), size=SIZE: write_set(tmp_path / "set", images, labels, size)

"""Fixtures that many rooms share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data():
    """Return the folder of a real data set; skip without SEGPIPE_DATA, fail where the set is missing in it."""

    def folder(name: str) -> Path:
        root = os.environ.get("SEGPIPE_DATA")
        if not root:
            pytest.skip("SEGPIPE_DATA is not set")
        path = Path(root) / name
        if not path.is_dir():
            pytest.fail(f"SEGPIPE_DATA is set, but {path} is missing")
        return path

    return folder

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


@pytest.fixture(scope="session")
def phantom_dataset(tmp_path_factory):
    """Return the manifest of eight MRI phantoms in four folds; its folder is the dataset's."""
    from segpipe.dataset.phantom_files import write_phantom_dataset

    return write_phantom_dataset(tmp_path_factory.mktemp("data") / "phantoms", num_cases=8, seed=0)


@pytest.fixture(scope="session")
def phantom_scans(tmp_path_factory):
    """Return a folder of new phantom scans, one a format, and the folder of their label maps."""
    from segpipe.dataset.phantom_files import write_phantom_scans

    folder = tmp_path_factory.mktemp("scans")
    write_phantom_scans(folder / "scans", folder / "references", seed=0)
    return folder / "scans", folder / "references"

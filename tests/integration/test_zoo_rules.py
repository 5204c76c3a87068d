"""The rules of the model zoo for a bundle's files and ids, which its CI or its reviewers check.

Source: CONTRIBUTING.md and ci/verify_bundle.py of github.com/Project-MONAI/model-zoo, commit dfae206df112.
"""

import re
import shutil
import subprocess

import pytest
from monai.bundle import ConfigParser
from packaging.version import Version
from shipped_bundles import BUNDLES, bundles_of

from segpipe.configuration.metadata import read_metadata

LARGEST = 25_000_000  # bytes of a file; larger files are named in large_files.yml
ENTRIES = {"LICENSE", "configs", "docs", "models", "large_files.yml"}
INFERENCE_IDS = ("bundle_root", "device", "network_def", "inferer", "output_dir")
TRAINING_IDS = (
    *("bundle_root", "device", "dataset_dir", "output_dir", "val_interval"),
    *(f"train#{name}" for name in ("trainer", "trainer#max_epochs", "dataset", "dataset#data", "handlers")),
    *(f"train#{name}" for name in ("preprocessing", "inferer")),  # the others where they are used
    *(f"validate#{name}" for name in ("evaluator", "handlers", "dataset", "dataset#data")),
    *(f"validate#{name}" for name in ("preprocessing", "inferer", "key_metric")),
)


@pytest.fixture(
    params=[*bundles_of("segmentation"), *bundles_of("classification")], ids=lambda root: root.name
)
def root(request):
    return request.param


def lacking(path, names):
    """Return the ids that a configuration lacks."""
    parser = ConfigParser()
    parser.read_config(str(path))
    return {name for name in names if name not in parser}


def test_configurations_have_the_ids_of_the_zoo(root):
    for name in ("inference.yaml", "inference.json"):
        assert lacking(root / "configs" / name, INFERENCE_IDS) == set(), name
    assert lacking(root / "configs" / "train.yaml", TRAINING_IDS) == set()


def test_metadata_names_versions_that_pip_can_install(root):
    """The zoo's CI installs monai==VERSION and so on; the version of a bundle needs an entry in its changelog."""
    metadata = read_metadata(root / "configs" / "metadata.json")

    versions = [metadata[name] for name in ("version", "monai_version", "pytorch_version", "numpy_version")]
    for version in (*versions, *metadata["required_packages_version"].values()):
        assert str(Version(version)) == version
    assert metadata["version"] in metadata["changelog"]
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", root.name)
    assert metadata["name"].strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git for the files")
def test_bundles_hold_nothing_of_a_run_and_no_large_file():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=BUNDLES, capture_output=True, text=True, check=True
    ).stdout
    files = [path.split("/") for path in listed.split("\0") if path]

    assert {entry for _, entry, *_ in files} <= ENTRIES
    assert max((BUNDLES / "/".join(parts)).stat().st_size for parts in files) <= LARGEST

"""Fixtures: a small bundle in the model zoo's layout, and shipped bundles with mistakes."""

import shutil

import pytest
from shipped_bundles import BUNDLES, HIPPOCAMPUS
from zoo_fixtures import by_monai, empty_datasets, opened, random_network, write_scan, zoo_bundle  # noqa: F401 - fixtures

from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.configuration.reading import configuration_files


@pytest.fixture
def findings_after(empty_datasets, tmp_path):  # noqa: F811 - a fixture
    """Return a function that copies a bundle, replaces text in one of its files, and returns the findings."""

    def check(*replacements, name=HIPPOCAMPUS, configs=("train.yaml",), file="train.yaml", **overrides):
        root = tmp_path / name
        if not root.exists():
            shutil.copytree(BUNDLES / name, root)
        path = root / "configs" / file
        text = path.read_text()
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        path.write_text(text)
        if file == "inference.yaml":
            twin = root / "configs" / "inference.json"
            twin.unlink(missing_ok=True)  # it would not be this inference.yaml
        manifest = "hippocampus" if name == HIPPOCAMPUS else "covid_ct_512"
        overrides_of_run = {
            "dataset_dir": str(empty_datasets / manifest),
            "output_dir": str(tmp_path / "runs"),
            **{key.replace("__", "#"): value for key, value in overrides.items()},
        }
        return [
            str(finding)
            for finding in check_bundle(root, configuration_files(root, configs), overrides_of_run)
        ]

    return check

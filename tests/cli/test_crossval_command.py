"""`segpipe crossval` refuses before any training."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.phantoms.files import write_phantom_dataset

BUNDLE = Path(__file__).parents[2] / "bundles" / "mri_hippocampus_unet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a bundle, and eight phantoms in four folds."""
    folder = tmp_path_factory.mktemp("crossval")
    shutil.copytree(BUNDLE, folder / "bundle")
    write_phantom_dataset(folder / "phantoms", num_cases=8, seed=0)
    return folder


@pytest.fixture
def crossval(folder, tmp_path):
    """Return a function that runs the command; other options are added."""

    def run(*options, bundle="bundle"):
        phantoms = folder / "phantoms"
        words = [
            f"manifest={phantoms / 'dataset.json'}",
            f"dataset_dir={phantoms}",
            "-o",
            str(tmp_path / "out"),
        ]
        return CliRunner().invoke(
            app, ["crossval", str(folder / bundle), *words, *options], catch_exceptions=False
        )

    return run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--folds", "0-1", "--jobs", "0"), "--jobs 0: must be at least 1"),
        (
            ("--folds", "0-7"),
            "phantoms: has no fold 4, 5, 6, 7; its training cases have the folds 0, 1, 2, 3",
        ),
        (("--folds", "0-1", "--precision", "float12"), "precision 'float12' is unknown; use auto or one of"),
        (
            ("--folds", "0-1", "--precision", "int8"),
            "precision 'int8' is for segmentation with a network that",
        ),
        (("--folds", "0-1", "--promote"), "the bundle has weights; give --replace to overwrite them"),
        (
            ("--folds", "2", "--promote", "--replace"),
            "--folds names fold 2 alone; name more, or promote the run",
        ),
        (
            ("--folds", "0-1", "--promote", "--replace", "overlap=0.5"),
            "--promote: overlap would change the inference",
        ),
        (
            ("--folds", "0-1", "--promote", "--replace", "--inference-config", "evaluate.yaml"),
            "--promote: evaluate.yaml would change the inference",
        ),
    ],
)
def test_a_mistake_starts_nothing(crossval, tmp_path, options, message):
    result = crossval(*options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_locator_is_no_ensemble(crossval, folder):
    shutil.copytree(folder / "bundle", folder / "locator")
    metadata = folder / "locator" / "configs" / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "locates": True}))

    result = crossval("--folds", "0-1", "--promote", "--replace", bundle="locator")

    assert result.exit_code == 2
    assert "is a locator, whose margin is of one network; leave --promote out" in result.stderr

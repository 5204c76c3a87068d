"""`segpipe search` refuses before any training."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.phantoms.files import write_phantom_dataset

pytest.importorskip("optuna")
BUNDLES = Path(__file__).parents[2] / "bundles"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Return the manifest of eight phantoms in four folds."""
    return write_phantom_dataset(tmp_path_factory.mktemp("search") / "phantoms", num_cases=8, seed=0)


@pytest.fixture
def search(phantoms, tmp_path):
    """Return a function that runs the command on a small grid; other options are added."""
    (tmp_path / "grid.yaml").write_text("batch_size: [1, 2]")

    def run(*options, space="grid.yaml", bundle="mri_hippocampus_unet"):
        where = tmp_path / space if (tmp_path / space).is_file() else space
        words = ["search", str(BUNDLES / bundle), f"manifest={phantoms}", f"dataset_dir={phantoms.parent}"]
        given = [*words, "--space", str(where), "-o", str(tmp_path / "out"), *options]
        return CliRunner().invoke(app, given, catch_exceptions=False)

    return run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trials", "0"), "--trials 0: must be at least 1"),
        (("--jobs", "0"), "--jobs 0: must be at least 1"),
        (("--sampler", "gird"), "--sampler gird: must be one of grid, random, tpe"),
        (("--seed", "-1"), "--seed -1: must be a whole number of 0 to 4294967295"),
        (("--folds", "7"), "there is no fold 7; the manifest has 0, 1, 2, 3"),
        (("--folds", "a,b"), "phantoms: there is no split 'a'"),
        (("fold=1",), "fold: each run of this command gets its own fold; give --folds"),
        (("batch_size=4",), "batch_size is also given as batch_size=4"),
    ],
)
def test_a_mistake_starts_nothing(search, tmp_path, options, message):
    result = search(*options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out" / "logs").exists()


@pytest.mark.parametrize("package", ["optuna", "plotly"])
def test_without_its_packages_it_names_the_command(search, monkeypatch, package):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))

    result = search()

    assert result.exit_code == 2
    assert result.stderr.endswith("not installed; run: pip install 'segpipe[search]'\n")


def test_a_space_that_is_not_there_is_refused_with_the_bundles_own(search):
    result = search(space="papre", bundle="ct_covid_unet")

    assert result.exit_code == 2
    assert "papre: no such space; the bundle's spaces are paper" in result.stderr

"""`segpipe search` refuses before any training."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from segpipe.cli import app

pytest.importorskip("optuna")
BUNDLE = Path(__file__).parents[2] / "bundles" / "ct_covid_unet"


def search(tmp_path, *options):
    words = ["search", str(BUNDLE), f"dataset_dir={tmp_path}", "-o", str(tmp_path / "out"), *options]
    return CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--space", "paper", "--trials", "0"), "--trials 0: must be at least 1"),
        (("--space", "paper", "--jobs", "0"), "--jobs 0: must be at least 1"),
        (("--space", "papre"), "papre: no such space; the bundle's spaces are paper"),
        (("--space", "paper", "--sampler", "gird"), "--sampler gird: must be one of grid, random, tpe"),
        (("--space", "paper", "--folds", "7"), "covid_ct_512: has no fold 7"),
        (("--space", "paper", "fold=1"), "fold: each run of this command gets its own fold; give --folds"),
        (("--space", "paper", "batch_size=4"), "batch_size is also given as batch_size=4"),
    ],
)
def test_a_mistake_starts_nothing(tmp_path, options, message):
    result = search(tmp_path, *options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out" / "logs").exists()


@pytest.mark.parametrize("package", ["optuna", "plotly"])
def test_without_its_packages_it_names_the_command(tmp_path, monkeypatch, package):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))

    result = search(tmp_path, "--space", "paper")

    assert result.exit_code == 2
    assert result.stderr.endswith("not installed; run: pip install 'segpipe[search]'\n")

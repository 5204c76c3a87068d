"""Postprocessing chosen with the sidecars that two short trainings wrote."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from segpipe.cli import app

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def without_pages(monkeypatch):
    """The pages take longer than all other steps."""
    monkeypatch.setattr("segpipe.model_evaluation.evaluate.write_report", lambda *_: None)


@pytest.fixture(scope="module")
def weights(bundle):
    """Return the best weights of two folds."""
    return [bundle.train(f"fold{fold}", fold=fold, epochs=1) / "best.pt" for fold in (0, 1)]


def test_each_run_segments_the_cases_that_its_training_held_out(bundle, weights, tmp_path):
    copied = tmp_path / "bundle"
    shutil.copytree(bundle.root / "configs", copied / "configs")
    folds = [part for path in weights for part in ("--fold-weights", str(path))]
    command = [
        "postprocess",
        str(copied),
        "--manifest",
        str(bundle.manifest),
        *folds,
        "--precision",
        "float32",
    ]

    result = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "out")], env={"COLUMNS": "160"})

    assert result.exit_code == 0, result.stderr
    described = json.loads(bundle.manifest.read_text())
    for fold in (0, 1):
        held_out = {case["case"] for case in described["training"] if case["fold"] == fold}
        summary = json.loads((tmp_path / "out" / f"fold_{fold}" / "summary.json").read_text())
        predicted = (tmp_path / "out" / f"fold_{fold}" / "predictions").glob("*.nii.gz")
        assert {path.name.removesuffix(".nii.gz") for path in predicted} == held_out
        assert summary["cases"] == len(held_out) == 2
    assert "no run of fold 2, 3 is given: the cases of these folds take no part" in result.stderr
    assert "no step gains" in result.stdout  # four patients are too few


def test_folds_that_were_changed_after_the_training_are_refused(bundle, weights, tmp_path):
    described = json.loads(bundle.manifest.read_text())
    for case in described["training"]:
        case["fold"] = (case["fold"] + 1) % 4
    manifest = tmp_path / "changed.json"
    manifest.write_text(json.dumps({**described, "dataset_dir": str(bundle.manifest.parent)}))
    folds = [part for path in weights for part in ("--fold-weights", str(path))]

    command = [
        "postprocess",
        str(bundle.root),
        "--manifest",
        str(manifest),
        *folds,
        "--output",
        str(tmp_path),
    ]
    result = CliRunner().invoke(app, command)

    assert result.exit_code != 0
    assert "was trained on 2 of 2 cases of fold 0, which it should score" in result.stderr

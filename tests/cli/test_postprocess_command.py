"""`segpipe postprocess` prints every trial, and says what was written."""

from types import SimpleNamespace

import numpy as np
import pytest
from label_tables import table
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.model_evaluation.label_map_steps import HeldOutCase, choose_steps
from segpipe.model_evaluation.postprocess import Postprocessing
from segpipe.volumes import Grid

GRID = Grid.from_affine((8, 8, 4), np.eye(4))


def cases(false_voxels, folds):
    for number in range(8):
        truth = np.zeros(GRID.size, np.uint8)
        truth[1:4, 1:4, 1:3] = 1
        prediction = truth.copy()
        prediction[7, 7, : false_voxels + number % 2] = min(false_voxels, 1)
        fold = f"fold {number % folds}"
        yield HeldOutCase(f"case_{number}", f"case_{number}", prediction, truth, GRID, fold)


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    """Return a function that runs the command on made trials."""
    (tmp_path / "bundle").mkdir()
    monkeypatch.chdir(tmp_path)

    def run(*arguments, false_voxels=1, failed=(), folds=1, measure_again=()):
        choice = choose_steps(lambda: cases(false_voxels, folds), table("background", "liver"))
        scores = SimpleNamespace(
            knows_patients=False, without_prediction=failed, reasons=dict.fromkeys(failed, "truncated")
        )
        evaluation = SimpleNamespace(scores=scores, warnings=["slightly doubtful"])
        evaluations = {f"fold {fold}": evaluation for fold in range(folds)}
        result = Postprocessing(choice, evaluations, tmp_path / "postprocessing.csv", [], measure_again)

        def postprocess(bundle, manifest, output, options, *given, **named):
            run.options = options
            return result

        monkeypatch.setattr("segpipe.model_evaluation.postprocess.postprocess", postprocess)
        command = ["postprocess", "bundle", "--manifest", "noise", "-o", "out", *arguments]
        return CliRunner().invoke(app, command, env={"COLUMNS": "160"})

    return run


def test_trials_and_what_was_kept(invoke):
    result = invoke()

    assert result.exit_code == 0
    assert "on 8 held-out cases" in result.stdout
    rows = [line for line in result.stdout.splitlines() if line.startswith("│ liver")]
    assert len(rows) == 4  # holes, two volumes, largest
    assert "0 of 8" in rows[0]
    assert "no: changes no case" in rows[0]
    assert "remove small pieces below 9 mm3" in rows[2]
    assert "kept" in rows[2]
    assert "scores of these cases with the steps are slightly too good" in result.stdout
    assert "tried (Bonferroni), which is 98.75 % for 4 steps (liver)" in result.stdout
    assert "in each fold" not in result.stdout
    assert "WARNING: slightly doubtful" in result.stderr


def test_no_gain_and_a_dry_run_are_said(invoke):
    assert "no step gains: the bundle gets no postprocessing" in invoke(false_voxels=0).stdout
    assert "--dry-run: 1 step gained, and the bundle stays as it is" in invoke("--dry-run").stdout


def test_a_case_that_failed_is_listed(invoke):
    result = invoke(failed=("case_9",))

    assert result.exit_code == 1
    assert "case_9 took no part: truncated" in result.stderr


def test_the_gain_of_each_fold_is_printed(invoke):
    """Cases of fold 0 have 1 false voxel beside 18 true ones, cases of fold 1 have 2."""
    result = invoke("--fold-weights", "a.pt", "--fold-weights", "b.pt", folds=2)

    _, _, table_of_folds = result.stdout.partition("Dice gain in each fold (cases)")
    rows = [line for line in table_of_folds.splitlines() if line.startswith("│ liver")]
    assert len(rows) == 2  # the two volumes: holes and the largest piece change nothing
    assert "below 9 mm3" in rows[1]
    assert "+0.0270 (4)" in rows[1]  # 1 - 36 / 37
    assert "+0.0526 (4)" in rows[1]  # 1 - 36 / 38
    assert "WARNING: fold 1: slightly doubtful" in result.stderr
    assert [str(path) for path in invoke.options.fold_weights] == ["a.pt", "b.pt"]


def test_ranges_to_measure_again_are_printed(invoke):
    lines = invoke(measure_again=["segpipe reference-ranges bundle --manifest noise"]).stdout.splitlines()

    assert lines[-2:] == [
        "reference ranges were measured with other steps, so measure them again:",
        "  segpipe reference-ranges bundle --manifest noise",
    ]

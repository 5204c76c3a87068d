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


def cases(false_voxels):
    for number in range(7):
        truth = np.zeros(GRID.size, np.uint8)
        truth[1:4, 1:4, 1:3] = 1
        prediction = truth.copy()
        prediction[7, 7, : false_voxels + number % 2] = min(false_voxels, 1)
        yield HeldOutCase(f"case_{number}", f"case_{number}", prediction, truth, GRID)


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    """Return a function that runs the command on made trials."""

    def run(*arguments, false_voxels=1, failed=()):
        choice = choose_steps(lambda: cases(false_voxels), table("background", "liver"))
        scores = SimpleNamespace(
            knows_patients=False, without_prediction=failed, reasons=dict.fromkeys(failed, "truncated")
        )
        evaluation = SimpleNamespace(scores=scores, warnings=["slightly doubtful"])
        result = Postprocessing(choice, evaluation, tmp_path / "postprocessing.csv", [])
        monkeypatch.setattr(
            "segpipe.model_evaluation.postprocess.postprocess", lambda *given, **named: result
        )
        command = ["postprocess", "bundle", "--manifest", "noise", "-o", "out", *arguments]
        return CliRunner().invoke(app, command, env={"COLUMNS": "160"})

    return run


def test_trials_and_what_was_kept(invoke):
    result = invoke()

    assert result.exit_code == 0
    assert "7 held-out cases of unknown patients" in result.stdout
    rows = [line for line in result.stdout.splitlines() if "liver" in line]
    assert len(rows) == 4  # holes, two volumes, largest
    assert "0 of 7" in rows[0]
    assert "no: changes no case" in rows[0]
    assert "remove small pieces below 9 mm3" in rows[2]
    assert "kept" in rows[2]
    assert "scores of these cases with the steps are slightly too good" in result.stdout
    assert "WARNING: slightly doubtful" in result.stderr


def test_no_gain_and_a_dry_run_are_said(invoke):
    assert "no step gains: the bundle gets no postprocessing" in invoke(false_voxels=0).stdout
    assert "--dry-run: 1 step gained, and the bundle stays as it is" in invoke("--dry-run").stdout


def test_a_case_that_failed_is_listed(invoke):
    result = invoke(failed=("case_9",))

    assert result.exit_code == 1
    assert "case_9 took no part: truncated" in result.stderr

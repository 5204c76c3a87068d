"""`segpipe compare`"""

import numpy as np
import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.metrics import METRICS


def write(folder, dice, cases):
    values = np.full((len(cases), len(METRICS), 1), np.nan)
    values[:, METRICS.index("dice"), 0] = dice
    folder.mkdir()
    (folder / "metrics.csv").write_text(CaseScores(tuple(cases), None, ("tumour",), values).as_csv())
    return str(folder)


@pytest.fixture
def folders(tmp_path):
    first = write(tmp_path / "unet", [0.8, 0.7, 0.9], "abc")
    return first, write(tmp_path / "segnet", [0.7, 0.6, 0.8, 0.1], "abcd")


def test_words_and_what_is_left_out(folders):
    result = CliRunner().invoke(app, ["compare", *folders])

    assert result.exit_code == 0
    assert "Dice, tumour: unet is 0.1 above segnet (95 % interval 0.1 to 0.1, 3 cases): unet is better." in (
        result.stdout.splitlines()
    )
    assert result.stderr == "1 case of segnet alone is left out: d\n"


def test_names_and_metrics(folders):
    arguments = ["compare", *folders, "--name", "U-Net", "--name", "SegNet", "--metric", "dice"]

    result = CliRunner().invoke(app, arguments)

    assert [line.split(" is ")[0] for line in result.stdout.splitlines()] == [
        "Dice, tumour: U-Net",
        "Dice, mean of classes: U-Net",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "one"], "--name one: must be two names that differ"),
        (["--name", "a", "--name", "a"], "--name a, a: must be two names that differ"),
        (["--metric", "f1"], "--metric f1: there are dice, iou"),
    ],
)
def test_options_that_are_none(folders, arguments, message):
    result = CliRunner().invoke(app, ["compare", *folders, *arguments])

    assert result.exit_code == 2
    assert message in result.stderr


def test_a_folder_without_scores(folders, tmp_path):
    result = CliRunner().invoke(app, ["compare", folders[0], str(tmp_path)])

    assert result.exit_code == 2
    assert "metrics.csv: cannot be read" in result.stderr

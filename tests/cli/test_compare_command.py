"""`segpipe compare` writes a page and a table of two evaluations, and warns of different references."""

import json

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


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def rows_of(output):
    """Return the cells of the table's lines."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]


def test_a_table_has_the_direction_in_a_column(tmp_path):
    """The first model is worse in all eight cases."""
    random = np.random.default_rng(0)
    good = random.uniform(0.6, 0.9, 8)
    folders = write(tmp_path / "unet", good - 0.2, "abcdefgh"), write(tmp_path / "segnet", good, "abcdefgh")

    result = CliRunner().invoke(app, ["compare", *folders, "--metric", "dice"])

    tumour, mean = (row for row in rows_of(result.stdout) if row[1] == "Dice")
    assert tumour[0] == "tumour"
    assert tumour[2:4] == [f"{np.mean(good) - 0.2:.3f}", f"{np.mean(good):.3f}"]
    assert tumour[4:] == ["-0.200", "8", "worse"]
    assert mean[0] == "mean of classes"
    assert "unet is" in result.stdout


def test_equal_models_get_no_words(tmp_path):
    folders = [write(tmp_path / name, [0.8, 0.7, 0.9], "abc") for name in ("unet", "segnet")]

    result = CliRunner().invoke(app, ["compare", *folders])

    assert result.stdout.splitlines()[-1] == "No difference has an interval that leaves out 0"
    assert "no clear difference" in result.stdout
    assert "HD95" not in result.stdout  # no case has one


def test_words_and_what_is_left_out(folders):
    result = CliRunner().invoke(app, ["compare", *folders])

    assert result.exit_code == 0
    assert (
        "Dice, tumour: unet is 0.1 above segnet (95 % interval 0.1 to 0.1, 3 cases): the interval leaves out 0, "
        "but a sign-flip test says p = 0.25: these cases do not show which model is better."
    ) in result.stdout.splitlines()
    assert result.stderr == "1 case of segnet alone is left out: d\n"


def test_names_and_metrics(folders):
    arguments = ["compare", *folders, "--name", "U-Net", "--name", "SegNet", "--metric", "dice"]

    result = CliRunner().invoke(app, arguments)

    assert [line.split(" is ")[0] for line in result.stdout.splitlines() if line.startswith("Dice")] == [
        "Dice, tumour: U-Net",
        "Dice, mean of classes: U-Net",
    ]


def test_a_page_of_both(folders, tmp_path):
    result = CliRunner().invoke(app, ["compare", *folders, "--output", str(tmp_path / "both")])

    assert result.exit_code == 0
    assert f"{tmp_path}/both/comparison.html" in result.stdout
    assert "<h1>unet against segnet</h1>" in (tmp_path / "both" / "comparison.html").read_text()


def test_an_output_that_cannot_be_written_is_one_message(folders, tmp_path):
    result = CliRunner().invoke(app, ["compare", *folders, "--output", f"{folders[0]}/metrics.csv"])

    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"{folders[0]}/metrics.csv is no folder; choose another output folder" in result.stderr


def test_what_an_evaluation_warned_of_is_said_again(folders, tmp_path):
    summary = {"about": {"warnings": ["NOT HELD OUT: all of it"]}, "tolerance_mm": 1.0}
    (tmp_path / "segnet" / "summary.json").write_text(json.dumps(summary))

    result = CliRunner().invoke(app, ["compare", *folders])

    assert "WARNING: segnet: NOT HELD OUT: all of it" in result.stderr


def test_other_references_are_warned_of(folders, tmp_path):
    """References may differ although their volumes are equal."""
    for name, third in (("unet", "3"), ("segnet", "4")):
        summary = {"references_sha256": {"a": "1", "b": "2", "c": third}, "tolerance_mm": 1.0}
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))

    result = CliRunner().invoke(app, ["compare", *folders])

    assert "WARNING: Not comparable: the two were scored against different references in 1 case: c." in (
        result.stderr
    )


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"about": [1]}',
        '{"about": {"warnings": 3}}',
        '{"about": {"weights": [1]}}',
        '{"about": {"manifest": {"name": "a"}}}',
        '{"tolerance_mm": "1"}',
        '{"colors": {"tumour": 1}}',
        '{"references_sha256": []}',
    ],
)
def test_an_invalid_summary_is_refused(folders, tmp_path, text):
    (tmp_path / "segnet" / "summary.json").write_text(text)

    result = CliRunner().invoke(app, ["compare", *folders])

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "summary.json" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "one"], "--name one: must be two names that differ"),
        (["--name", "a", "--name", "a"], "--name a, a: must be two names that differ"),
        (["--metric", "f1"], "--metric f1: there are dice, iou"),
    ],
)
def test_invalid_options_are_refused(folders, arguments, message):
    result = CliRunner().invoke(app, ["compare", *folders, *arguments])

    assert result.exit_code == 2
    assert message in result.stderr


def test_a_folder_without_scores(folders, tmp_path):
    result = CliRunner().invoke(app, ["compare", folders[0], str(tmp_path)])

    assert result.exit_code == 2
    assert "metrics.csv: cannot be read" in result.stderr

"""`segpipe evaluate`"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.volumes import Grid, write_label_map

SEGPIPE = Path(sys.executable).with_name("segpipe")  # of this environment, whatever PATH says


def write(path, values):
    labels = np.array(values, np.uint8).reshape(-1, 1, 1)
    write_label_map(labels, Grid.from_affine(labels.shape, np.eye(4)), path)


@pytest.fixture
def arguments(tmp_path):
    """One case with Dice 2/3 for the class of value 1."""
    write(tmp_path / "p" / "a.nii.gz", [0, 1, 0])
    write(tmp_path / "r" / "a.nii.gz", [0, 1, 1])
    return ["evaluate", "--predictions", str(tmp_path / "p"), "--references", str(tmp_path / "r")]


def test_table_and_file(arguments, tmp_path):
    rows = [
        {"index": index, "name": name, "color": [0, 0, 0], "value": index}
        for index, name in enumerate(["background", "tumour"])
    ]
    (tmp_path / "metadata.json").write_text(json.dumps({"label_table": rows}))

    result = CliRunner().invoke(
        app, [*arguments, "--labels", str(tmp_path / "metadata.json"), "--output", str(tmp_path / "out")]
    )

    assert result.exit_code == 0
    assert "tumour" in result.stdout
    assert "0.6667" in result.stdout
    assert (tmp_path / "out" / "metrics.csv").read_text() == "case,dice_tumour,mean\na,0.666667,0.666667\n"


def test_a_reference_without_prediction_is_named_and_exits_with_1(arguments, tmp_path):
    write(tmp_path / "r" / "lost.nii.gz", [1])
    write(tmp_path / "p" / "extra.nii.gz", [1])

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 1
    assert "no prediction for the reference lost: it is in no mean" in result.stderr
    assert "no reference for the prediction extra" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "metadata.json: has no label_table; give the metadata.json of a segpipe bundle"),
        ("[]", "metadata.json: has no label_table"),
        ("{", "metadata.json: is not JSON"),
        ('{"label_table": []}', "metadata.json: label table: needs the background"),
        (None, "metadata.json: cannot be read: No such file"),
    ],
)
def test_labels_that_are_none(arguments, tmp_path, text, message):
    if text is not None:
        (tmp_path / "metadata.json").write_text(text)

    result = CliRunner().invoke(app, [*arguments, "--labels", str(tmp_path / "metadata.json")])

    assert result.exit_code == 2
    assert message in result.stderr


def test_as_a_process(arguments):
    result = subprocess.run([SEGPIPE, *arguments], capture_output=True, text=True, check=True)

    assert "0.6667" in result.stdout
    assert result.stderr == ""

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
    assert "0.667" in result.stdout
    header, row = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    assert header.startswith("case,patient,class,dice,")
    assert row.startswith("a,,tumour,0.666666667,")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["classes"]["tumour"]["dice"]["mean"] == pytest.approx(2 / 3)


def test_means_have_intervals_of_patients(arguments, tmp_path):
    for name, voxels in (("p1_b", [0, 1, 1]), ("p2_a", [1, 1, 1]), ("p2_b", [0, 0, 1])):
        write(tmp_path / "p" / f"{name}.nii.gz", voxels)
        write(tmp_path / "r" / f"{name}.nii.gz", [0, 1, 1])
    for side in ("p", "r"):
        (tmp_path / side / "a.nii.gz").rename(tmp_path / side / "p1_a.nii.gz")

    known = CliRunner().invoke(app, [*arguments, "--patient", "{patient}_*"])
    unknown = CliRunner().invoke(app, arguments)

    assert known.exit_code == unknown.exit_code == 0, known.output
    # 2/3 and 1, then 4/5 and 2/3
    for result in (known, unknown):
        assert "0.783" in result.stdout
    assert "(patients are drawn)" in known.stdout
    assert "as if each were of another patient" in unknown.stdout
    assert known.stdout.split("Means")[0] != unknown.stdout.split("Means")[0]


def test_one_case_has_no_interval(arguments):
    assert "Means, of too few patients for an interval;" in CliRunner().invoke(app, arguments).stdout


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

    assert "0.667" in result.stdout
    assert result.stderr == ""

"""`segpipe evaluate` scores folders of label maps, or a bundle on a manifest."""

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import SIZE, write_bundle, write_scan, write_weights
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.dataset.reports import content_sha256
from segpipe.volumes import Grid, read_volume, write_label_map

SEGPIPE = Path(sys.executable).with_name("segpipe")  # of this environment, whatever PATH says


def write(path, values):
    labels = np.array(values, np.uint8).reshape(-1, 1, 1)
    write_label_map(labels, Grid.from_affine(labels.shape, np.eye(4)), path)


@pytest.fixture
def arguments(tmp_path):
    """The command's arguments for one case with Dice 2/3 of the class with value 1."""
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
    assert "each counted as one patient" in unknown.stdout
    assert "(patients are drawn; with so few they are too narrow)" in known.stdout
    assert known.stdout.split("Means")[0] != unknown.stdout.split("Means")[0]


@pytest.mark.parametrize("place", ["file", "file/below", "folder"])
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_scored(arguments, tmp_path, place):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder" / "summary.json").mkdir(parents=True)
    (tmp_path / "p" / "a.nii.gz").write_text("damaged")  # which scoring would refuse

    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / place)])

    assert result.exit_code == 2
    assert result.stderr.startswith(f"segpipe: {tmp_path / place}")
    assert "nothing can be written there" in result.stderr or "is a folder" in result.stderr


def test_scans_that_do_not_fit_leave_the_results_of_before(arguments, tmp_path):
    output = ["--output", str(tmp_path / "out")]
    CliRunner().invoke(app, [*arguments, *output])
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write(tmp_path / "p" / "a.nii.gz", [0, 1, 1])
    write(tmp_path / "scans" / "a.nii.gz", [1, 2, 3, 4])

    result = CliRunner().invoke(app, [*arguments, *output, "--images", str(tmp_path / "scans")])

    assert (result.exit_code, "grid" in result.stderr) == (2, True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_scans_are_found_by_name_and_nnunets_by_its_number(arguments, tmp_path):
    output = ["--output", str(tmp_path / "out"), "--images", str(tmp_path / "scans")]
    write(tmp_path / "scans" / "other.nii.gz", [1, 2, 3])

    none = CliRunner().invoke(app, [*arguments, *output])
    write(tmp_path / "scans" / "a_0000.nii.gz", [1, 2, 3])
    numbered = CliRunner().invoke(app, [*arguments, *output])
    for side in ("p", "r"):
        write(tmp_path / side / "b.nii.gz", [0, 1, 1])
    some = CliRunner().invoke(app, [*arguments, *output])

    assert (none.exit_code, none.stdout) == (2, "")
    assert "no scan has the name of a case: other against a; names are" in none.stderr
    assert (numbered.exit_code, numbered.stderr) == (0, "")
    assert some.stderr == f"1 case drawn without a scan, as {tmp_path / 'scans'} has none: b\n"
    assert "For 1 of 2 cases no scan was given" in (tmp_path / "out" / "report.html").read_text()


def test_the_scan_of_another_case_is_no_first_channel(arguments, tmp_path):
    for side in ("p", "r"):
        write(tmp_path / side / "a_0000.nii.gz", [0, 1, 1])
    write(tmp_path / "scans" / "a_0000.nii.gz", [1, 2, 3])

    result = CliRunner().invoke(
        app, [*arguments, "--output", str(tmp_path / "out"), "--images", str(tmp_path / "scans")]
    )

    assert "1 case drawn without a scan" in result.stderr


def test_letters_with_accents_are_the_same_however_they_are_composed(arguments, tmp_path):
    """A Mac writes decomposed letters into an archive."""
    for side, form in (("p", "NFC"), ("r", "NFD")):
        (tmp_path / side / "a.nii.gz").rename(tmp_path / side / f"{unicodedata.normalize(form, 'fä')}.nii.gz")

    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_two_references_have_two_hashes(arguments, tmp_path):
    hashes = []
    for number, voxels in enumerate(([0, 1, 1], [1, 1, 0], [0, 1, 1])):
        write(tmp_path / "r" / "a.nii.gz", voxels)
        CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / f"{number}")])
        hashes.append(
            json.loads((tmp_path / f"{number}" / "summary.json").read_text())["references_sha256"]["a"]
        )

    assert hashes[0] == hashes[2] != hashes[1]


def test_one_case_has_no_interval(arguments):
    assert "Means; too few patients for an interval;" in CliRunner().invoke(app, arguments).stdout


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
        (None, "metadata.json: cannot be read (No such file"),
    ],
)
def test_an_invalid_label_table_is_refused(arguments, tmp_path, text, message):
    if text is not None:
        (tmp_path / "metadata.json").write_text(text)

    result = CliRunner().invoke(app, [*arguments, "--labels", str(tmp_path / "metadata.json")])

    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "evaluate: got no option; give two folders (--predictions and --references), or a bundle"),
        (["--predictions", "p"], "evaluate: got --predictions; give two folders"),
        (["--bundle", "b", "--manifest", "m"], "evaluate: got --bundle, --manifest; give two folders"),
        (
            [
                "--bundle",
                "b",
                "--manifest",
                "m",
                "--output",
                "o",
                "--patient",
                "{patient}_*",
                "--images",
                "i",
            ],
            "evaluate: --images, --patient cannot be combined with --bundle and --manifest; leave out one or the other",
        ),
        (
            ["--predictions", "p", "--references", "r", "--card", "--split", "0"],
            "evaluate: --split, --card cannot be combined with --predictions and --references",
        ),
        (
            ["--bundle", "b", "--manifest", "m", "--output", "o", "--group", "infected"],
            "--group infected: must be NAME=CLASS,CLASS",
        ),
        (["--bundle", "b", "--manifest", "m", "--output", "o"], "manifest 'm' is neither a file nor shipped"),
    ],
)
def test_options_that_exclude_each_other_are_one_message(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("b").mkdir()  # a bundle that is not there is refused before

    result = CliRunner().invoke(app, ["evaluate", *arguments])

    assert result.exit_code == 2
    assert result.stderr.startswith(f"segpipe: {message}")
    assert result.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a bundle, and the manifest of its two training cases; case b has no scan."""
    folder = tmp_path_factory.mktemp("trained")
    cases = []
    for seed, name in enumerate("ab"):
        write_scan(folder / f"{name}.nii.gz", seed)
        write_label_map(
            np.ones(SIZE, np.uint8), Grid.from_affine(SIZE, np.eye(4)), folder / f"{name}_seg.nii.gz"
        )
        cases.append(Case(name, (f"{name}.nii.gz",), f"{name}_seg.nii.gz", patient=name))
    labels = {0: "background", 1: "anterior", 2: "posterior"}
    manifest = Manifest("noise", ("MRI",), labels, tuple(cases), dataset_dir=str(folder))
    write_manifest(manifest, folder / "noise.json")
    bundle = write_bundle(folder / "tiny")
    shown = {"a": content_sha256([read_volume(folder / "a.nii.gz")])}
    write_weights(bundle, bundle / "models" / "model.pt", 0, cases=shown)
    (folder / "b.nii.gz").write_bytes(b"no scan")
    return bundle, folder / "noise.json"


def test_a_bundle_on_a_manifest_says_what_failed_and_what_was_trained_on(trained, tmp_path):
    bundle, manifest = trained
    arguments = ["--bundle", str(bundle), "--manifest", str(manifest), "--split", "train"]

    result = CliRunner().invoke(
        app, ["evaluate", *arguments, "--precision", "float32", "--output", str(tmp_path / "out")]
    )

    assert result.exit_code == 1
    assert "WARNING: NOT HELD OUT: the weights were trained on 1 of these 1 cases (a)." in result.stderr
    assert "no prediction for the reference b: it is in no mean: b.nii.gz: " in result.stderr
    assert (
        "WARNING: 2 classes are in predictions and in no reference: background (in 1), posterior"
        in result.stderr
    )
    assert "cases: 1" in result.stdout
    for name in ("metrics.csv", "summary.json", "report.html"):
        assert f"{tmp_path}/out/{name}" in result.stdout.replace("\n", "")
        assert (tmp_path / "out" / name).is_file()


def test_a_card_of_cases_that_were_trained_on_is_refused(trained, tmp_path):
    bundle, manifest = trained
    arguments = ["--bundle", str(bundle), "--manifest", str(manifest), "--split", "train", "--card"]

    result = CliRunner().invoke(app, ["evaluate", *arguments, "--output", str(tmp_path / "out")])

    assert result.exit_code == 2
    assert (
        "segpipe: --card: the weights were trained on 1 of these 1 cases (a): such scores say nothing"
        in result.stderr
    )


def test_two_codings_of_one_class_are_refused_until_the_values_are_mapped(arguments, tmp_path):
    write(tmp_path / "r" / "a.nii.gz", [0, 255, 255])

    refused = CliRunner().invoke(app, arguments)
    mapped = CliRunner().invoke(
        app, [*arguments, "--reference-value", "255=1", "--output", str(tmp_path / "out")]
    )

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "add --reference-value 255=1;" in refused.stderr
    assert (mapped.exit_code, mapped.stderr) == (0, "")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["classes"]["1"]["dice"]["mean"] == pytest.approx(2 / 3)
    assert summary["about"]["values of references"] == "255 counted as 1"


def test_a_class_of_one_side_stands_at_the_head(arguments, tmp_path):
    for number in (3, 1):
        write(tmp_path / "r" / f"b{number}.nii.gz", [0, 1, number])
        write(tmp_path / "p" / f"b{number}.nii.gz", [0, 1, 0] if number == 3 else [0, 1, 1])

    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "out")])

    warning = "Class 3 is in 1 reference and in no prediction."
    assert (result.exit_code, result.stderr) == (0, f"WARNING: {warning}\n")
    page = (tmp_path / "out" / "report.html").read_text()
    assert 0 < page.index(warning) < page.index("<h2>Scores</h2>")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["classes_of_one_side"] == [{"name": "3", "predictions": 0, "references": 1}]
    assert summary["about"]["warnings"] == [warning]


def test_shifted_values_are_doubted_and_can_be_mapped(arguments, tmp_path):
    write(tmp_path / "p" / "a.nii.gz", [0, 1, 2])
    write(tmp_path / "r" / "a.nii.gz", [0, 2, 3])
    options = ["--reference-value", "2=1", "--reference-value", "3=2"]

    doubted = CliRunner().invoke(app, arguments)
    mapped = CliRunner().invoke(app, [*arguments, *options])

    assert f"evaluate again and add {' '.join(options)} (paired" in doubted.stderr
    assert (mapped.exit_code, mapped.stderr) == (0, "")
    assert "1.000" in mapped.stdout


def test_predictions_of_background_alone_are_scored(arguments, tmp_path):
    write(tmp_path / "p" / "a.nii.gz", [0, 0, 0])

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0
    one_class, one_side = result.stderr.splitlines()
    assert one_class.startswith("WARNING: 1 of 1 prediction is background everywhere: a.")
    assert one_side == "WARNING: Class 1 is in 1 reference and in no prediction."


@pytest.mark.parametrize(
    ("mappings", "message"),
    [
        (["255"], "--reference-value 255: must be STORED=VALUE, two whole numbers, such as 255=1"),
        (["255=tumour"], "--reference-value 255=tumour: must be STORED=VALUE"),
        (["1=1", "1=2"], "--reference-value: 1 is given as 1 and as 2; leave one of them"),
    ],
)
def test_invalid_mappings_are_refused(arguments, mappings, message):
    result = CliRunner().invoke(app, [*arguments, *(f"--reference-value={text}" for text in mappings)])

    assert result.exit_code == 2
    assert result.stderr.startswith(f"segpipe: {message}")


@pytest.mark.slow
def test_as_a_process(arguments):
    result = subprocess.run([SEGPIPE, *arguments], capture_output=True, text=True, check=True)

    assert "0.667" in result.stdout
    assert result.stderr == ""


def test_png_has_no_columns_of_millimetres(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    for folder in ("p", "r"):
        labels = np.zeros((8, 6), np.uint8)
        labels[2:5, 1:4] = 1
        path = tmp_path / folder / "a.png"
        write_label_map(labels, Grid.from_affine((8, 6), np.diag([-1, -1, 1, 1])), path)
    arguments = ["--predictions", str(tmp_path / "p"), "--references", str(tmp_path / "r")]

    result = CliRunner().invoke(app, ["evaluate", *arguments, "--output", str(tmp_path / "scores")])

    assert result.exit_code == 0
    assert "Dice" in result.stdout
    assert "mm" not in result.stdout.replace("summary", "")
    page = (tmp_path / "scores" / "report.html").read_text()
    assert "<th>HD95, mm</th>" not in page
    assert "PNG and JPEG have no spacing in mm" in page

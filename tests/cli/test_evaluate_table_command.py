"""`segpipe evaluate` of a table of predictions, and `segpipe compare` of two such evaluations."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.manifest_files import write_manifest
from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.metrics import METRICS

COUNT = 40
NAMES = ("CNV", "NORMAL")


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def manifest(tmp_path):
    cases = tuple(
        Case(
            f"i{number}",
            (f"{NAMES[number % 2]}/{number}.png",),
            patient=f"p{number}",
            classes=(NAMES[number % 2],),
            fold=number // 20,
        )
        for number in range(COUNT)
    )
    path = tmp_path / "oct.json"
    write_manifest(Manifest("oct", ("OCT",), dict(enumerate(NAMES)), cases, target="class"), path)
    return path


def table(folder, seed=0, margin=2.0, rows=range(COUNT)):
    folder.mkdir()
    random = np.random.default_rng(seed)
    lines = ["image,p_CNV,p_NORMAL,top1,decision,warnings"]
    for number in range(COUNT):
        score = margin * (1 - 2 * (number % 2)) + random.normal(0, 2)
        share = 1 / (1 + np.exp(-score))
        decision = NAMES[int(share < 0.5)]
        if number in rows:
            lines.append(
                f"{NAMES[number % 2]}/{number}.png,{share:.6f},{1 - share:.6f},{decision},{decision},"
            )
    path = folder / "predictions.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def evaluated(predictions, manifest, output, *more):
    return run("evaluate", "--predictions", predictions, "--references", manifest, "-o", output, *more)


def test_scores_and_files(manifest, tmp_path):
    result = evaluated(table(tmp_path / "a"), manifest, tmp_path / "out")

    assert result.exit_code == 0, result.output
    assert "images: 40" in result.stdout
    assert "mean AUROC" in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.csv",
        "summary.json",
        "report.html",
    }
    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert content["about"]["manifest"]["name"] == "oct"
    assert content["patients"] == COUNT
    assert "ece_before" not in content["overall"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The thresholds are not known" in page
    assert "The probabilities before the temperature are not known." in page


def test_missing_rows_are_counted(manifest, tmp_path):
    result = evaluated(table(tmp_path / "a", rows=range(38)), manifest, tmp_path / "out")

    assert result.exit_code == 1
    assert "no prediction for i38: it is in no score: no row of the table is of it" in result.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["without_prediction"] == ["i38", "i39"]


def test_a_part_of_the_manifest(manifest, tmp_path):
    result = evaluated(table(tmp_path / "a", rows=range(20)), manifest, tmp_path / "out", "--split", "0")

    assert result.exit_code == 0, result.output
    assert "images: 20" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "x.json"), "--labels cannot be combined with a table of a classification"),
        (("--images", "x"), "--images cannot be combined with a table"),
        (("--bundle", ".", "--card"), "--bundle, --card cannot be combined with a table"),
        (("--part", "test"), "--part test is given, but test is no named split"),
    ],
)
def test_options_of_other_forms_are_refused(manifest, tmp_path, options, message):
    result = evaluated(table(tmp_path / "a"), manifest, tmp_path / "out", *options)

    assert message in result.stderr


def test_a_manifest_of_label_maps_is_refused(tmp_path):
    case = Case("a", ("a.png",), label="a_label.png")
    path = tmp_path / "masks.json"
    write_manifest(Manifest("masks", ("CT",), {0: "background", 1: "liver"}, (case,)), path)

    result = evaluated(table(tmp_path / "a"), path, tmp_path / "out")

    assert "masks: its target is mask" in result.stderr


def test_two_models_are_compared(manifest, tmp_path):
    for name, margin in (("weak", 0.5), ("strong", 6.0)):
        evaluated(table(tmp_path / f"of_{name}", len(name), margin), manifest, tmp_path / name)

    result = run("compare", tmp_path / "weak", tmp_path / "strong", "-o", tmp_path / "page")

    assert result.exit_code == 0, result.output
    assert "40 images scored for both" in result.stdout
    assert "McNemar, exact: p = " in result.stdout
    assert "DeLong: p = " in result.stdout
    assert "AUROC, CNV: strong is 0." in result.stdout
    assert "strong is better." in result.stdout
    assert (tmp_path / "page" / "comparison.html").is_file()


def test_one_metric(manifest, tmp_path):
    evaluated(table(tmp_path / "a"), manifest, tmp_path / "out")

    chosen = run(
        "compare", tmp_path / "out", tmp_path / "out", "--metric", "npv", "--name", "a", "--name", "b"
    )
    unknown = run(
        "compare", tmp_path / "out", tmp_path / "out", "--metric", "dice", "--name", "a", "--name", "b"
    )

    assert "NPV" in chosen.stdout
    assert "AUROC" not in chosen.stdout
    assert "--metric dice: there are accuracy, exact_match, balanced_accuracy" in unknown.stderr


def test_two_tasks_are_refused(manifest, tmp_path):
    evaluated(table(tmp_path / "a"), manifest, tmp_path / "out")
    (tmp_path / "masks").mkdir()
    scores = CaseScores(("a",), None, ("tumour",), np.zeros((1, len(METRICS), 1)))
    (tmp_path / "masks" / "metrics.csv").write_text(scores.as_csv())

    mixed = run("compare", tmp_path / "out", tmp_path / "masks")
    missing = run("compare", tmp_path / "out", tmp_path / "nothing")

    assert mixed.stderr.strip() == (
        f"segpipe: comparison: {tmp_path / 'out'} has the scores of a classification, and {tmp_path / 'masks'} those "
        "of a segmentation; compare two evaluations of one task"
    )
    assert "nothing: cannot be read" in missing.stderr


def test_other_images_are_refused(manifest, tmp_path):
    evaluated(table(tmp_path / "a"), manifest, tmp_path / "whole")
    evaluated(table(tmp_path / "b", rows=range(30)), manifest, tmp_path / "less")

    result = run("compare", tmp_path / "whole", tmp_path / "less")

    assert "the images differ: 10 images of the first model alone (i30, i31, i32 and 7 more)" in result.stderr

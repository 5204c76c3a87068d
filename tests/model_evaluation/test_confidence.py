"""The expected Dice, calibrated by the command on held-out cases of two folds, and used by `predict`."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from tiny_bundle import SIZE, write_bundle, write_scan, write_weights
from typer.testing import CliRunner

from segpipe import PredictOptions, predict
from segpipe.bundle.promote import promote
from segpipe.bundle.source import BundleSource
from segpipe.cli import app
from segpipe.confidence import ConfidenceCalibration, confidence_path
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.dataset.reports import content_sha256
from segpipe.files import file_sha256
from segpipe.model_evaluation.evaluate import evaluate
from segpipe.model_evaluation.options import EvaluateOptions
from segpipe.volumes import Grid, read_volume, write_label_map

pytestmark = pytest.mark.slow

GRID = Grid.from_affine(SIZE, np.eye(4))
FOLDS = {f"case_{number:02}": number % 2 for number in range(46)}
EXACT = PredictOptions(precision="float32", overlays=False)
EXPECTED = ["expected_dice", "expected_dice_low", "expected_dice_high", "millilitres_low", "millilitres_high"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle, runs of two folds, and references that lack a random part of each run's own label map."""
    folder = tmp_path_factory.mktemp("folds")
    root = write_bundle(folder / "bundle")
    scans = {case: write_scan(folder / "data" / f"{case}.nii.gz", seed) for seed, case in enumerate(FOLDS)}
    contents = {case: content_sha256([read_volume(path)]) for case, path in scans.items()}
    for fold in (0, 1):
        weights = write_weights(
            root,
            folder / f"fold{fold}" / "best.pt",
            0,
            fold=fold,
            manifest={"name": "noise"},
            cases={case: content for case, content in contents.items() if FOLDS[case] != fold},
            validation_cases={case: content for case, content in contents.items() if FOLDS[case] == fold},
        )
        own = [path for case, path in scans.items() if FOLDS[case] == fold]
        predict(own, BundleSource(root, weights=[weights]), folder / "raw", options=EXACT)
    random = np.random.default_rng(0)
    for case in FOLDS:
        labels = read_volume(folder / "raw" / f"{case}.nii.gz").array.copy()
        labels[random.uniform(size=labels.shape) < random.uniform(0, 0.4)] = 0
        write_label_map(labels, GRID, folder / "data" / "truth" / f"{case}.nii.gz")
    cases = [
        Case(case, (f"{case}.nii.gz",), f"truth/{case}.nii.gz", patient=case, fold=fold)
        for case, fold in FOLDS.items()
    ]
    values = {0: "background", 1: "anterior", 2: "posterior"}
    manifest = Manifest("noise", ("MRI",), values, tuple(cases), dataset_dir=str(folder / "data"))
    write_manifest(manifest, folder / "noise.json")
    return folder


@pytest.fixture(scope="module")
def calibrated(made):
    """The bundle after the command, and the command's result."""
    result = invoke(made, made / "bundle")
    assert result.exit_code == 0, result.stderr
    return made / "bundle", result


def invoke(made, bundle, *arguments, folds=(0, 1)):
    weights = [part for fold in folds for part in ("--fold-weights", str(made / f"fold{fold}" / "best.pt"))]
    command = [
        "confidence",
        str(bundle),
        "--manifest",
        str(made / "noise.json"),
        *weights,
        "--precision",
        "float32",
    ]
    return CliRunner().invoke(app, [*command, *arguments], env={"COLUMNS": "160"})


def rows_of(folder):
    with (folder / "volumes.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_command_prints_how_good_it_is_and_writes_beside_the_weights(calibrated):
    bundle, result = calibrated

    path = bundle / "models" / "model.confidence.json"
    content = json.loads(path.read_text())
    assert result.stdout.splitlines()[-1] == str(path)
    assert "Predicted Dice on each fold, calibrated on the others" in result.stdout
    assert set(content["targets"]) == {"anterior", "posterior"}
    assert content["targets"]["anterior"]["cases"] == 46
    assert set(content["about"]["folds"]) == {"fold 0", "fold 1"}
    assert {name: content["settings"][name] for name in ("flips", "number_format", "locator")} == {
        "flips": [],
        "number_format": "floating point",
        "locator": False,
    }


def test_predict_writes_what_it_expects(calibrated, made, tmp_path):
    bundle, _ = calibrated

    predict(made / "data" / "case_00.nii.gz", bundle, tmp_path, options=EXACT)

    for row in rows_of(tmp_path):
        dice, low, high, least, most = (float(row[name]) for name in EXPECTED)
        assert 0 <= low <= dice <= high <= 1
        assert least < most
        assert row["expected_note"] == ""


def test_a_second_run_keeps_the_expected_dice(calibrated, made, tmp_path):
    """The ledger holds it; a run without the calibration is another recipe, and its table has no such columns."""
    bundle, _ = calibrated
    shutil.copytree(bundle, tmp_path / "bundle")
    scan = made / "data" / "case_00.nii.gz"
    predict(scan, tmp_path / "bundle", tmp_path / "out", options=EXACT)
    first = rows_of(tmp_path / "out")

    (again,) = predict(scan, tmp_path / "bundle", tmp_path / "out", options=EXACT)
    assert again.outcome.value == "skipped"
    assert rows_of(tmp_path / "out") == first

    (tmp_path / "bundle" / "models" / "model.confidence.json").unlink()
    (without,) = predict(scan, tmp_path / "bundle", tmp_path / "out", options=EXACT)
    assert without.outcome.value == "done"
    assert "expected_dice" not in rows_of(tmp_path / "out")[0]


def test_the_end_of_the_output_names_the_lowest(calibrated, made, tmp_path):
    bundle, _ = calibrated
    command = ["predict", str(made / "data" / "case_00.nii.gz"), "--bundle", str(bundle), "-o", str(tmp_path)]
    plain = ["--no-overlays", "--precision", "float32", "--engine", "torch"]

    result = CliRunner().invoke(app, [*command, *plain], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.stderr
    assert "Lowest expected Dice: look at these label maps" in " ".join(result.stdout.split())
    lowest = min(float(row["expected_dice"]) for row in rows_of(tmp_path))
    assert f"{lowest:.3f}" in result.stdout

    mirrored = CliRunner().invoke(app, [*command, *plain, "--mirror", "0"], env={"COLUMNS": "160"})
    assert mirrored.exit_code == 0, mirrored.stderr
    assert "2 rows of volumes.csv without expected Dice: not predicted: flips is [0]" in mirrored.stdout


def test_an_evaluation_compares_the_expected_dice_with_the_true_one(calibrated, made, tmp_path):
    bundle, _ = calibrated

    evaluate(bundle, str(made / "noise.json"), tmp_path, EvaluateOptions(split="0", precision="float32"))

    about = json.loads((tmp_path / "summary.json").read_text())["about"]
    assert set(about["expected"]) == {"anterior", "posterior"}
    found = about["expected"]["anterior"]
    assert found["cases"] == 23
    assert 0.8 <= found["dice_coverage"] <= 1
    page = (tmp_path / "report.html").read_text()
    assert "Dice that was expected without the references" in page
    assert f"mean absolute error {found['error']:.3f} in 23 cases" in page


def test_other_settings_have_no_expected_dice(calibrated, made, tmp_path):
    bundle, _ = calibrated
    mirrored = PredictOptions(precision="float32", overlays=False, flips=(0,))

    predict(made / "data" / "case_00.nii.gz", bundle, tmp_path, options=mirrored)

    for row in rows_of(tmp_path):
        assert row["expected_dice"] == ""
        assert row["expected_note"] == (
            "not predicted: flips is [0], and was [] when the confidence was calibrated"
        )


def test_other_steps_after_the_network_have_no_expected_dice(calibrated, made, tmp_path):
    """A step that segpipe postprocess has written since changes the Dice."""
    bundle, _ = calibrated
    shutil.copytree(bundle, tmp_path / "bundle")
    path = tmp_path / "bundle" / "configs" / "inference.yaml"
    content = yaml.safe_load(path.read_text())
    step = {"_target_": "monai.transforms.KeepLargestConnectedComponentd", "keys": "pred"}
    content["postprocessing"]["transforms"].insert(-1, step)
    path.write_text(yaml.safe_dump(content))

    predict(made / "data" / "case_00.nii.gz", tmp_path / "bundle", tmp_path / "out", options=EXACT)

    for row in rows_of(tmp_path / "out"):
        assert row["expected_dice"] == ""
        assert row["expected_note"].startswith("not predicted: postprocessing is ")


def test_a_calibration_of_other_weights_is_refused(calibrated, made, tmp_path):
    bundle, _ = calibrated
    shutil.copytree(bundle, tmp_path / "bundle")
    write_weights(tmp_path / "bundle", tmp_path / "bundle" / "models" / "model.pt", 5)
    command = [
        "predict",
        str(made / "data"),
        "--bundle",
        str(tmp_path / "bundle"),
        "-o",
        str(tmp_path / "out"),
    ]

    result = CliRunner().invoke(app, command)

    assert result.exit_code == 2
    assert "model.confidence.json: was made for other weights" in result.stderr


def test_runs_of_another_configuration_are_refused(made, tmp_path):
    shutil.copytree(made / "bundle", tmp_path / "bundle", ignore=shutil.ignore_patterns("*.confidence.json"))
    weights = tmp_path / "bundle" / "models" / "model.pt"
    write_weights(tmp_path / "bundle", weights, 0, configuration={"epochs": 9})

    result = invoke(made, tmp_path / "bundle")

    assert result.exit_code == 2
    assert "different configurations, first epochs: None and 9" in " ".join(result.stderr.split())
    assert not weights.with_suffix(".confidence.json").exists()


def test_an_ensemble_is_refused(made):
    both = [part for fold in (0, 1) for part in ("--weights", str(made / f"fold{fold}" / "best.pt"))]

    result = invoke(made, made / "bundle", *both)

    assert result.exit_code == 2
    assert "an ensemble's scores are less certain" in result.stderr


def test_one_fold_is_enough_to_calibrate_and_too_few_to_assess(made, tmp_path):
    shutil.copytree(made / "bundle", tmp_path / "bundle", ignore=shutil.ignore_patterns("*.confidence.json"))

    result = invoke(made, tmp_path / "bundle", folds=(0,))

    assert result.exit_code == 0, result.stderr
    assert "too few folds or patients to show how good the prediction is" in result.stderr
    assert (tmp_path / "bundle" / "models" / "model.confidence.json").is_file()


def test_promote_copies_the_calibration_of_a_run_s_weights(calibrated, made, tmp_path):
    """A calibration of these weights is copied with the hash of the bundle's file; one of others is not."""
    bundle, _ = calibrated
    shutil.copytree(bundle, tmp_path / "bundle", ignore=shutil.ignore_patterns("model.confidence.json"))
    run = shutil.copytree(made / "fold0", tmp_path / "run") / "best.pt"
    calibration = ConfidenceCalibration.read(bundle / "models" / "model.confidence.json")
    calibration.of_weights([file_sha256(run)]).write(confidence_path([run], []))

    target = promote(run, tmp_path / "bundle", half=False, replace=True)

    copied = ConfidenceCalibration.read(target.with_suffix(".confidence.json"))
    assert copied == calibration.of_weights([file_sha256(target)])
    predict(made / "data" / "case_00.nii.gz", tmp_path / "bundle", tmp_path / "out", options=EXACT)
    assert {row["expected_note"] for row in rows_of(tmp_path / "out")} == {""}

    calibration.of_weights(["0" * 64]).write(confidence_path([run], []))
    promote(run, tmp_path / "bundle", replace=True)
    assert not target.with_suffix(".confidence.json").exists()

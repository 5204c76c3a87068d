"""Training cases are measured and scans compared with them, on files, with the tiny bundle."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from tiny_bundle import SIZE, noise, write_bundle, write_scan, write_weights
from typer.testing import CliRunner

import segpipe
from segpipe.bundle.source import BundleSource
from segpipe.cli import app
from segpipe.dataset import Case, Manifest, examine_cases, load_manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.files import read_json
from segpipe.model_evaluation.evaluate import evaluate
from segpipe.model_evaluation.options import EvaluateOptions
from segpipe.prediction import measured_ranges
from segpipe.prediction.measured_ranges import write_reference_ranges
from segpipe.prediction.options import PredictOptions
from segpipe.volumes import Grid, write_label_map, write_volume

CASES = 6
LABELS = {0: "background", 1: "anterior", 2: "posterior"}
MANIFEST = Manifest("noise", ("MRI",), LABELS, (Case("a", ("a.nii.gz",)),))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder of six cases of noise with their manifest."""
    folder = tmp_path_factory.mktemp("data")
    labels = np.zeros(SIZE, np.uint8)
    labels[4:8, 4:8, 4:8], labels[8:10, 4:8, 4:8] = 1, 2
    cases = []
    for number in range(CASES):
        name = f"case_{number}"
        write_scan(folder / f"{name}.nii.gz", number)
        write_label_map(labels, Grid.from_affine(SIZE, np.eye(4)), folder / f"{name}_seg.nii.gz")
        cases.append(Case(name, (f"{name}.nii.gz",), f"{name}_seg.nii.gz"))
    write_manifest(Manifest("noise", ("MRI",), LABELS, tuple(cases)), folder / "dataset.json")
    return folder


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Return a bundle with reference ranges."""
    bundle = write_bundle(tmp_path_factory.mktemp("bundles") / "whole")
    write_reference_ranges(bundle, data / "dataset.json", data)
    return bundle


@pytest.fixture
def scans(data, tmp_path):
    """Return two scans: one like the training cases, one smooth and with another spacing and other intensities."""
    folder = tmp_path / "scans"
    write_scan(folder / "good.nii.gz", 100)
    ramp = np.linspace(-5000, 9000, np.prod(SIZE)).reshape(SIZE).astype(np.float32)
    write_volume(ramp, Grid.from_affine(SIZE, np.diag([2.5, 1, 1, 1])), folder / "odd.nii.gz")
    return folder


def predicted(scans, bundle, out, **options):
    predictions = segpipe.predict(scans, bundle, out, options=PredictOptions(overlays=False, **options))
    return {prediction.case: prediction for prediction in predictions}


def test_limits_say_what_the_training_cases_were(whole, data):
    content = read_json(whole / "models" / "model.reference_ranges.json")

    assert content["cases"] == CASES
    assert content["patients"] == CASES
    assert content["ranges"]["spacing/x"] == [1, 1]
    assert content["ranges"]["extent/z"] == [SIZE[2], SIZE[2]]
    assert content["about"]["manifest"]["name"] == "noise"
    scans = [noise(seed=number) for number in range(CASES)]
    medians = [np.median(scan - scan.mean()) / scan.std() for scan in scans]
    assert content["ranges"]["normalised/median"] == pytest.approx([min(medians), max(medians)], abs=1e-4)
    assert not [name for name in content["ranges"] if name.startswith(("intensity", "scaled"))]


def test_a_scan_unlike_the_training_cases_is_warned_of(whole, scans, tmp_path):
    predictions = predicted(scans, whole, tmp_path / "out")

    assert predictions["good"].warnings == ()
    assert any(
        "voxel spacing in its header looks wrong: along x it is 2.5 mm" in w
        for w in predictions["odd"].warnings
    )
    assert any(w.startswith("roughness along") for w in predictions["odd"].warnings)


def test_warnings_stand_in_the_table_and_the_ledger(whole, scans, tmp_path):
    predictions = predicted(scans, whole, tmp_path / "out")

    with (tmp_path / "out" / "volumes.csv").open(newline="") as file:
        in_table = {row["case"]: row["warnings"] for row in csv.DictReader(file)}
    assert in_table == {"good": "", "odd": "; ".join(predictions["odd"].warnings)}
    lines = map(json.loads, (tmp_path / "out" / "predictions.jsonl").read_text().splitlines())
    assert {line["case"]: tuple(line["warnings"]) for line in lines} == {
        case: prediction.warnings for case, prediction in predictions.items()
    }
    assert "odd: the voxel spacing" in (tmp_path / "out" / "predict.log").read_text()


def test_what_was_done_keeps_its_warnings(whole, scans, tmp_path):
    first = predicted(scans, whole, tmp_path / "out")
    again = predicted(scans, whole, tmp_path / "out")

    assert [prediction.outcome for prediction in again.values()] == ["skipped", "skipped"]
    assert again["odd"].warnings == first["odd"].warnings


def test_label_maps_do_not_depend_on_limits(whole, scans, tmp_path):
    bare = write_bundle(tmp_path / "bare")

    for bundle in (whole, bare):
        predicted(scans, bundle, tmp_path / bundle.name)

    for name in ("good.nii.gz", "odd.nii.gz"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "bare" / name).read_bytes()


def test_without_limits_it_is_said_that_nothing_was_compared(scans, data, tmp_path):
    """With reference ranges, the same scans are segmented again, since the comparison is new."""
    bundle = write_bundle(tmp_path / "bare")
    before = predicted(scans, bundle, tmp_path / "out")
    table = (tmp_path / "out" / "volumes.csv").read_text()
    write_reference_ranges(bundle, data / "dataset.json", data)
    after = predicted(scans, bundle, tmp_path / "out")

    assert {prediction.warnings for prediction in before.values()} == {None}
    assert table.count("not compared with the training cases") == 4
    assert [prediction.outcome for prediction in after.values()] == ["done", "done"]
    assert after["odd"].warnings


def test_a_chain_of_monais_own_is_watched_too(data, scans, tmp_path):
    """segpipe cannot stream this sliding window, but measures its scores."""
    window = {
        "_target_": "monai.inferers.SlidingWindowInfererAdapt",
        "roi_size": "@window_size",
        "overlap": "@overlap",
    }
    bundle = write_bundle(
        tmp_path / "bundle",
        inferer={
            "_target_": "segpipe.inference.PrecisionInferer",
            "inferer": window,
            "precision": "@precision",
        },
    )
    write_reference_ranges(bundle, data / "dataset.json", data)

    predictions = predicted(scans, bundle, tmp_path / "out")

    assert "by MONAI's own chain" in predictions["good"].reason
    ranges = read_json(bundle / "models" / "model.reference_ranges.json")["ranges"]
    assert 0 < ranges["uncertainty"][0] <= ranges["uncertainty"][1] <= 1
    assert predictions["good"].warnings == ()
    assert predictions["odd"].warnings


def test_limits_of_other_weights_are_refused(whole, scans, tmp_path):
    bundle = write_bundle(tmp_path / "other", seed=1)
    (bundle / "models" / "model.reference_ranges.json").write_bytes(
        (whole / "models" / "model.reference_ranges.json").read_bytes()
    )

    with pytest.raises(SegpipeError, match=r"was made with other weights than .*model.pt; write it anew"):
        predicted(scans, bundle, tmp_path / "out")


def test_stale_limits_are_no_obstacle_to_new_ones(whole, data, tmp_path):
    bundle = write_bundle(tmp_path / "other", seed=1)
    stale = bundle / "models" / "model.reference_ranges.json"
    stale.write_bytes((whole / "models" / "model.reference_ranges.json").read_bytes())

    assert write_reference_ranges(bundle, data / "dataset.json", data) == stale
    assert read_json(stale) != read_json(whole / "models" / "model.reference_ranges.json")


def test_an_ensemble_has_limits_of_its_own(whole, data, scans, tmp_path):
    bundle = write_bundle(tmp_path / "both")
    weights = [
        bundle / "models" / "model.pt",
        write_weights(bundle, bundle / "models" / "second.pt", seed=2),
    ]
    path = write_reference_ranges(BundleSource(bundle, weights=weights), data / "dataset.json", data)

    predictions = segpipe.predict(
        scans, BundleSource(bundle, weights=weights), tmp_path / "out", options=PredictOptions(overlays=False)
    )

    assert path.name.startswith("ensemble-")
    assert not (bundle / "models" / "model.reference_ranges.json").exists()
    assert all(prediction.warnings is not None for prediction in predictions)


def content_of(path):
    """Return the content hash of an image in the sidecar's form."""
    facts = examine_cases(
        [Case("a", (path.name,))], path.parent, MANIFEST, MANIFEST.label_table(), progress=False
    )[0].facts
    return facts.content_sha256


def with_training(bundle, **cases):
    """Write the training cases of the weights into the sidecar."""
    sidecar = bundle / "models" / "model.json"
    content = read_json(sidecar)
    sidecar.write_text(json.dumps({**content, "training": cases}))


def test_a_manifest_without_a_training_case_is_refused(data, tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    with_training(bundle, cases={"case_0": "a", "case_9": "b"})

    with pytest.raises(SegpipeError, match=r"noise: has no case case_9, which .* was trained on"):
        write_reference_ranges(bundle, data / "dataset.json", data)


def test_another_image_of_the_same_name_is_refused(data, tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    with_training(bundle, cases={f"case_{number}": "a" for number in range(5)})

    with pytest.raises(
        SegpipeError, match=r"case_0: its image is not the image of this name on which .* was trained"
    ):
        write_reference_ranges(bundle, data / "dataset.json", data)


def contents_of(data):
    return {f"case_{number}": content_of(data / f"case_{number}.nii.gz") for number in range(CASES)}


@pytest.mark.parametrize(("validation", "cases"), [({"validation": {"dice": 0.5}}, 6), ({}, 5)])
def test_only_cases_that_made_the_weights_count(data, tmp_path, validation, cases):
    """Five cases are training cases; the sixth counts if it chose the epoch."""
    bundle = write_bundle(tmp_path / "bundle")
    contents = contents_of(data)
    validated = {"case_5": contents.pop("case_5")}
    with_training(bundle, cases=contents, validation_cases=validated, **validation)

    path = write_reference_ranges(bundle, data / "dataset.json", data)

    assert read_json(path)["cases"] == cases


def with_patients(data, patients, folder):
    """Write the manifest with these patients of its cases, and return its path."""
    manifest = load_manifest(data / "dataset.json")
    cases = [
        replace(case, patient=patient) for case, patient in zip(manifest.training, patients, strict=True)
    ]
    write_manifest(replace(manifest, training=tuple(cases)), folder / "patients.json")
    return folder / "patients.json"


@pytest.mark.parametrize(
    ("patients", "counted"), [("aabbcd", "6 training cases of 4 patients"), ("a" * 6, "of 1 ")]
)
def test_too_few_patients_are_refused_before_a_scan_is_read(data, tmp_path, patients, counted):
    """The folder of the scans does not even exist."""
    bundle = write_bundle(tmp_path / "bundle")

    with pytest.raises(SegpipeError, match=f"{counted}.*fewer than 5 patients do not show what is usual"):
        write_reference_ranges(bundle, with_patients(data, patients, tmp_path), tmp_path / "nowhere")

    assert not (bundle / "models" / "model.reference_ranges.json").exists()


def test_patients_are_counted_and_unknown_ones_are_said(data, tmp_path):
    bundle, messages = write_bundle(tmp_path / "bundle"), []

    path = write_reference_ranges(
        bundle, with_patients(data, ["a", "a", "b", "c", None, None], tmp_path), data, report=messages.append
    )

    assert (read_json(path)["cases"], read_json(path)["patients"]) == (6, 5)
    assert any(
        "the patient of 2 of 6 training cases is not known: each counts as" in text for text in messages
    )


def test_some_patients_are_chosen_evenly(data, tmp_path, monkeypatch):
    bundle, read = write_bundle(tmp_path / "bundle"), []
    measure = measured_ranges.measured_scan
    monkeypatch.setattr(
        measured_ranges, "measured_scan", lambda by, scan: read.append(scan) or measure(by, scan)
    )

    path = write_reference_ranges(bundle, data / "dataset.json", data, most_patients=5)

    names = [re.sub(r".*/|\.nii\.gz", "", scan.meta["filename_or_obj"]) for scan in read]
    assert names == ["case_0", "case_1", "case_2", "case_3", "case_4"]
    assert read_json(path)["patients"] == 5


def test_ranges_of_an_earlier_version_are_not_used_and_the_log_says_so(whole, scans, tmp_path, caplog):
    bundle = write_bundle(tmp_path / "bundle")
    content = read_json(whole / "models" / "model.reference_ranges.json")
    (bundle / "models" / "model.reference_ranges.json").write_text(json.dumps({**content, "version": 2}))

    predictions = predicted(scans, bundle, tmp_path / "out")

    assert {prediction.warnings for prediction in predictions.values()} == {None}
    assert "write them anew with `segpipe reference-ranges`; until then scans are not compared" in caplog.text


def test_another_gain_of_the_scanner_is_no_fault(whole, tmp_path):
    write_volume(17 * noise(seed=100), Grid.from_affine(SIZE, np.eye(4)), tmp_path / "scans" / "gain.nii.gz")

    assert predicted(tmp_path / "scans", whole, tmp_path / "out")["gain"].warnings == ()


@pytest.mark.parametrize("factor", [3, 1 / 3])
def test_a_header_whose_spacing_is_wrong_is_called_that(whole, tmp_path, factor):
    affine = np.diag([factor, factor, factor, 1])
    write_volume(noise(seed=100), Grid.from_affine(SIZE, affine), tmp_path / "scans" / "wrong.nii.gz")

    (first, *others) = predicted(tmp_path / "scans", whole, tmp_path / "out")["wrong"].warnings

    spacings, lengths = (", ".join(f"{factor * n:.3g}" for n in numbers) for numbers in ((1, 1, 1), SIZE))
    assert first == (
        f"the voxel spacing in its header looks wrong: along x, y, z it is {spacings} mm, which makes the scan "
        f"{lengths} mm long; training cases: 1, 1, 1 mm, and 14, 16, 12 mm long; correct the header, since "
        "volumes in ml are wrong, too"
    )
    assert not [text for text in others if "spacing" in text or "length" in text]


def test_thick_slices_are_no_wrong_header(whole, tmp_path):
    """A third of the slices, three times as far apart: the length is the usual one."""
    write_volume(
        noise(seed=100)[:, :, ::3],
        Grid.from_affine((14, 16, 4), np.diag([1, 1, 3, 1])),
        tmp_path / "scans" / "thick.nii.gz",
    )

    warnings = predicted(tmp_path / "scans", whole, tmp_path / "out")["thick"].warnings

    assert any(
        text.startswith("the header's voxel spacing along z is 3 mm; training cases: 1 mm")
        for text in warnings
    )
    assert not [text for text in warnings if "looks wrong" in text]


def test_the_commands(data, scans, tmp_path):
    """`segpipe reference-ranges`, then `segpipe predict`, which prints a table of warnings and exits with 0."""
    bundle = write_bundle(tmp_path / "bundle")
    runner = CliRunner()

    made = runner.invoke(app, ["reference-ranges", str(bundle), "--manifest", str(data / "dataset.json")])
    result = runner.invoke(
        app,
        [
            "predict",
            str(scans),
            "--bundle",
            str(bundle),
            "--output",
            str(tmp_path / "out"),
            "--no-overlays",
        ],
    )

    assert (made.exit_code, made.stdout.strip()) == (
        0,
        str(bundle / "models" / "model.reference_ranges.json"),
    )
    assert result.exit_code == 0
    assert "1 scan with warnings: look at these label maps before you use them" in result.stderr
    assert re.search(r"and \d+ more", result.stderr)
    assert "not compared" not in result.stdout


def test_an_evaluation_names_the_scans_that_are_unlike(whole, scans, tmp_path):
    labels = np.zeros(SIZE, np.uint8)
    labels[4:8, 4:8, 4:8], labels[8:10, 4:8, 4:8] = 1, 2
    for name, affine in (("good", np.eye(4)), ("odd", np.diag([2.5, 1, 1, 1]))):
        write_label_map(labels, Grid.from_affine(SIZE, affine), scans / "labels" / f"{name}.nii.gz")
    cases = [
        Case(name, (f"{name}.nii.gz",), f"labels/{name}.nii.gz", fold=fold)
        for name, fold in (("good", 0), ("odd", 0), ("rest", 1))
    ]
    write_manifest(Manifest("two", ("MRI",), LABELS, tuple(cases)), scans / "dataset.json")

    evaluate(whole, str(scans / "dataset.json"), tmp_path / "out", EvaluateOptions(split="0"))

    about = read_json(tmp_path / "out" / "summary.json")["about"]
    assert list(about["scan_warnings"]) == ["odd"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h2>Unlike the training cases</h2>" in page
    assert "<dt>warned of</dt><dd>1 of 2 cases</dd>" in page
    assert re.search(
        r"<dt>odd</dt><dd>[^<]*voxel spacing in its header looks wrong: along x it is 2.5 mm", page
    )

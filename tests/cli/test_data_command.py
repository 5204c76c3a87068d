"""`segpipe data` checks, splits, creates and fetches data sets."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.dataset import load_manifest
from segpipe.phantoms.files import write_phantom_dataset

SEGPIPE = Path(sys.executable).with_name("segpipe")  # of this environment, whatever PATH says


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """A correct data set of four phantoms; tests only read it."""
    return write_phantom_dataset(tmp_path_factory.mktemp("data") / "set", num_cases=4, seed=1)


def bundle_metadata(path, names):
    rows = [
        {"index": index, "name": name, "color": [0, 0, 0], "value": index} for index, name in enumerate(names)
    ]
    path.write_text(json.dumps({"label_table": rows}))
    return str(path)


def check(*arguments):
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)])


def test_sound_data_set(phantoms):
    result = check(phantoms, "--dataset-dir", phantoms.parent)

    assert (result.exit_code, result.stdout) == (0, "phantoms: 4 cases, 0 errors, 0 warnings\n")


def test_findings_are_printed_and_exit_with_2(phantoms, tmp_path):
    result = check(phantoms, "--dataset-dir", tmp_path)

    assert result.exit_code == 2
    assert "error: phantom_000: imagesTr/phantom_000.nii.gz: missing below" in result.stdout
    assert result.stdout.endswith("phantoms: 4 cases, 4 errors, 0 warnings\n")


def test_warnings_alone_exit_with_1_and_json_has_all(phantoms, tmp_path):
    shutil.copytree(phantoms.parent, tmp_path / "set")
    for part in ("imagesTr", "labelsTr"):
        first, twice = (tmp_path / "set" / part / f"phantom_00{k}.nii.gz" for k in range(2))
        shutil.copy(first, twice)
    content = json.loads(phantoms.read_text())
    for case in content["training"]:
        case.pop("fold")
        case.pop("patient", None)
    (tmp_path / "m.json").write_text(json.dumps(content))

    arguments = (tmp_path / "m.json", "--dataset-dir", tmp_path / "set", "--no-checksums")
    result = check(*arguments, "--json", tmp_path / "found.json")

    message = "shows the same image content as phantom_000; remove one of the two"
    assert result.stdout.splitlines() == [
        f"warning: phantom_001: imagesTr/phantom_001.nii.gz: {message}",
        "phantoms: 4 cases, 0 errors, 1 warnings",
    ]
    assert result.exit_code == 1
    findings = json.loads((tmp_path / "found.json").read_text())
    assert (findings["manifest"], findings["cases"], findings["errors"]) == ("phantoms", 4, [])
    assert findings["warnings"] == [
        {
            "severity": "warning",
            "case": "phantom_001",
            "file": "imagesTr/phantom_001.nii.gz",
            "message": message,
        }
    ]
    twice.unlink()
    assert check(*arguments, "--json", tmp_path / "found.json").exit_code == 2
    assert len(json.loads((tmp_path / "found.json").read_text())["errors"]) == 1


@pytest.mark.parametrize("place", ["folds", "split", "test"])
def test_leaks_are_findings_like_others(phantoms, tmp_path, place):
    """A file is missing too: the table and the JSON file list all findings."""
    content = json.loads(phantoms.read_text())
    cases = content["training"]
    cases[0]["patient"] = cases[1]["patient"] = "p"
    for k, case in enumerate(cases):
        case["fold"] = k if place == "folds" else 0
    if place == "split":
        names = [case["case"] for case in cases]
        content["splits"] = {"mine": {"train": names[:1], "validation": names[2:], "test": names[1:2]}}
    if place == "test":
        content["test"] = [cases.pop(1)]
        content.update(numTraining=3, numTest=1)
    (tmp_path / "m.json").write_text(json.dumps(content))
    shutil.copytree(phantoms.parent, tmp_path / "set")
    (tmp_path / "set" / "imagesTr" / "phantom_003.nii.gz").unlink()

    result = check(tmp_path / "m.json", "--dataset-dir", tmp_path / "set", "--json", tmp_path / "found.json")

    assert result.exit_code == 2
    errors = json.loads((tmp_path / "found.json").read_text())["errors"]
    assert [error["case"] for error in errors] == ["phantom_003", "phantom_001"]
    assert errors[1]["message"].startswith("patient p would train and")
    assert f"error: phantom_001: imagesTr/phantom_001.nii.gz: {errors[1]['message']}" in result.stdout


def test_findings_that_cannot_be_written_are_refused_before_any_file_is_read(phantoms, tmp_path):
    for place, message in (
        (tmp_path, f"{tmp_path}: is a folder; give the name of a file"),
        ("/proc/found.json", "/proc: nothing can be written there: /proc is not writable"),
    ):
        result = check(phantoms, "--dataset-dir", tmp_path / "none", "--json", place)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"segpipe: {message}")


def test_checksums_can_be_left_out(phantoms, tmp_path):
    content = json.loads(phantoms.read_text())
    content["training"][0]["sha256"] = {"imagesTr/phantom_000.nii.gz": "ab" * 32}
    (tmp_path / "m.json").write_text(json.dumps(content))

    assert "abababababab" in check(tmp_path / "m.json", "--dataset-dir", phantoms.parent).stdout
    assert check(tmp_path / "m.json", "--dataset-dir", phantoms.parent, "--no-checksums").exit_code == 0


def test_labels_of_a_bundle(phantoms, tmp_path):
    metadata = bundle_metadata(tmp_path / "metadata.json", ["background", "lesion"])

    result = check(phantoms, "--dataset-dir", phantoms.parent, "--labels", metadata)

    assert result.exit_code == 2
    assert "label table has background, lesion" in result.stderr


@pytest.mark.slow
def test_check_as_a_process(tmp_path):
    result = subprocess.run(
        [SEGPIPE, "data", "check", "hippocampus", "--dataset-dir", tmp_path / "none"],
        capture_output=True,
        text=True,
    )

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("segpipe: hippocampus: --dataset-dir (dataset_dir in YAML) ")
    assert len(result.stderr.splitlines()) == 1


# --- split


@pytest.fixture
def decathlon(tmp_path):
    """A description of six cases without their files."""
    cases = [{"image": f"i/{k}.nii.gz", "label": f"l/{k}.nii.gz"} for k in range(6)]
    plain = {"name": "x", "modality": {"0": "CT"}, "labels": {"0": "a", "1": "b"}, "training": cases}
    (tmp_path / "dataset.json").write_text(json.dumps(plain))
    return tmp_path / "dataset.json"


def split(*arguments):
    return CliRunner().invoke(app, ["data", "split", *map(str, arguments)])


@pytest.mark.slow
def test_folds_as_a_process(decathlon, tmp_path):
    before = decathlon.read_bytes()
    result = subprocess.run(
        [SEGPIPE, "data", "split", decathlon, "--output", tmp_path / "m.json", "--folds", "3"],
        capture_output=True,
        text=True,
        check=True,
    )

    rows = [re.findall(r"\w+", line) for line in result.stdout.splitlines() if "│ fold" in line]
    assert rows == [["fold", str(fold), "2", "2"] for fold in range(3)]
    assert "note: not stratified: the folder of the files is not known (--dataset-dir)" in result.stdout
    assert "note: some patients are unknown" in result.stdout
    folds = [case.fold for case in load_manifest(tmp_path / "m.json").training]
    assert sorted(folds) == [0, 0, 1, 1, 2, 2]
    assert decathlon.read_bytes() == before


def test_a_description_by_another_program_is_not_overwritten(decathlon):
    before = decathlon.read_bytes()

    for name in (decathlon, "hippocampus"):
        result = split(name, "--folds", "3")
        assert result.exit_code == 2
        assert (
            "segpipe does not change shipped or plain MSD manifests; give the file to write with --output"
            in result.stderr
        )
    assert decathlon.read_bytes() == before


def test_a_split_by_what_the_label_maps_hold(phantoms, tmp_path):
    manifest = shutil.copy(phantoms, tmp_path / "m.json")

    result = split(
        manifest, "--dataset-dir", phantoms.parent, "--train", "3", "--test", "1", "--name", "mine"
    )

    assert result.exit_code == 0, result.stderr
    assert "with anterior" in result.stdout
    assert "stratified" not in result.stdout
    written = load_manifest(manifest)
    assert (len(written.splits["mine"].train), len(written.splits["mine"].test)) == (3, 1)
    assert written.splits["mine"].about == "patients by lot, 3 train, 1 test, seed 0"
    assert [case.fold for case in written.training] == [
        case.fold for case in load_manifest(phantoms).training
    ]

    again = split(manifest, "--train", "3", "--test", "1", "--name", "mine")
    assert (again.exit_code, again.stderr) == (
        2,
        "segpipe: phantoms: has a split mine already; choose another --name\n",
    )
    folds = split(manifest, "--dataset-dir", phantoms.parent, "--folds", "2", "--seed", "3")
    assert folds.exit_code == 0
    assert {case.fold for case in load_manifest(manifest).training} == {0, 1}
    assert "mine" in load_manifest(manifest).splits


def test_the_same_picture_stays_on_one_side(phantoms, tmp_path):
    content = json.loads(phantoms.read_text())
    shutil.copytree(phantoms.parent, tmp_path / "set")
    for part in ("imagesTr", "labelsTr"):
        shutil.copy(
            tmp_path / "set" / part / "phantom_000.nii.gz", tmp_path / "set" / part / "phantom_003.nii.gz"
        )
    for case in content["training"]:
        case.pop("sha256", None)
    (tmp_path / "m.json").write_text(json.dumps(content))

    for seed in range(4):
        result = split(tmp_path / "m.json", "--dataset-dir", tmp_path / "set", "--folds", "2", "--seed", seed)
        assert (
            "note: several cases have the same image content and stay together: phantom_000 and phantom_003"
            in result.stdout
        )
        folds = {case.case: case.fold for case in load_manifest(tmp_path / "m.json").training}
        assert folds["phantom_000"] == folds["phantom_003"]


def written(path, **changes):
    """Write the description of six cases again, with extra keys for each case."""
    content = json.loads((path.parent / "dataset.json").read_text())
    for k, case in enumerate(content["training"]):
        case["case"] = f"c{k}"
        case.update({key: values[k] for key, values in changes.items() if values[k] is not None})
    path.write_text(json.dumps({**content, "schema_version": 1, "target": "mask", "numTraining": 6}))
    return path


def test_the_same_file_by_checksum_stays_on_one_side_without_the_files(decathlon, tmp_path):
    sums = [{f"i/{k}.nii.gz": ("ab" if k in (1, 4) else f"0{k}") * 32} for k in range(6)]
    manifest = written(tmp_path / "m.json", sha256=sums)

    for seed in range(5):
        result = split(manifest, "--folds", "3", "--seed", seed)
        assert "note: several cases have the same image content and stay together: c1 and c4" in result.stdout
        folds = {case.case: case.fold for case in load_manifest(manifest).training}
        assert folds["c1"] == folds["c4"]


def test_a_training_case_that_is_among_the_test_cases_is_not_divided(decathlon, tmp_path):
    manifest = written(tmp_path / "m.json", patient=[f"p{k}" for k in range(6)])
    content = json.loads(manifest.read_text())
    content.update(numTest=1, test=[{"case": "t", "image": "t.nii.gz", "patient": "p3"}])
    manifest.write_text(json.dumps(content))
    before = manifest.read_bytes()

    result = split(manifest, "--folds", "3")

    assert result.exit_code == 2
    assert "patient p3 would train and test: c3 (training) and t (listed under test)" in result.stderr
    assert manifest.read_bytes() == before


@pytest.mark.parametrize(
    ("shares", "note"),
    [
        (
            ["--train", "2", "--test", "1"],
            "2 and 1 are taken as shares, .* 6 training cases: 4 train, 2 test; give",
        ),
        (["--train", "4", "--test", "2"], None),
        (["--train", "50", "--validation", "50"], None),
        (["--train", "9", "--test", "1"], None),
    ],
)
def test_shares_that_look_like_numbers_of_cases_are_reported(decathlon, tmp_path, shares, note):
    result = split(decathlon, "--output", tmp_path / "m.json", *shares)

    assert result.exit_code == 0
    assert ("taken as shares" in result.stdout) == (note is not None)
    assert re.search(note or "", result.stdout)


def test_sizes_that_patients_make_impossible_are_reported(decathlon, tmp_path):
    manifest = written(tmp_path / "m.json", patient=["p", "p", "p", "q", "q", "q"])

    assert "note: cases that belong together stay together: 3 train, 3 test\n" in (
        split(manifest, "--train", "4", "--test", "2").stdout
    )


def test_a_manifest_of_classes_is_divided_by_them_with_and_without_its_files(tmp_path):
    """Two of eight images are ill; a random split would put both into one fold half of the time."""
    cases = []
    for k in range(8):
        picture = np.random.default_rng(k).integers(0, 255, (6, 5), np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{k}.png")
        cases.append({"case": f"c{k}", "image": f"{k}.png", "classes": ["Ill" if k < 2 else "well"]})
    labels = {"0": "ill", "1": "well"}
    content = {"schema_version": 1, "name": "x", "modality": {"0": "X-ray"}, "labels": labels}
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps({**content, "target": "class", "numTraining": 8, "training": cases}))

    for options in ([], ["--dataset-dir", tmp_path]):
        for seed in range(5):
            result = split(manifest, "--folds", "2", "--seed", seed, *options)
            assert result.exit_code == 0, result.stderr
            assert "stratified" not in result.stdout
            rows = [re.findall(r"\w+", line) for line in result.stdout.splitlines() if "│ fold" in line]
            assert rows == [["fold", str(fold), "4", "4", "1", "3"] for fold in range(2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --folds, or --train with --test or --validation"),
        (["--folds", "2", "--train", "1"], "give either --folds, or --train"),
        (["--train", "3"], "needs a share to train on, and one to validate with or to test"),
        (["--train", "9", "--test", "1", "-o", "/proc/no/m.json"], "/proc/no: nothing can be written there"),
        (["--folds", "2", "-o", "."], ".: is a folder; give the name of a file"),
        (["--folds", "5"], "5 folds asked for 4 patients"),
        (["--folds", "1"], "1 folds asked for 4 patients"),
        (["--train", "1", "--test", "1", "--name", "All"], "splits"),
    ],
)
def test_splits_that_cannot_be_made_are_refused(phantoms, tmp_path, options, message):
    manifest = shutil.copy(phantoms, tmp_path / "m.json")
    before = Path(manifest).read_bytes()

    result = split(manifest, *options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert Path(manifest).read_bytes() == before


def test_each_of_many_classes_has_a_row(tmp_path):
    labels = {str(k): f"organ{k}" for k in range(12)}
    cases = [{"case": f"c{k}", "image": f"{k}.png", "classes": [labels[str(k // 2)]]} for k in range(24)]
    content = {"schema_version": 1, "name": "x", "modality": {"0": "X-ray"}, "labels": labels}
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps({**content, "target": "class", "numTraining": 24, "training": cases}))

    result = split(manifest, "--folds", "2")

    rows = [re.findall(r"\w+", line) for line in result.stdout.splitlines() if "│" in line]
    assert rows == [
        ["cases", "12", "12"],
        ["patients", "12", "12"],
        *(["with", name, "1", "1"] for name in labels.values()),
    ]


def test_a_manifest_that_says_where_its_files_lie_needs_no_folder(phantoms, tmp_path):
    """The manifest lies beside the files, or notes their folder."""
    content = json.loads(phantoms.read_text())
    noted = tmp_path / "m.json"
    noted.write_text(json.dumps({**content, "dataset_dir": str(phantoms.parent)}))

    assert check(phantoms).exit_code == check(noted).exit_code == 0
    assert "with anterior" in split(noted, "--folds", "2").stdout
    assert show(noted, "-o", tmp_path / "out").exit_code == 0
    noted.write_text(json.dumps(content))
    for unknown in (check(noted), show(noted, "-o", tmp_path / "two")):
        assert unknown.exit_code == 2
        assert "the folder of its files is not known; give it with --dataset-dir" in unknown.stderr


# --- show


def show(*arguments):
    return CliRunner().invoke(app, ["data", "show", *map(str, arguments)])


def test_a_page_of_a_data_set(phantoms, tmp_path):
    result = show(phantoms, "--dataset-dir", phantoms.parent, "-o", tmp_path / "out", "--cases", "3")

    assert result.exit_code == 0, result.stderr
    rows = [re.findall(r"[\w.%]+", line) for line in result.stdout.splitlines() if line.startswith("│")]
    assert ["training", "4", "4", "4", "4"] in rows
    assert [row[0] for row in rows].count("anterior") == 1
    assert next(row for row in rows if row[:3] == ["spacing", "along", "x"])[-1] == "mm"
    last = f"{tmp_path / 'out' / 'index.html'}: 3 cases are shown; 1 more are left out"
    assert result.stdout.splitlines()[-1] == last
    again = show(phantoms, "--dataset-dir", phantoms.parent, "-o", tmp_path / "out")
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    assert (
        show(phantoms, "--dataset-dir", phantoms.parent, "-o", tmp_path / "out", "--overwrite").exit_code == 0
    )


def test_a_page_with_bad_cases_exits_with_1(phantoms, tmp_path):
    shutil.copytree(phantoms.parent, tmp_path / "set")
    (tmp_path / "set" / "imagesTr" / "phantom_002.nii.gz").unlink()

    result = show(phantoms, "--dataset-dir", tmp_path / "set", "-o", tmp_path / "out")

    assert result.exit_code == 1
    assert "error: phantom_002: imagesTr/phantom_002.nii.gz: missing below" in result.stdout
    assert "note: 1 of 4 cases have errors" in result.stdout
    assert (tmp_path / "out" / "index.html").is_file()


# --- create


def test_a_split_divides_folders_only_if_the_option_says_so(decathlon, tmp_path):
    manifest = written(tmp_path / "m.json", image=[f"p{k // 3}/v{k % 3}.nii.gz" for k in range(6)])

    refused = split(manifest, "--folds", "3")
    told = split(manifest, "--folds", "3", "--ignore-folders")
    kept = split(manifest, "--folds", "2")

    assert (refused.exit_code, "which stay together" in refused.stderr) == (2, True)
    assert told.exit_code == 0
    assert "note: patients are unknown: the cases of each of 2 folders stay together" in kept.stdout
    folds = [case.fold for case in load_manifest(manifest).training]
    assert len(set(folds[:3])) == len(set(folds[3:])) == 1 != len(set(folds))

"""The shipped manifests of retinal OCT and of chest X-rays equal the output of their script, and divide no patient."""

import csv
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from segpipe.dataset import load_manifest, training_split
from segpipe.dataset.leaks import leaks, side_of_test_list, sides_of_folds
from segpipe.dataset.targets import target_of
from segpipe.files import file_sha256

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ["oct2017", "nih_cxr64"]
SUMS = "HELD_BACK_SHA256SUMS"


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def manifests():
    return {name: load_manifest(name) for name in NAMES}


def test_oct_says_its_classes_licence_and_citation(manifests):
    manifest = manifests["oct2017"]

    assert manifest.categories().names == ("CNV", "DME", "DRUSEN", "NORMAL")
    assert manifest.licence == "CC BY 4.0"
    assert "10.1016/j.cell.2018.02.010" in manifest.citation
    assert "Mendeley" in manifest.source
    counts = Counter(case.classes[0] for case in manifest.training)
    assert counts == {"CNV": 163, "DME": 156, "DRUSEN": 143, "NORMAL": 155}
    # the names of the held-back images give class and patient
    held_back = Counter(case.classes[0] for case in manifest.test)
    assert held_back == {"CNV": 87, "DME": 94, "DRUSEN": 107, "NORMAL": 95}
    assert all(
        case.case == f"{case.classes[0]}-{case.patient}-{case.case.rsplit('-', 1)[1]}"
        for case in manifest.test
    )


def test_x_rays_have_fourteen_findings_in_the_fields_order(manifests):
    manifest = manifests["nih_cxr64"]

    names = manifest.categories().names
    assert (len(names), names[:3], names[-2:]) == (
        14,
        ("Atelectasis", "Cardiomegaly", "Effusion"),
        ("Pleural_Thickening", "Hernia"),
    )
    assert "attribution" in manifest.licence
    assert "CVPR 2017" in manifest.citation
    assert (len(manifest.training), len(manifest.test)) == (714, 0)
    counts = Counter(finding for case in manifest.training for finding in case.classes)
    assert (counts["Infiltration"], counts["Effusion"], counts["Hernia"]) == (123, 98, 8)
    case = next(case for case in manifest.training if case.case == "00000003_003")
    # Hernia and Infiltration of fourteen
    np.testing.assert_array_equal(np.flatnonzero(target_of(case, manifest.categories())), [3, 13])


def test_no_patient_and_no_file_is_in_two_folds_or_in_the_test_list(manifests, name):
    manifest = manifests[name]
    folds = sides_of_folds(manifest)

    assert [side.name for side in folds] == [f"fold {fold}" for fold in range(5)]
    assert leaks([*folds, side_of_test_list(manifest)]) == []
    for fold in range(5):
        train, validation = training_split(manifest, fold)  # refuses leaks, too
        assert len(train) + len(validation) == len(manifest.training)
    sizes = [len(side.cases) for side in folds]
    assert max(sizes) - min(sizes) <= 1


def test_folds_have_equal_shares_of_the_classes(manifests):
    """A class differs by at most two images between folds; a patient has up to 13 images."""
    counts = defaultdict(lambda: [0] * 5)
    for case in manifests["oct2017"].training:
        counts[case.classes[0]][case.fold] += 1

    assert all(max(of_fold) - min(of_fold) <= 2 for of_fold in counts.values()), dict(counts)


def test_every_fold_has_every_finding_of_enough_patients(manifests):
    """A finding of ten patients or more is in every fold; that of 32 patients in about equal numbers."""
    images, patients = defaultdict(lambda: [0] * 5), defaultdict(set)
    for case in manifests["nih_cxr64"].training:
        for finding in case.classes:
            images[finding][case.fold] += 1
            patients[finding].add(case.patient)

    for finding, of_fold in images.items():
        if len(patients[finding]) >= 10:
            assert min(of_fold) >= 1, (finding, of_fold)
    assert max(images["Atelectasis"]) - min(images["Atelectasis"]) <= 2
    assert len(patients["Hernia"]) == 1  # eight images in one fold: no division can do better


@pytest.mark.realdata
def test_every_image_is_there_with_its_checksum(manifests, name, real_data):
    folder = real_data(name)

    images = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.[jp][pn]*g")}
    assert {case.images[0] for case in manifests[name].training} == images
    for case in manifests[name].training[::50]:
        assert list(case.sha256) == list(case.images)
        assert file_sha256(folder / case.images[0]) == case.sha256[case.images[0]]


@pytest.mark.realdata
def test_findings_are_those_of_the_table(manifests, real_data):
    with (real_data("nih_cxr64") / "labels.csv").open(newline="") as file:
        rows = {Path(row["image"]).stem: row for row in csv.DictReader(file)}

    cases = manifests["nih_cxr64"].training
    assert rows.keys() == {case.case for case in cases}
    for case in cases:
        row = rows[case.case]
        assert set(case.classes or ["No Finding"]) == set(row["findings"].split("|"))
        assert case.patient == row["patient_id"]
        assert case.unknown == ()


@pytest.mark.realdata
def test_script_writes_the_same_bytes(name, real_data, tmp_path):
    script = REPOSITORY / "scripts" / "make_image_manifests.py"
    folder, output = real_data(name), tmp_path / "m.json"
    options = ["--held-back", folder.parent / SUMS] if name == "oct2017" else []

    subprocess.run([sys.executable, script, name, folder, *options, "--output", output], check=True)

    assert output.read_bytes() == (REPOSITORY / "data_manifests" / f"{name}.json").read_bytes()

"""Folders stand for patients where no patient is known; no split divides such a folder."""

import pytest
from made_sets import CLASSES, write_set

from segpipe.dataset import create_manifest, divide_manifest
from segpipe.dataset.folder_patients import folder_patients
from segpipe.dataset.manifest_files import parse_manifest
from segpipe.errors import SegpipeError

FOLDERS = {
    "names repeat": ({"p1/ct": "p1", "p2/ct": "p2"}),
    "below a shared folder": ({"data/p1/ct": "p1", "data/p2/ct": "p2"}),
    "visits below patients": ({"p1/v1/ct": "p1", "p1/v2/ct": "p1", "p2/v1/ct": "p2"}),
    "the folder's name in the file's": ({"p1/p1_v1": "p1", "p1/p1_v2": "p1", "p2/p2_v1": "p2"}),
    "groups above patients": ({"HGG/B1/B1_t1": "B1", "HGG/B2/B2_t1": "B2", "LGG/B3/B3_t1": "B3"}),
    "one patient's number in two groups": ({"A/1/ct": "A", "B/1/ct": "B"}),
    "no name repeats": ({"p1/left": "p1", "p1/right": "p1", "p2/other": "p2"}),
    "one folder": ({"images/a": None, "images/b": None}),
    "no folder": ({"a": None, "b": None}),
    "modalities": ({"CT/a": None, "PET/a": None}),
    "modalities above patients": ({"CT/p1/x": "p1", "PET/p1/x": "p1", "CT/p2/x": "p2"}),
    "parts of the data set": ({"train/a": None, "test/a": None, "val/b": None}),
    "parts above patients": ({"train/p1/ct": "p1", "train/p2/ct": "p2", "test/p3/ct": "p3"}),
    "a patient's number in two parts": ({"train/1/ct": "train_1", "train/2/ct": "2", "test/1/ct": "test_1"}),
}


@pytest.mark.parametrize("patients", FOLDERS.values(), ids=FOLDERS)
def test_the_folder_of_a_patient(patients):
    images = {path: f"{path}.nii.gz" for path in patients}

    assert folder_patients(images) == {case: name for case, name in patients.items() if name is not None}


def test_no_case_has_no_patient():
    assert folder_patients({}) == {}


@pytest.fixture
def visits(tmp_path):
    """Three patients with two visits each; create gives each visit a case."""
    stems = [f"p{patient}/v{visit}" for patient in range(3) for visit in range(2)]
    return write_set(
        tmp_path / "set", [f"{stem}/ct.nii.gz" for stem in stems], [f"{stem}/mask.nii.gz" for stem in stems]
    )


def folders_of(cases):
    return {case.images[0].split("/")[0] for case in cases}


def test_no_split_of_a_created_manifest_divides_a_folder(visits):
    created = create_manifest(visits, labels=CLASSES, modality=["CT"])

    assert created.patients_from == "the folder of the scan"
    assert any(
        "6 cases lie in 3 folders; each folder counts as one patient" in note for note in created.notes
    )
    for seed in range(4):
        cases = divide_manifest(created.manifest, None, num_folds=3, seed=seed).manifest.training
        sides = [folders_of(case for case in cases if case.fold == fold) for fold in range(3)]
        assert sorted(map(len, sides)) == [1, 1, 1]


def test_a_template_can_say_that_folders_are_no_patients(visits):
    created = create_manifest(visits, labels=CLASSES, modality=["CT"], patient="{patient}")

    assert len({case.patient for case in created.manifest.training}) == 6


def test_a_manifest_without_patients_keeps_folders_together_unless_told(visits):
    created = create_manifest(visits, labels=CLASSES, modality=["CT"])
    cases = [{**case, "patient": None} for case in created.manifest.to_json()["training"]]
    manifest = parse_manifest({**created.manifest.to_json(), "training": cases}, "made")

    for seed in range(4):
        division = divide_manifest(manifest, None, shares={"train": 4, "test": 2}, seed=seed)
        split = division.manifest.splits["holdout"]
        assert not {name[:2] for name in split.train} & {name[:2] for name in split.test}
        assert any("the cases of each of 3 folders stay together" in note for note in division.notes)
    assert {case.patient for case in division.manifest.training} == {None}
    with pytest.raises(
        SegpipeError, match=r"6 parts asked for, but patients are unknown .* 3 folders, which stay"
    ):
        divide_manifest(manifest, None, num_folds=6)
    told = divide_manifest(manifest, None, num_folds=6, keep_folders=False)
    assert len({case.fold for case in told.manifest.training}) == 6
    assert not any("folders" in note for note in told.notes)


def test_a_folder_in_two_parts_is_noted(tmp_path):
    stems = [f"{part}/{patient}" for part in ("train", "test") for patient in "12"]
    top = write_set(
        tmp_path / "set", [f"{stem}/ct.nii.gz" for stem in stems], [f"{stem}/mask.nii.gz" for stem in stems]
    )

    created = create_manifest(top, labels=CLASSES, modality=["CT"])

    assert {case.patient for case in created.manifest.test} == {"test_1", "test_2"}
    assert any(
        "in several parts of the data set, and count as different patients: 1, 2" in n for n in created.notes
    )

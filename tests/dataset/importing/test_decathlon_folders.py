"""Folders in MSD's layout: the description is compared with the files."""

import json

import pytest
from made_sets import require_sound

from segpipe.dataset import create_manifest
from segpipe.errors import SegpipeError
from segpipe.phantoms.files import write_phantom_dataset


def test_the_msd_folder_of_the_phantoms(tmp_path):
    path = write_phantom_dataset(tmp_path / "set", num_cases=4, seed=1)
    content = json.loads(path.read_text())
    plain = {
        "name": "Phantoms",
        "licence": "CC0",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Lesion", "2": "Core"},
        "training": [
            {"image": f"./{c['image'][0]}", "label": f"./{c['label']}"} for c in content["training"]
        ],
    }
    plain["labels"] = content["labels"]
    path.unlink()
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(plain))

    created = create_manifest(tmp_path / "set")

    require_sound(created, tmp_path / "set")
    assert (created.layout, created.manifest.name, created.manifest.licence) == ("MSD", "Phantoms", "CC0")


def test_an_msd_file_may_pass_over_scans_and_says_so(folder):
    top = folder(["imagesTr/a.nii.gz", "imagesTr/b.nii.gz"], ["labelsTr/a.nii.gz"])
    entry = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    content = {
        "name": "one",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "t"},
        "training": [entry],
    }
    (top / "dataset.json").write_text(json.dumps(content))

    assert "1 scan is not listed in dataset.json: imagesTr/b.nii.gz" in create_manifest(top).notes[0]

    (top / "imagesTr" / "a.nii.gz").unlink()
    with pytest.raises(SegpipeError, match=r"1 of the files that it names are not there: imagesTr/a.nii.gz"):
        create_manifest(top)


def test_the_first_nnunet_named_one_file_a_case_and_had_one_a_channel(folder):
    images = ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"]
    top = folder(images, ["labelsTr/a.nii.gz"])
    entry = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    content = {
        "name": "two",
        "modality": {"0": "T1", "1": "T2"},
        "labels": {"0": "no", "1": "t"},
        "training": [entry],
    }
    (top / "dataset.json").write_text(json.dumps(content))

    created = create_manifest(top)

    require_sound(created, top)
    assert created.layout == "nnU-Net, first version"
    assert created.manifest.training[0].images == tuple(images)
    assert "the value 0 (no) counts as the background" in created.warnings[0]


def write_msd(top, **changes):
    content = {
        "name": "set",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "tumour"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        **changes,
    }
    (top / "dataset.json").write_text(json.dumps(content))


def test_labelled_test_cases_of_msd_are_not_trained_on(folder):
    top = folder(["imagesTr/a.nii.gz", "imagesTs/b.nii.gz"], ["labelsTr/a.nii.gz", "labelsTs/b.nii.gz"])
    write_msd(top, test=[{"image": "./imagesTs/b.nii.gz", "label": "./labelsTs/b.nii.gz"}])

    created = create_manifest(top)

    require_sound(created, top)
    assert [case.case for case in created.manifest.training] == ["a"]
    assert [(case.case, case.label) for case in created.manifest.test] == [("b", "labelsTs/b.nii.gz")]


def test_validation_cases_of_msd_are_kept_apart(folder):
    """AMOS lists validation cases; cases without a label map cannot validate."""
    top = folder(
        ["imagesTr/a.nii.gz", "imagesVa/b.nii.gz", "imagesVa/c.nii.gz"],
        ["labelsTr/a.nii.gz", "labelsVa/b.nii.gz"],
    )
    held_out = {"image": "./imagesVa/b.nii.gz", "label": "./labelsVa/b.nii.gz"}
    write_msd(top, validation=[held_out, "./imagesVa/c.nii.gz"], numTraining=1)

    created = create_manifest(top)

    require_sound(created, top)
    split = created.manifest.splits["folder"]
    assert (split.train, split.validation) == (("a",), ("b",))
    assert [case.case for case in created.manifest.test] == ["c"]


def test_what_is_not_taken_over_from_an_msd_file_is_said(folder):
    top = folder(["imagesTr/a.nii.gz"], ["labelsTr/a.nii.gz"])
    entry = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz", "fold": 0}
    write_msd(top, training=[entry], holdout=[])

    assert create_manifest(top).notes[0] == "dataset.json: these keys are not taken over: fold, holdout"

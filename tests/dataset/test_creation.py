"""create_manifest: from a folder in any layout to a manifest that passes the check, or one clear message."""

import json
import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from made_sets import CLASSES, KNOWN, SIZE, require_sound, write_labels, write_set

from segpipe.dataset import create_manifest, parse_manifest, training_split
from segpipe.dataset.phantom_files import write_phantom_dataset
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_series, write_volume


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes images and label maps into a folder, and gives it."""
    return lambda images=(), labels=(), size=SIZE: write_set(tmp_path / "set", images, labels, size)


def test_pairs_of_files(folder):
    top = folder(["p1/CT_image.nrrd", "p2/CT_image.nrrd"], ["p1/CT_mask.nrrd", "p2/CT_mask.nrrd"])

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    manifest = created.manifest
    assert (created.layout, manifest.name, manifest.modality) == ("pairs of files", "set", ("CT",))
    assert dict(manifest.labels) == CLASSES
    assert [case.case for case in manifest.training] == ["p1", "p2"]
    assert all(len(case.sha256) == 2 for case in manifest.training)
    assert "unknown" in manifest.patients
    assert any("--patient" in note for note in created.notes)


def test_pictures(folder):
    top = folder(["images/a.png", "images/b.png"], ["masks/a.png", "masks/b.png"], size=SIZE[:2])

    require_sound(create_manifest(top, **KNOWN), top)


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

    assert "1 scans are not listed in dataset.json: imagesTr/b.nii.gz" in create_manifest(top).notes[0]

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
    assert created.manifest.training[0].images == tuple(images)


def test_patients_of_a_template(folder):
    stems = ("P1_left", "P1_right", "P2_left")
    top = folder([f"images/{stem}.nii.gz" for stem in stems], [f"labels/{stem}.nii.gz" for stem in stems])

    created = create_manifest(top, patient="{patient}_*", **KNOWN)

    assert [case.patient for case in created.manifest.training] == ["P1", "P1", "P2"]
    assert created.notes == []
    with pytest.raises(SegpipeError, match=r"matches 2 of 3 case ids, not P2_left"):
        create_manifest(top, patient="P1_{patient}", **KNOWN)
    with pytest.raises(SegpipeError, match=r"must have \{patient\}"):
        create_manifest(top, patient="{case}", **KNOWN)


def test_a_series_is_an_image_and_has_no_checksum(folder):
    top = folder(labels=["p1/mask.nii.gz"], size=(8, 8, 4))
    grid = Grid.from_affine((8, 8, 4), np.diag([-1.0, -1, 1, 1]))
    voxels = np.random.default_rng(0).integers(0, 99, grid.size).astype(np.int16)
    write_series(voxels, grid, top / "p1" / "image", series_uid="1.2.3")

    with pytest.raises(SegpipeError, match="scans of several formats, 1 DICOM, 1 NIfTI"):
        create_manifest(top, **KNOWN)
    created = create_manifest(top, images=["{case}/image"], label="{case}/mask.nii.gz", **KNOWN)

    require_sound(created, top)
    assert set(created.manifest.training[0].sha256) == {"p1/mask.nii.gz"}


@pytest.mark.parametrize("part", ["test", "Testing", "test_set", "testData"])
def test_cases_in_a_folder_of_a_test_set_are_not_trained_on(folder, part):
    names = [
        f"{kind}/{where}/{stem}.nii.gz"
        for kind in ("images", "masks")
        for where in ("a", part)
        for stem in "12"
    ]
    top = folder(names[:4], names[4:])

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    assert {case.label.split("/")[1] for case in created.manifest.training} == {"a"}
    assert {case.label.split("/")[1] for case in created.manifest.test} == {part}
    assert created.manifest.splits == {}
    assert created.notes[0] == "2 cases with label maps are of the data set's test: they are never trained on"


@pytest.mark.parametrize(
    "explicit", [{}, {"images": ["*/images/{case}.nii.gz"], "label": "*/masks/{case}.nii.gz"}]
)
def test_the_division_of_the_folder_is_kept(folder, explicit):
    parts = ("train", "valid", "test")
    top = folder(
        [f"{part}/images/{number}.nii.gz" for part in parts for number in range(2)],
        [f"{part}/masks/{number}.nii.gz" for part in parts for number in range(2)],
    )

    created = create_manifest(top, **explicit, **KNOWN)

    require_sound(created, top)
    manifest = created.manifest
    train, validation = training_split(manifest, "folder")
    assert {case.images[0].split("/")[0] for case in train} == {"train"}
    assert {case.images[0].split("/")[0] for case in validation} == {"valid"}
    assert [case.images[0] for case in manifest.test] == ["test/images/0.nii.gz", "test/images/1.nii.gz"]
    assert len(manifest.training) == 4
    assert "2 cases to train on and 2 to validate with: train with --fold folder" in created.notes[0]


def test_names_that_all_say_their_part_divide_too(folder):
    names = [f"{kind}/{part}_1.nii.gz" for kind in ("images", "masks") for part in ("train", "test")]

    manifest = create_manifest(folder(names[:2], names[2:]), **KNOWN).manifest

    assert [case.images[0] for case in manifest.training] == ["images/train_1.nii.gz"]
    assert [case.images[0] for case in manifest.test] == ["images/test_1.nii.gz"]


def test_one_part_divides_nothing(folder):
    created = create_manifest(folder(["test/images/a.nii.gz"], ["test/masks/a.nii.gz"]), **KNOWN)

    assert len(created.manifest.training) == 1
    assert "every case with a label map is of the part test by its folder" in created.notes[0]


def test_a_folder_with_nothing_to_train_on_is_refused(folder):
    names = [f"{part}/{kind}/a.nii.gz" for kind in ("images", "masks") for part in ("val", "test")]

    with pytest.raises(SegpipeError, match="for validation or test by its folder, none to train on"):
        create_manifest(folder(names[:2], names[2:]), **KNOWN)


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


def test_what_is_not_taken_over_from_an_msd_file_is_said(folder):
    top = folder(["imagesTr/a.nii.gz"], ["labelsTr/a.nii.gz"])
    entry = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz", "fold": 0}
    write_msd(top, training=[entry], validation=[])

    assert create_manifest(top).notes[0] == "dataset.json: not taken over is what it says as fold, validation"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema_version": 1, "name": "x"}', "is a manifest of segpipe already; use it as it is"),
        (
            '{"license": "x", "files": []}',
            "is not of MSD .* or nnU-Net .*, its keys are license, files; move it away",
        ),
        ("[]", "must be one JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"labels": {"a": 1, "a": 2}}', "the key 'a' stands twice"),
        ('{"labels"', "is not JSON: .* in line 1, column 10"),
    ],
)
def test_descriptions_that_are_none_are_refused(folder, content, message):
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])
    (top / "dataset.json").write_text(content)

    with pytest.raises(SegpipeError, match=f"dataset.json: .*{message}"):
        create_manifest(top, **KNOWN)
    assert create_manifest(
        top, images=["{case}.nii.gz"], label="{case}_mask.nii.gz", **KNOWN
    ).manifest.training


def test_with_templates_other_files_do_not_matter(folder):
    top = folder(["p1/p1_f01.nii.gz"], ["p1/p1_f01_gt.nii.gz"])
    (top / "p1" / "Info.cfg").write_text("x")

    with pytest.raises(SegpipeError, match=r"neither scans nor known companions: p1/Info.cfg.* with --image"):
        create_manifest(top, **KNOWN)
    created = create_manifest(top, images=["*/{case}.nii.gz"], label="*/{case}_gt.nii.gz", **KNOWN)

    require_sound(created, top)


def test_names_that_no_manifest_can_hold_are_refused(folder):
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])
    (top / "a.nii.gz").rename(top / os.fsdecode(b"a\xff.nii.gz"))

    with pytest.raises(SegpipeError, match=r"^a\\udcff.nii.gz: the name is not UTF-8 text; rename it"):
        create_manifest(top, **KNOWN)


def test_files_that_cannot_be_read_are_named(folder, monkeypatch):
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("segpipe.dataset.integrity.file_sha256", refuse)

    with pytest.raises(
        SegpipeError, match=r"a.nii.gz: cannot be read \(Permission denied\); check the permissions"
    ):
        create_manifest(top, **KNOWN)


# --- what the folder does not say


def test_classes_and_channels_are_asked_for(folder):
    top = folder(["a.nii.gz", "b.nii.gz"])
    write_labels(top / "a_mask.nii.gz", (0, 85))
    write_labels(top / "b_mask.nii.gz", (0, 170))
    asked = []

    def ask(question, default):
        asked.append((question, default))
        return {"(CT": "CT", "0": "background", "85": "glass", "170": "fluid"}[
            next(key for key in ("(CT", "170", "85", "0") if key in question)
        ]

    created = create_manifest(top, ask=ask)

    require_sound(created, top)
    assert dict(created.manifest.labels) == {0: "background", 85: "glass", 170: "fluid"}
    assert created.manifest.modality == ("CT",)
    assert ("What is the value 0, stored in 2 label maps?", "background") in asked


def test_with_nobody_to_ask_the_options_are_named(folder):
    top = folder(["a.nii.gz", "b.nii.gz"], ["a_mask.nii.gz", "b_mask.nii.gz"])

    with pytest.raises(SegpipeError, match=r"does not say what the images are; add --modality CT, or MRI"):
        create_manifest(top)
    with pytest.raises(
        SegpipeError, match=r"store 0 \(in 2\), 1 \(in 2\): add --class 0=background --class 1=NAME"
    ):
        create_manifest(top, modality=["CT"])
    with pytest.raises(SegpipeError, match=r"--modality is given 2 times for 1 channels"):
        create_manifest(top, modality=["CT", "PET"], labels=CLASSES)


def test_classes_without_a_background_are_refused(folder):
    top = folder(["a.nii.gz"])
    write_labels(top / "a_mask.nii.gz", (1, 2))

    with pytest.raises(SegpipeError, match=r"none of its classes \(liver, tumour\) is the background"):
        create_manifest(top, modality=["CT"], labels={1: "liver", 2: "tumour"})


def test_every_value_that_is_stored_needs_a_class(folder):
    top = folder(["a.nii.gz", "b.nii.gz"], ["a_mask.nii.gz"])
    write_labels(top / "b_mask.nii.gz", (0, 1, 2))

    with pytest.raises(
        SegpipeError, match=r"store 0 \(in 2\), 1 \(in 2\), too, .* --class '2=tumour' --class 0=back"
    ):
        create_manifest(top, modality=["CT"], labels={2: "tumour"})
    with pytest.raises(SegpipeError, match=r"store 2 \(in 1\), too"):
        create_manifest(top, **KNOWN)
    with pytest.raises(SegpipeError, match="a background and one class are needed"):
        create_manifest(top, modality=["CT"], labels={0: "background", 1: "a", 2: " "})


def test_colours_and_jpeg_are_no_label_maps(folder):
    top = folder(["images/a.png"], size=SIZE[:2])
    colours = sitk.GetImageFromArray(np.zeros((*SIZE[1::-1], 3), np.uint8), isVector=True)
    (top / "masks").mkdir()
    sitk.WriteImage(colours, str(top / "masks" / "a.png"))
    with pytest.raises(
        SegpipeError, match=r"a.png: has 3 channels, a label map has one; save its colours as one"
    ):
        create_manifest(top, **KNOWN)

    (top / "masks" / "a.png").unlink()
    sitk.WriteImage(sitk.VectorIndexSelectionCast(colours), str(top / "masks" / "a.jpg"))
    with pytest.raises(
        SegpipeError, match=r"1 label maps are JPEG, which changes values .*: masks/a.jpg; make PNG"
    ):
        create_manifest(top, **KNOWN)


def test_label_maps_that_are_none_are_refused(folder):
    top = folder(["a.nii.gz", "b.nii.gz"], ["b_mask.nii.gz"], size=(20, 20, 20))
    grid = Grid.from_affine((20, 20, 20), np.eye(4))
    write_volume(np.arange(8000, dtype=np.int16).reshape(grid.size), grid, top / "a_mask.nii.gz")
    with pytest.raises(SegpipeError, match=r"a_mask.nii.gz: holds 8000 values, more than a label map has"):
        create_manifest(top, modality=["CT"])

    write_volume(np.random.default_rng(0).random(grid.size).astype(np.float32), grid, top / "a_mask.nii.gz")
    with pytest.raises(SegpipeError, match=r"a_mask.nii.gz: label map holds values that are not whole"):
        create_manifest(top, modality=["CT"])

    for name in "ab":
        write_labels(top / f"{name}_mask.nii.gz", (0,), grid.size)
    with pytest.raises(SegpipeError, match="all 2 label maps hold the one value 0"):
        create_manifest(top, modality=["CT"])


# --- folders that hold no data set


def test_folders_without_a_data_set_are_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegpipeError, match="no such folder"):
        create_manifest(tmp_path / "nowhere")
    with pytest.raises(SegpipeError, match="no scan there"):
        create_manifest(tmp_path / "empty")
    top = folder(["a.nii.gz", "b.nii.gz"])
    with pytest.raises(SegpipeError, match="none is a label map"):
        create_manifest(top, **KNOWN)
    with pytest.raises(SegpipeError, match="none of 2 images has a label map"):
        create_manifest(top, images=["{case}.nii.gz"], **KNOWN)
    with pytest.raises(SegpipeError, match="--label is given without --image"):
        create_manifest(top, label="{case}.nii.gz", **KNOWN)
    with pytest.raises(SegpipeError, match="--csv and --image are given"):
        create_manifest(top, images=["{case}.nii.gz"], table=top / "t.csv", **KNOWN)
    shutil.copy(top / "a.nii.gz", top / "dataset.json")
    with pytest.raises(SegpipeError, match=r"dataset.json: the description of the data set is not UTF-8"):
        create_manifest(top, **KNOWN)


def test_formats_are_not_mixed_in_silence(folder):
    top = folder(
        ["images/a.nii.gz", "images/b.nii.gz", "images/c.nrrd"], ["masks/a.nii.gz", "masks/b.nii.gz"]
    )

    with pytest.raises(SegpipeError, match=r"several formats, 4 NIfTI, 1 NRRD: images/c; convert them"):
        create_manifest(top, **KNOWN)


def test_the_same_folder_gives_the_same_manifest(folder):
    top = folder(["images/a.nii.gz", "images/b.nii.gz"], ["masks/a.nii.gz", "masks/b.nii.gz"])

    first, second = (create_manifest(top, **KNOWN).manifest for _ in range(2))

    assert first == second
    assert parse_manifest(first.to_json(), "again") == first

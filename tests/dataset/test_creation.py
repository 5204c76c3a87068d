"""create_manifest: from a folder in any layout to a manifest that passes the check, or one clear message."""

import json
import shutil

import numpy as np
import pytest

from segpipe.dataset import check_cases, create_manifest, load_manifest, parse_manifest, write_manifest
from segpipe.dataset.phantom_files import write_phantom_dataset
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_label_map, write_series, write_volume

SIZE = (6, 5, 4)
CLASSES = {0: "background", 1: "tumour"}
KNOWN = {"labels": CLASSES, "modality": ["CT"]}


def write_image(path, seed=0, size=SIZE):
    voxels = np.random.default_rng(seed).integers(1, 200, size).astype(np.uint8)
    write_volume(voxels, Grid.from_affine(size, np.diag([-1.0, -1, 1, 1])), path)


def write_labels(path, values=(0, 1), size=SIZE):
    voxels = np.resize(np.array(values, np.uint8), size)
    write_label_map(voxels, Grid.from_affine(size, np.diag([-1.0, -1, 1, 1])), path)


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes images and label maps into a folder, and gives it."""

    def write(images=(), labels=(), size=SIZE):
        for seed, name in enumerate(images):
            write_image(tmp_path / "set" / name, seed, size)
        for name in labels:
            write_labels(tmp_path / "set" / name, size=size)
        return tmp_path / "set"

    return write


@pytest.fixture
def nnunet(folder):
    """Return a function that writes an nnU-Net folder of two channels with changes of its description."""

    def write(remove=(), **changes):
        images = [f"imagesTr/{case}_{channel:04d}.nii.gz" for case in "ab" for channel in range(2)]
        top = folder([*images, "imagesTs/c_0000.nii.gz", "imagesTs/c_0001.nii.gz"], labels=[])
        for case in "ab":
            write_labels(top / "labelsTr" / f"{case}.nii.gz")
        for name in remove:
            (top / name).unlink()
        content = {
            "channel_names": {"0": "T1", "1": "FLAIR"},
            "labels": {"background": 0, "tumour": 1},
            "numTraining": 2,
            "file_ending": ".nii.gz",
            **changes,
        }
        (top / "dataset.json").write_text(json.dumps(content))
        return top

    return write


def require_sound(created, folder):
    """The manifest can be written, read again, and its files pass the check."""
    write_manifest(created.manifest, folder.parent / "manifest.json")
    manifest = load_manifest(folder.parent / "manifest.json")
    assert manifest == created.manifest
    cases = [*manifest.training, *manifest.test]
    assert check_cases(cases, folder, manifest, manifest.label_table()) == []


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


def test_nnunet(nnunet):
    top = nnunet()

    created = create_manifest(top)

    require_sound(created, top)
    manifest = created.manifest
    assert (created.layout, manifest.modality) == ("nnU-Net", ("T1", "FLAIR"))
    assert manifest.training[1].images == ("imagesTr/b_0000.nii.gz", "imagesTr/b_0001.nii.gz")
    assert [(case.case, case.label) for case in manifest.test] == [("c", None)]


@pytest.mark.parametrize(
    ("remove", "changes", "message"),
    [
        (["labelsTr/b.nii.gz"], {}, "1 images without labels: b"),
        (["imagesTr/b_0000.nii.gz", "imagesTr/b_0001.nii.gz"], {}, "1 labels without images: b"),
        (["imagesTr/b_0001.nii.gz"], {}, r"b has the channels \[0\], .* names 2"),
        ([], {"labels": {"background": 0, "whole": [1, 2]}}, "whole are regions of several values"),
        ([], {"labels": {"background": 0, "tumour": 1, "ignore": 2}}, "labels has ignore, value 2"),
        ([], {"labels": None}, "labels must be an object"),
        ([], {"file_ending": None}, "file_ending a text"),
        ([], {"file_ending": ".nrrd"}, "no files that end in .nrrd"),
    ],
)
def test_nnunet_folders_that_do_not_fit_are_refused(nnunet, remove, changes, message):
    with pytest.raises(SegpipeError, match=message):
        create_manifest(nnunet(remove, **changes))


def test_nnunet_says_where_the_count_differs(nnunet):
    assert "numTraining 7, 2 cases" in create_manifest(nnunet(numTraining=7)).notes[0]


def test_nnunet_may_list_its_files(nnunet):
    listed = {
        "x": {"images": ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"], "label": "labelsTr/a.nii.gz"}
    }

    created = create_manifest(nnunet(dataset=listed))

    assert [case.case for case in created.manifest.training] == ["x"]


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_a_table(folder, between):
    top = folder(["s/1.nii.gz", "s/2.nii.gz", "s/3.nii.gz"], ["m/one.nii.gz", "m/two.nii.gz"])
    rows = [
        ("Case", "Image", "Label", "Patient"),
        ("x1", "s/1.nii.gz", "m/one.nii.gz", "P 1"),
        ("x2", "s/2.nii.gz", "m/two.nii.gz", "P 1"),
        ("x3", "s/3.nii.gz", "", "P 2"),
    ]
    (top / "cases.csv").write_text("\n".join(between.join(row) for row in rows), encoding="utf-8-sig")

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    assert created.layout == "the table cases.csv"
    assert [(case.case, case.patient) for case in created.manifest.training] == [("x1", "P 1"), ("x2", "P 1")]
    assert [case.case for case in created.manifest.test] == ["x3"]
    assert created.manifest.patients == ""
    assert create_manifest(top, table=top / "cases.csv", **KNOWN).manifest == created.manifest


def test_a_table_of_several_channels(folder):
    top = folder(["1_a.nii.gz", "1_b.nii.gz"], ["1_m.nii.gz"])
    (top / "t.csv").write_text("image_t1,image_flair,label\n1_a.nii.gz,1_b.nii.gz,1_m.nii.gz\n")

    created = create_manifest(top, labels=CLASSES, modality=["MRI"])

    require_sound(created, top)
    assert created.manifest.modality == ("MRI t1", "MRI flair")
    assert created.manifest.training[0].case == "1_a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,label\na,b\n", r"has the columns picture, label; must have image"),
        ("image,label\n", "lists no case"),
        (
            "image,label\na.nii.gz,b.nii.gz\n",
            r"2 of the files that it names are not there: a.nii.gz, b.nii.gz",
        ),
        ("image,label\n,b.nii.gz\n", "line 2 names no image"),
        ("image,label\na.nii.gz,b.nii.gz,c\n", "line 2 has more fields than the header"),
    ],
)
def test_tables_that_do_not_fit_are_refused(folder, text, message):
    top = folder(["1.nii.gz"])
    (top / "t.csv").write_text(text)

    with pytest.raises(SegpipeError, match=message):
        create_manifest(top, table=top / "t.csv", **KNOWN)


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
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])

    with pytest.raises(SegpipeError, match=r"none of its classes \(liver, tumour\) is the background"):
        create_manifest(top, modality=["CT"], labels={1: "liver", 2: "tumour"})


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
    with pytest.raises(SegpipeError, match=r"dataset.json: cannot be read"):
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

"""create_manifest reads a folder in any layout and returns a correct manifest, or raises one clear message."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from made_sets import CLASSES, KNOWN, SIZE, require_sound, write_labels

from segpipe.dataset import create_manifest, load_manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_series, write_volume


def test_pairs_of_files(folder):
    top = folder(["p1/CT_image.nrrd", "p2/CT_image.nrrd"], ["p1/CT_mask.nrrd", "p2/CT_mask.nrrd"])

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    manifest = created.manifest
    assert (created.layout, manifest.name, manifest.modality) == ("pairs of files", "set", ("CT",))
    assert dict(manifest.labels) == CLASSES
    assert [case.case for case in manifest.training] == ["p1", "p2"]
    assert all(len(case.sha256) == 2 for case in manifest.training)
    assert [case.patient for case in manifest.training] == ["p1", "p2"]
    assert manifest.patients == "from the folder of the scan"


def test_pictures(folder):
    top = folder(["images/a.png", "images/b.png"], ["masks/a.png", "masks/b.png"], size=SIZE[:2])

    require_sound(create_manifest(top, **KNOWN), top)


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

    created = create_manifest(top, images=["{case}/image"], label="{case}/mask.nii.gz", **KNOWN)

    require_sound(created, top)
    assert set(created.manifest.training[0].sha256) == {"p1/mask.nii.gz"}


def test_cases_without_a_label_map_and_patients_on_both_sides_are_noted(folder):
    top = folder(["a.nii.gz", "b.nii.gz", "c.nii.gz"], ["a_m.nii.gz", "b_m.nii.gz"])
    rows = [
        "image,label,patient,split",
        "a.nii.gz,a_m.nii.gz,P1,train",
        "b.nii.gz,b_m.nii.gz,P1,test",
        "c.nii.gz,,P2,train",
    ]
    (top / "t.csv").write_text("\n".join(rows))

    notes = create_manifest(top, **KNOWN).notes

    assert notes[0] == "1 cases have no label map: they are listed under test, never trained on"
    assert notes[1] == "the patients P1 have cases both to train on and to test"


def test_files_that_cannot_be_read_are_named(folder, monkeypatch):
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])

    allowed = os.open

    def refuse(path, *arguments, **keywords):
        if Path(path).name == "a.nii.gz":
            raise PermissionError(13, "Permission denied", str(path))
        return allowed(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(
        SegpipeError,
        match=r"a.nii.gz: cannot be read \(Permission denied\); check the path and the permissions",
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
    assert ("What is the value 0, stored in 2 label maps and 50 % of all voxels?", "background") in asked


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


def test_a_class_that_no_manifest_can_hold_is_refused(folder):
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])

    with pytest.raises(SegpipeError, match=r"tumour\\udcff: the name is not UTF-8 text"):
        create_manifest(top, modality=["CT"], labels={0: "background", 1: os.fsdecode(b"tumour\xff")})


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


def test_the_same_folder_gives_the_same_manifest(folder, tmp_path):
    top = folder(["images/a.nii.gz", "images/b.nii.gz"], ["masks/a.nii.gz", "masks/b.nii.gz"])

    first, second = (create_manifest(top, **KNOWN).manifest for _ in range(2))

    assert first == second
    write_manifest(first, tmp_path / "again.json")
    assert load_manifest(tmp_path / "again.json") == first

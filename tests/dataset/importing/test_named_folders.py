"""Folders without a description: formats that belong together, and files that are skipped."""

import shutil

import pytest
from made_sets import KNOWN, require_sound, write_image, write_labels

from segpipe.dataset import create_manifest
from segpipe.errors import SegpipeError


@pytest.fixture
def plain(tmp_path):
    """Return a folder of two images with label maps."""
    top = tmp_path / "set"
    for seed, case in enumerate("ab"):
        write_image(top / "images" / f"{case}.nii.gz", seed)
        write_labels(top / "masks" / f"{case}.nii.gz")
    return top


def test_strangers_are_ignored_and_listed(plain):
    for name in ("a.bval", "a.bvec", "a.json", "viewer.exe", "thumb.xyz"):
        (plain / "images" / name).write_bytes(b"x")

    created = create_manifest(plain, **KNOWN)

    require_sound(created, plain)
    (note,) = (note for note in created.notes if "ignored" in note)
    for name in ("a.bval", "a.bvec", "viewer.exe", "thumb.xyz"):
        assert f"images/{name}" in note


def test_screen_shots_beside_volumes_are_ignored(plain):
    (plain / "images" / "a.png").write_bytes(b"x")

    created = create_manifest(plain, **KNOWN)

    require_sound(created, plain)
    assert "1 2D image file beside volumes skipped: images/a.png" in created.notes


def test_pictures_that_may_be_scans_are_not_ignored(plain):
    shutil.move(plain / "images" / "b.nii.gz", plain / "images" / "b.png")
    with pytest.raises(SegpipeError, match=r"several formats, 3 NIfTI, 1 PNG or JPEG: images/b; convert"):
        create_manifest(plain, **KNOWN)

    (plain / "masks" / "c.png").write_bytes(b"x")
    with pytest.raises(SegpipeError, match=r"several formats, 3 NIfTI, 2 PNG or JPEG: images/b, masks/c"):
        create_manifest(plain, **KNOWN)


def test_one_name_in_two_formats_is_refused_with_both_paths(plain):
    write_image(plain / "images" / "a.mha", 7)

    with pytest.raises(
        SegpipeError, match=r"images/a\.mha and images/a\.nii\.gz: one name in several formats; which"
    ):
        create_manifest(plain, **KNOWN)
    created = create_manifest(plain, images=["images/{case}.nii.gz"], label="masks/{case}.nii.gz", **KNOWN)

    require_sound(created, plain)


@pytest.mark.parametrize("label", ["{}.seg.nrrd", "{}_mask.mha", "masks/{}.nrrd"])
def test_label_maps_may_have_another_format_than_images(tmp_path, label):
    """3D Slicer saves segmentations beside a scan, under the scan's name."""
    top = tmp_path / "set"
    for seed, case in enumerate("ab"):
        write_image(top / f"{case}.nii.gz", seed)
        plain = top / label.format(case).replace(".seg.nrrd", ".nrrd")
        write_labels(plain)
        plain.rename(top / label.format(case))

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    assert [(case.case, case.images, case.label) for case in created.manifest.training] == [
        (case, (f"{case}.nii.gz",), label.format(case)) for case in "ab"
    ]


def test_a_scan_and_its_segmentation_may_have_one_name_and_format(tmp_path):
    top = tmp_path / "set"
    for seed, case in enumerate("ab"):
        write_labels(top / f"{case}.nrrd")
        (top / f"{case}.nrrd").rename(top / f"{case}.seg.nrrd")
        write_image(top / f"{case}.nrrd", seed)

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    assert [case.label for case in created.manifest.training] == ["a.seg.nrrd", "b.seg.nrrd"]


def test_an_image_that_is_not_read_is_named_where_its_label_map_lacks_a_partner(plain):
    (plain / "images" / "b.nii.gz").unlink()
    (plain / "images" / "b.mgz").write_bytes(b"x")

    with pytest.raises(
        SegpipeError, match=r"1 label maps have no image: masks/b.nii.gz; .*; not read: .*b.mgz"
    ):
        create_manifest(plain, **KNOWN)


def test_a_folder_train_and_a_folder_label_with_equal_names(tmp_path):
    """The layout of a tutorial on MHD: train/N.mhd belongs to label/N.mhd; test images may repeat the names."""
    top = tmp_path / "set"
    for number in (1, 2, 3):
        write_image(top / "train" / f"{number}.mhd", number)
        write_labels(top / "label" / f"{number}.mhd")
    write_image(top / "test" / "1.mhd", 9)

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    assert [(case.case, case.images[0], case.label) for case in created.manifest.training] == [
        (str(number), f"train/{number}.mhd", f"label/{number}.mhd") for number in (1, 2, 3)
    ]
    assert [(case.case, case.images) for case in created.manifest.test] == [("test_1", ("test/1.mhd",))]


def test_training_and_validation_images_may_share_a_folder_of_label_maps(tmp_path):
    top = tmp_path / "set"
    for number, part in enumerate(("train", "train", "val")):
        write_image(top / part / f"{number}.mhd", number)
        write_labels(top / "label" / f"{number}.mhd")

    manifest = create_manifest(top, **KNOWN).manifest

    assert manifest.splits["folder"].validation == ("2",)
    assert [case.label for case in manifest.training] == [f"label/{number}.mhd" for number in range(3)]


def test_a_label_map_without_its_image_in_train_is_refused(tmp_path):
    top = tmp_path / "set"
    for number in (1, 2):
        write_image(top / "train" / f"{number}.mhd", number)
    for number in (1, 3):
        write_labels(top / "label" / f"{number}.mhd")

    with pytest.raises(
        SegpipeError, match=r"1 images have no label map: train/2.mhd; 1 label maps have no image: label/3"
    ):
        create_manifest(top, **KNOWN)

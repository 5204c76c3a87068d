"""A folder's layout: its train and test folders, its description, and files that are neither image nor label map."""

import os

import numpy as np
import pydicom
import pytest
from made_sets import KNOWN, SIZE, require_sound, write_labels, write_set

from segpipe.dataset import create_manifest, training_split
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_series


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
    assert created.notes[0] == (
        "2 cases with label maps belong to the data set's test part: they are never trained on"
    )


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
    assert "the folder puts every case with a label map into the part test" in created.notes[0]


def test_a_folder_with_nothing_to_train_on_is_refused(folder):
    names = [f"{part}/{kind}/a.nii.gz" for kind in ("images", "masks") for part in ("val", "test")]

    with pytest.raises(SegpipeError, match="for test or validation, none to train on"):
        create_manifest(folder(names[:2], names[2:]), **KNOWN)


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


def test_a_description_one_folder_below_is_not_ignored(folder):
    top = folder(["Task1/imagesTr/a.nii.gz"], ["Task1/labelsTr/a.nii.gz"])
    (top / "Task1" / "dataset.json").write_text("{}")

    with pytest.raises(SegpipeError, match=r"set/Task1 has a dataset.json, so the data set begins there"):
        create_manifest(top, **KNOWN)


def test_with_templates_other_files_do_not_matter(folder):
    top = folder(["p1/p1_f01.nii.gz"], ["p1/p1_f01_gt.nii.gz"])
    (top / "p1" / "scan.roi").write_text("x")

    created = create_manifest(top, images=["*/{case}.nii.gz"], label="*/{case}_gt.nii.gz", **KNOWN)

    require_sound(created, top)


def test_names_that_no_manifest_can_hold_are_refused(folder):
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])
    (top / "a.nii.gz").rename(top / os.fsdecode(b"a\xff.nii.gz"))

    with pytest.raises(SegpipeError, match=r"^a\\udcff.nii.gz: the name is not UTF-8 text; rename it"):
        create_manifest(top, **KNOWN)


@pytest.mark.parametrize(
    ("series", "label"),
    [("p{}/image", "p{}/mask.nii.gz"), ("dicom/p{}", "masks/p{}.nrrd")],
    ids=["beside", "apart"],
)
def test_series_with_label_maps_of_another_format(tmp_path, series, label):
    """3D Slicer and ITK-SNAP write such label maps."""
    top = tmp_path / "set"
    grid = Grid.from_affine(SIZE, np.diag([-1.0, -1, 1, 1]))
    for number in (1, 2):
        voxels = np.random.default_rng(number).integers(1, 200, SIZE).astype(np.int16)
        write_series(voxels, grid, top / series.format(number))
        write_labels(top / label.format(number))

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    assert [(case.images, case.label) for case in created.manifest.training] == [
        ((series.format(number),), label.format(number)) for number in (1, 2)
    ]


@pytest.mark.parametrize(
    "sop_class",
    [f"1.2.840.10008.5.1.4.1.1.{last}" for last in ("66.4", "66.5", "66.7", "481.3")],
    ids=["segmentation", "surface segmentation", "label map segmentation", "structure set"],
)
@pytest.mark.parametrize("place", ["p1/drawn.dcm", "drawn.dcm", "p1/rt/drawn.dcm"])
def test_label_objects_of_dicom_are_named(tmp_path, sop_class, place):
    top = tmp_path / "set"
    grid = Grid.from_affine(SIZE, np.diag([-1.0, -1, 1, 1]))
    write_series(np.random.default_rng(0).integers(1, 200, SIZE).astype(np.int16), grid, top / "p1")
    drawn = pydicom.dcmread(next((top / "p1").iterdir()))
    drawn.SOPClassUID = sop_class
    (top / place).parent.mkdir(exist_ok=True)
    drawn.save_as(top / place)

    with pytest.raises(SegpipeError, match=f"{place}: "):
        create_manifest(top, **KNOWN)


def test_images_of_two_formats_are_refused_beside_series_too(tmp_path):
    top = tmp_path / "set"
    grid = Grid.from_affine(SIZE, np.diag([-1.0, -1, 1, 1]))
    write_series(np.random.default_rng(0).integers(1, 200, SIZE).astype(np.int16), grid, top / "p1" / "image")
    write_set(top, ["p2/image.nii.gz"], ["p1/mask.nii.gz", "p2/mask.nii.gz"])

    with pytest.raises(SegpipeError, match="scans of several formats, 3 NIfTI, 1 DICOM"):
        create_manifest(top, **KNOWN)


def test_test_and_retest_are_visits(folder):
    names = [f"p1_{visit}/{kind}.nii.gz" for kind in ("ct", "mask") for visit in ("test", "retest")]

    manifest = create_manifest(folder(names[:2], names[2:]), **KNOWN).manifest

    assert [case.case for case in manifest.training] == ["p1_retest", "p1_test"]


def test_a_name_that_no_disk_can_hold_is_a_file_that_is_not_there(folder):
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])
    (top / "t.csv").write_text(f"image,label\n{'a' * 300}.nii.gz,a_mask.nii.gz\n")

    with pytest.raises(SegpipeError, match="1 of the files that it names are not there: aaa"):
        create_manifest(top, **KNOWN)

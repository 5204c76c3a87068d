"""Folders in nnU-Net's layout: the description is compared with the files."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from made_sets import require_sound, write_image, write_labels, write_nnunet

from segpipe.dataset import create_manifest, load_manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.regions import NamedRegion


@pytest.fixture
def nnunet(tmp_path):
    """Return a function that writes an nnU-Net folder of two channels with changes of its description."""
    return lambda remove=(), **changes: write_nnunet(tmp_path / "set", remove, **changes)


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
        (["imagesTr/b_0001.nii.gz"], {}, r"imagesTr/b: has the channels \[0\], dataset.json names 2"),
        ([], {"channel_names": ["T1", "T2"]}, r"channel_names must be an object .*, is \['T1', 'T2'\]"),
        ([], {"channel_names": {"T1": "0", "T2": "1"}}, "channel_names must be an object"),
        ([], {"channel_names": {"0": "T1", "1": None}}, "channel_names must be an object"),
        ([], {"channel_names": {"1": "T1", "2": "T2"}}, "channel_names must be an object"),
        (
            [],
            {"dataset": [{"images": ["imagesTr/a_0000.nii.gz"]}]},
            "dataset: must be an object .* correct it",
        ),
        (
            [],
            {"dataset": {"x": {"images": "imagesTr/a_0000.nii.gz", "label": "labelsTr/a.nii.gz"}}},
            "correct x",
        ),
        ([], {"dataset": {"x": {"images": ["imagesTr/a_0000.nii.gz"]}}}, "correct x"),
        (
            [],
            {"dataset": {"x": {"images": ["../a.nii.gz"], "label": "labelsTr/a.nii.gz"}}},
            "dataset: x: the path '../a.nii.gz' does not lie below",
        ),
        ([], {"file_ending": None}, "file_ending must be a text such as .nii.gz, is None"),
        ([], {"file_ending": "nii.gz"}, "file_ending must be .* is 'nii.gz'"),
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
    assert "scans are not listed in dataset.json: imagesTr/b_0000.nii.gz" in created.notes[0]


def test_labelled_test_cases_are_not_trained_on(nnunet):
    top = nnunet()
    write_labels(top / "labelsTs" / "c.nii.gz")

    created = create_manifest(top)

    require_sound(created, top)
    assert [case.case for case in created.manifest.training] == ["a", "b"]
    assert [(case.case, case.label) for case in created.manifest.test] == [("c", "labelsTs/c.nii.gz")]
    assert "1 cases with label maps belong to the data set's test part" in created.notes[0]


def test_a_test_set_may_count_from_the_start_again(nnunet):
    top = nnunet()
    for channel in range(2):
        write_image(top / f"imagesTs/a_{channel:04d}.nii.gz", 9 + channel)

    manifest = create_manifest(top).manifest

    assert [case.case for case in manifest.test] == ["test_a", "c"]
    assert manifest.test[0].images == ("imagesTs/a_0000.nii.gz", "imagesTs/a_0001.nii.gz")


def test_a_folder_without_files_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "t": 1}, "file_ending": ".nrrd"}'
    )

    with pytest.raises(SegpipeError, match=r"imagesTr and labelsTr hold no files that end in .nrrd"):
        create_manifest(tmp_path)


def test_scans_of_another_ending_than_the_descriptions_are_taken_and_named(nnunet):
    top = nnunet(["imagesTr/a_0001.nii.gz", "labelsTr/b.nii.gz"])
    write_image(top / "imagesTr" / "a_0001.nii", 5)
    write_labels(top / "labelsTr" / "b.nii")
    (top / "labelsTr" / "a.nii.gz").rename(top / "labelsTr" / "a.NII.GZ")

    created = create_manifest(top)

    require_sound(created, top)
    assert created.manifest.training[0].images == ("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii")
    assert [case.label for case in created.manifest.training] == ["labelsTr/a.NII.GZ", "labelsTr/b.nii"]
    assert created.notes[0] == (
        "2 files of another ending than .nii.gz, the file_ending of dataset.json, taken as well: "
        "imagesTr/a_0001.nii, labelsTr/b.nii"
    )


def test_strangers_and_second_formats_are_ignored(nnunet):
    top = nnunet()
    for name in ("imagesTr/preview.png", "imagesTr/a_0000.nii", "labelsTr/a.nrrd", "labelsTr/views.png"):
        (top / name).write_bytes(b"x")
    for name in ("imagesTr/a.bval", "imagesTr/a.json", "labelsTr/notes.docx"):
        (top / name).write_bytes(b"x")

    created = create_manifest(top)

    require_sound(created, top)
    assert created.notes[0] == (
        "4 scans of no case skipped: imagesTr/a_0000.nii, imagesTr/preview.png, labelsTr/a.nrrd, labelsTr/views.png"
    )


def test_two_files_of_one_name_and_neither_of_the_ending_are_refused(nnunet):
    top = nnunet(["labelsTr/a.nii.gz"])
    for name in ("a.nii", "a.nrrd"):
        write_labels(top / "labelsTr" / name)

    with pytest.raises(
        SegpipeError, match=r"labelsTr/a.nii and .*labelsTr/a.nrrd have one name, a, and neither"
    ):
        create_manifest(top)


def test_images_without_a_channel_number_are_listed(nnunet):
    top = nnunet()
    for case in "ab":
        (top / f"imagesTr/{case}_0000.nii.gz").rename(top / f"imagesTr/{case}.nii.gz")

    with pytest.raises(
        SegpipeError, match=r"2 images without the four digits .*: a.nii.gz, b.nii.gz; .* a_0000.nii.gz"
    ):
        create_manifest(top)


def test_segmentations_of_3d_slicer_are_paired_with_their_images(tmp_path):
    for seed, case in enumerate(("c0", "c1")):
        write_image(tmp_path / "set" / "imagesTr" / f"{case}_0000.nrrd", seed)
        write_labels(tmp_path / "set" / "labelsTr" / f"{case}.nrrd")
        (tmp_path / "set" / "labelsTr" / f"{case}.nrrd").rename(
            tmp_path / "set" / "labelsTr" / f"{case}.seg.nrrd"
        )
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nrrd"}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(content))

    created = create_manifest(tmp_path / "set")

    require_sound(created, tmp_path / "set")
    assert [case.label for case in created.manifest.training] == [
        "labelsTr/c0.seg.nrrd",
        "labelsTr/c1.seg.nrrd",
    ]
    assert not any("seg.nrrd" in note for note in created.notes)


def test_regions_and_their_order_are_taken_over(nnunet, tmp_path):
    top = nnunet(labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2])

    created = create_manifest(top).manifest
    write_manifest(created, tmp_path / "set.json")
    read = load_manifest(tmp_path / "set.json")

    assert read.labels == {0: "background", 1: "label 1", 2: "core"}
    assert [(region.name, region.classes, region.written) for region in read.label_table().regions] == [
        ("whole", (1, 2), 1),
        ("core", (2,), 2),
    ]
    assert read.sha256 == created.sha256


def test_own_names_of_values_replace_the_regions(nnunet):
    top = nnunet(labels={"background": 0, "whole": [1, 2], "core": 2})

    named = create_manifest(top, labels={0: "background", 1: "edema", 2: "core"}).manifest

    assert named.labels == {0: "background", 1: "edema", 2: "core"}
    assert named.regions == ()


def test_own_regions_name_classes_or_values_and_the_largest_is_written_first(nnunet):
    top = nnunet()
    classes = {0: "background", 1: "edema", 2: "core"}
    regions = [NamedRegion("middle", ("core",)), NamedRegion("whole", ("1", "2"))]

    created = create_manifest(top, labels=classes, regions=regions).manifest

    assert created.regions == (NamedRegion("whole", ("edema", "core")), NamedRegion("middle", ("core",)))


def test_the_value_to_ignore_is_no_class(nnunet):
    created = create_manifest(nnunet(labels={"background": 0, "tumour": 1, "ignore": 2})).manifest

    assert created.label_table().names == ("background", "tumour")
    assert created.label_table().ignore_value == 2


def test_a_region_of_an_unknown_class_is_refused(nnunet):
    with pytest.raises(
        SegpipeError, match="regions: whole has the class lung, which is unknown; the classes are"
    ):
        create_manifest(nnunet(), regions=[NamedRegion("whole", ("lung",))])


def test_names_that_are_none_are_not_taken_over(nnunet):
    assert create_manifest(nnunet(name=None, licence=["CC"])).manifest.name == "set"


def test_hidden_files_are_ignored(nnunet):
    top = nnunet()
    for name in ("imagesTr/._a_0000.nii.gz", "labelsTr/._a.nii.gz", "imagesTr/.DS_Store"):
        (top / name).write_bytes(b"x")

    assert [case.case for case in create_manifest(top).manifest.training] == ["a", "b"]


def test_one_picture_may_hold_all_channels(tmp_path):
    """nnU-Net's reader of natural images has red, green and blue in x_0000.png."""
    top = tmp_path / "set"
    write_labels(top / "labelsTr" / "x.png", size=(5, 6))
    (top / "imagesTr").mkdir()
    content = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "tumour": 1}}
    (top / "dataset.json").write_text(json.dumps({**content, "file_ending": ".png"}))
    picture = np.random.default_rng(0).integers(0, 255, (6, 5, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(top / "imagesTr" / "x_0000.png"))

    created = create_manifest(top)

    require_sound(created, top)
    assert created.manifest.training[0].images == ("imagesTr/x_0000.png",)


def test_a_label_map_of_two_cases_is_refused(nnunet):
    images = [f"imagesTr/a_{channel:04d}.nii.gz" for channel in range(2)]
    images_of_b = [f"imagesTr/b_{channel:04d}.nii.gz" for channel in range(2)]
    label = "labelsTr/a.nii.gz"
    listed = {"x": {"images": images, "label": label}, "y": {"images": images_of_b, "label": label}}

    with pytest.raises(SegpipeError, match=r"labelsTr/a.nii.gz is the label map of x and the label map of y"):
        create_manifest(nnunet(dataset=listed))
    listed["y"] = {"images": [images_of_b[0], images[0]], "label": "labelsTr/b.nii.gz"}
    with pytest.raises(SegpipeError, match=r"imagesTr/a_0000.nii.gz is the image of x and the image of y"):
        create_manifest(nnunet(dataset=listed))


def test_label_maps_that_are_not_what_the_description_says_are_refused(nnunet):
    with pytest.raises(SegpipeError, match=r"store 1 \(in 1\), too, .* --class '0=background' --class '2=t'"):
        create_manifest(nnunet(labels={"background": 0, "t": 2}))
    top = nnunet()
    images, labels = top / "imagesTr" / "a_0000.nii.gz", top / "labelsTr" / "a.nii.gz"
    held = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    labels.write_bytes(held)
    with pytest.raises(SegpipeError, match="too, which no class names"):
        create_manifest(top)


def test_label_maps_of_other_cases_are_noted(nnunet):
    listed = {
        case: {
            "images": [f"imagesTr/{case}_{channel:04d}.nii.gz" for channel in range(2)],
            "label": f"labelsTr/{other}.nii.gz",
        }
        for case, other in ("ab", "ba")
    }

    notes = create_manifest(nnunet(dataset=listed)).notes

    assert "2 label maps are named like another case's image: labelsTr/b.nii.gz for imagesTr/a" in notes[0]

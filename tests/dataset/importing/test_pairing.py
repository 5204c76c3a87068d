"""The words in file names decide which image and label map are one case."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.dataset.importing.found_cases import FoundCase
from segpipe.dataset.importing.pairing import pairs_by_words
from segpipe.errors import SegpipeError


def paired(*paths, where="set"):
    return pairs_by_words([(path.removesuffix(".nii.gz"), path) for path in paths], where)


def named(*stems):
    return [f"{stem}.nii.gz" for stem in stems]


LAYOUTS = {
    "folders": ("images/a", "masks/a", "images/b", "masks/b"),
    "MSD without its description": ("imagesTr/a", "labelsTr/a", "imagesTr/b", "labelsTr/b"),
    "flat, both marked": ("a_image", "a_label", "b_image", "b_label"),
    "flat, masks marked": ("a", "a_mask", "b", "b_mask"),
    "masks marked in front": ("a", "mask_a", "b", "mask_b"),
    "a folder a case": ("a/CT_image", "a/CT_mask", "b/CT_image", "b/CT_mask"),
    "a folder a case, bare names": ("a/image", "a/segmentation", "b/image", "b/segmentation"),
    "a folder a case, its name again": ("a/a_scan", "a/a_seg", "b/b_scan", "b/b_seg"),
    "image named by modality": ("a/ct", "a/gt", "b/ct", "b/gt"),
    "below a folder": ("data/images/a", "data/masks/a", "data/images/b", "data/masks/b"),
    "capitals": ("Images/a", "Labels/a", "Images/b", "Labels/b"),
    "a folder a case, the image named after it": ("a/a", "a/GT", "b/b", "b/GT"),
    "numbers without a space": ("a/img_1", "a/mask_1", "b/img_1", "b/mask_1"),
    "folders of any name": ("CT scans/a", "Masks of experts/a", "CT scans/b", "Masks of experts/b"),
    "spaces": ("a image", "a manual segmentation", "b image", "b manual segmentation"),
}


@pytest.mark.parametrize("stems", LAYOUTS.values(), ids=LAYOUTS)
def test_pairs_of_every_layout(stems):
    cases = paired(*named(*stems))

    expected = named(*stems)
    assert [(case.case, case.images, case.label) for case in cases] == [
        ("a", (expected[0],), expected[1]),
        ("b", (expected[2],), expected[3]),
    ]


def test_channels_are_what_an_images_name_has_more():
    cases = paired(*named("A1/A1_t1", "A1/A1_flair", "A1/A1_seg", "A2/A2_flair", "A2/A2_t1", "A2/A2_seg"))

    assert cases == [
        FoundCase("A1", ("A1/A1_flair.nii.gz", "A1/A1_t1.nii.gz"), ("flair", "t1"), "A1/A1_seg.nii.gz"),
        FoundCase("A2", ("A2/A2_flair.nii.gz", "A2/A2_t1.nii.gz"), ("flair", "t1"), "A2/A2_seg.nii.gz"),
    ]


def test_images_of_a_test_folder_need_no_label_map():
    cases = paired(
        *named("imagesTr/a_0000", "imagesTr/a_0001", "labelsTr/a", "imagesTs/B_0000", "imagesTs/B_0001")
    )

    assert [(case.case, case.label) for case in cases] == [("B", None), ("a", "labelsTr/a.nii.gz")]
    assert cases[0].images == ("imagesTs/B_0000.nii.gz", "imagesTs/B_0001.nii.gz")


def test_a_longer_name_of_its_own_is_no_channel():
    cases = paired(*named("images/a", "images/a_1", "labels/a", "labels/a_1"))

    assert [(case.images, case.label) for case in cases] == [
        (("images/a.nii.gz",), "labels/a.nii.gz"),
        (("images/a_1.nii.gz",), "labels/a_1.nii.gz"),
    ]


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        (("a", "b"), "of 2 scans none is a label map by its name or folder"),
        (("x/a_mask", "x/b_mask"), "every one is a label map"),
        (
            ("labels/a", "labels/b"),
            "all 2 scans lie in a folder of label maps, and there is no image beside it",
        ),
        (("images/a", "images/b", "masks/a"), "1 images have no label map: images/b.nii.gz"),
        (("images/a", "masks/a", "masks/b"), "1 label maps have no image: masks/b.nii.gz"),
        (
            ("images/anna_1", "masks/berta_1"),
            "1 images have no label map: images/anna_1.nii.gz; 1 label maps",
        ),
        (("a", "a_mask", "a_seg"), "a_mask.nii.gz and a_seg.nii.gz are both the label map of one case"),
        (
            ("a/t1", "a/t2", "a/seg", "b/t1", "b/t2", "b/seg", "c/t1", "c/seg"),
            r"most cases have the channels t1, t2, but the case of c/seg.nii.gz has t1 \(1 of 3 differ\)",
        ),
        (("a/image", "a/scan", "a/seg", "b/image", "b/seg"), r"two images of one channel \(no name\)"),
        (("a_b_c", "a_b_seg", "a_c_seg", "d_seg"), "could belong to a_b_seg.nii.gz or a_c_seg.nii.gz"),
        (("a", "a_mask", "a_mask2"), "1 label maps have no image: a_mask2.nii.gz"),
        (("a", "a_mask", "a_seg1", "b", "b_mask"), "1 label maps have no image: a_seg1.nii.gz"),
        (
            ("a_1", "a_2", "a_mask"),
            "the names of images have 1, 2 in addition to their label map's name, which is no channel's",
        ),
        (("a_0001", "a_0002", "a_mask"), "images have 0001, 0002 in addition"),
        (("a_1", "a_mask"), "images have 1 in addition"),
        (("a_visit1", "a_visit2", "a_mask"), "images have visit1, visit2 in addition"),
        (
            ("a", "a_post", "a_mask"),
            r"would be the channels \(one without a name\), post, and one has no name",
        ),
        (("a_t1", "a_t2", "a_brainmask", "a_seg"), "images have brainmask in addition"),
        (("overlays/a", "masks/a", "overlays/b", "masks/b"), "2 images have no label map: overlays/a"),
        (
            ("imagesTr/a", "labelsTr/a", "imagesTs/q-1", "imagesTs/q_1"),
            "q-1.nii.gz and imagesTs/q_1.nii.gz are both",
        ),
        (("anna/1", "berta/mask_1"), "1 images have no label map: anna/1.nii.gz"),
        (
            ("imagesTr/a_0000", "imagesTr/a_0001", "labelsTr/a", "imagesTs/b_0000"),
            "1 cases without label maps have other channels than 0000, 0001: b",
        ),
    ],
)
def test_what_does_not_pair_is_refused(stems, message):
    with pytest.raises(SegpipeError, match=message):
        paired(*named(*stems))


NAME = st.text(string.ascii_letters + string.digits, min_size=1, max_size=6).filter(
    lambda text: (
        not re.search(
            "(?i)image|img|input|scan|vol|label|mask|seg|gt|annot|cont|lbl|man|roi|tar|tru|gro", text
        )
    )
)


@pytest.mark.parametrize("names", [("CT",), ("CT_001", "CT_002")], ids=["one", "two"])
def test_names_that_begin_as_the_folder_of_images(names):
    cases = paired(
        *named(*(f"{folder}/{name}" for folder in ("CT scans", "Masks of experts") for name in names))
    )

    assert [case.case for case in cases] == list(names)


@pytest.mark.parametrize(
    ("stems", "names", "channels"),
    [
        (("0/0", "0/GT"), ["0"], ("",)),
        (("CT/ct", "CT/gt"), ["CT"], ("",)),
        (("CT/ct", "CT/gt", "anna/ct", "anna/gt"), ["CT", "anna"], ("ct",)),
        (("T1/t1", "T1/t2", "T1/gt", "anna/t1", "anna/t2", "anna/gt"), ["T1", "anna"], ("t1", "t2")),
    ],
    ids=["lone-number", "lone", "a-patient-of-the-images-name", "of-a-channels-name"],
)
def test_an_image_may_be_named_as_its_patient(stems, names, channels):
    cases = paired(*named(*stems))

    assert [case.case for case in cases] == names
    assert {case.channels for case in cases} == {channels}
    assert all(case.images[0].startswith(f"{case.case}/") for case in cases)


@given(st.lists(NAME, min_size=1, max_size=8, unique_by=str.lower), st.sampled_from(list(LAYOUTS.values())))
def test_any_names_pair_in_any_layout(names, layout):
    """Each image is paired with the label map of the same name, and every case appears once."""
    image, label = layout[0], layout[1]
    of_case = {
        name: tuple(re.sub(r"\ba(?=[/_ ]|$)|(?<=_)a$", name, stem) for stem in (image, label))
        for name in names
    }

    cases = paired(*named(*(stem for pair in of_case.values() for stem in pair)))

    assert {(case.images, case.label) for case in cases} == {
        ((f"{image}.nii.gz",), f"{label}.nii.gz") for image, label in of_case.values()
    }
    assert len({case.case for case in cases}) == len(names)


def test_letters_of_any_alphabet_are_letters():
    with pytest.raises(SegpipeError, match="1 images have no label map: images/Müller"):
        paired(*named("images/Müller", "labels/Möller"))
    assert [
        case.case for case in paired(*named("images/Müller", "labels/Müller", "images/张三", "labels/张三"))
    ] == [
        "Müller",
        "张三",
    ]


@pytest.mark.parametrize(
    "word",
    [
        "pred",
        "prediction",
        "preds2",
        "prob",
        "probabilities",
        "output",
        "result",
        "overlay",
        "preview",
        "autoseg",
        "qc",
    ],
)
def test_an_image_derived_from_another_is_no_channel(word):
    for stems in (("a", f"a_{word}", "a_mask"), (f"a_{word}", "a_mask"), ("a_t1", f"a_{word}", "a_mask")):
        with pytest.raises(
            SegpipeError, match=f"images (have {word} in addition|would be the channels)|have no image"
        ):
            paired(*named(*stems))


def test_folders_that_an_id_repeats_are_named_once():
    """ACDC repeats the folder's name in the file's name; a folder with another name stays in the id."""
    stems = ("p1/p1_f01", "p1/p1_f01_gt", "p1/p1_f12", "p1/p1_f12_gt", "p2/p20_f01", "p2/p20_f01_gt")

    assert [case.case for case in paired(*named(*stems))] == ["p1_f01", "p1_f12", "p2_p20_f01"]


def test_folders_of_any_name_pair_within_each_part():
    """ISIC has folders of this form."""
    stems = (
        "X_Training_Input/a",
        "Training_GroundTruth/a",
        "X_Test_Input/a",
        "Test_GroundTruth/a",
        "X_Test_Input/b",
    )

    cases = paired(*named(*stems))

    assert {case.case: (case.images[0], case.label) for case in cases} == {
        "test_a": ("X_Test_Input/a.nii.gz", "Test_GroundTruth/a.nii.gz"),
        "b": ("X_Test_Input/b.nii.gz", None),
        "train_a": ("X_Training_Input/a.nii.gz", "Training_GroundTruth/a.nii.gz"),
    }


def test_a_folder_a_case_of_several_words():
    """SegTHOR has folders of this form."""
    stems = ("Patient_01/Patient_01", "Patient_01/GT", "Patient_02/Patient_02", "Patient_02/GT")

    assert [(case.case, case.label) for case in paired(*named(*stems))] == [
        ("Patient_01", "Patient_01/GT.nii.gz"),
        ("Patient_02", "Patient_02/GT.nii.gz"),
    ]


def test_folders_that_all_have_are_no_part_of_an_id():
    stems = [f"sub-{number}/anat/sub-{number}_{what}" for number in (1, 2) for what in ("T1w", "mask")]

    assert [case.case for case in paired(*named(*stems))] == ["sub_1", "sub_2"]


def test_the_part_stands_in_an_id_where_it_must():
    distinct = paired(*named("train/a", "train_labels/a", "test/b", "test_labels/b"))
    same = paired(*named("train/a", "train_labels/a", "val/a", "val_labels/a"))

    assert [case.case for case in distinct] == ["a", "b"]
    assert [case.case for case in same] == ["train_a", "validation_a"]


@pytest.mark.parametrize(("train", "test"), [("Tr", "Ts"), ("Train", "Test")])
def test_the_test_set_may_count_from_the_start_again(train, test):
    cases = paired(*named(f"images{train}/a", f"labels{train}/a", f"images{test}/a", f"labels{test}/a"))

    assert {(case.images[0], case.label) for case in cases} == {
        (f"images{train}/a.nii.gz", f"labels{train}/a.nii.gz"),
        (f"images{test}/a.nii.gz", f"labels{test}/a.nii.gz"),
    }

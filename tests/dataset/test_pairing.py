"""Which files are one case: by the words in their names, and by templates."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.dataset.pairing import FoundCase, pairs_by_templates, pairs_by_words, template_pattern
from segpipe.errors import SegpipeError


def found(*paths, where="set"):
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
    "spaces": ("a image", "a manual segmentation", "b image", "b manual segmentation"),
}


@pytest.mark.parametrize("stems", LAYOUTS.values(), ids=LAYOUTS)
def test_pairs_of_every_layout(stems):
    cases = found(*named(*stems))

    expected = named(*stems)
    assert [(case.case, case.images, case.label) for case in cases] == [
        ("a", (expected[0],), expected[1]),
        ("b", (expected[2],), expected[3]),
    ]


def test_channels_are_what_an_images_name_has_more():
    cases = found(*named("A1/A1_t1", "A1/A1_flair", "A1/A1_seg", "A2/A2_flair", "A2/A2_t1", "A2/A2_seg"))

    assert cases == [
        FoundCase("A1", ("A1/A1_flair.nii.gz", "A1/A1_t1.nii.gz"), ("flair", "t1"), "A1/A1_seg.nii.gz"),
        FoundCase("A2", ("A2/A2_flair.nii.gz", "A2/A2_t1.nii.gz"), ("flair", "t1"), "A2/A2_seg.nii.gz"),
    ]


def test_images_of_a_test_folder_need_no_label_map():
    cases = found(
        *named("imagesTr/a_0000", "imagesTr/a_0001", "labelsTr/a", "imagesTs/B_0000", "imagesTs/B_0001")
    )

    assert [(case.case, case.label) for case in cases] == [("B", None), ("a", "labelsTr/a.nii.gz")]
    assert cases[0].images == ("imagesTs/B_0000.nii.gz", "imagesTs/B_0001.nii.gz")


def test_a_longer_name_of_its_own_is_no_channel():
    cases = found(*named("images/a", "images/a_1", "labels/a", "labels/a_1"))

    assert [(case.images, case.label) for case in cases] == [
        (("images/a.nii.gz",), "labels/a.nii.gz"),
        (("images/a_1.nii.gz",), "labels/a_1.nii.gz"),
    ]


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        (("a", "b"), "of 2 scans none is a label map by its name or folder"),
        (("x/a_mask", "x/b_mask"), "every one is a label map"),
        (("images/a", "images/b", "masks/a"), "1 images have no label map: images/b.nii.gz"),
        (("images/a", "masks/a", "masks/b"), "1 label maps have no image: masks/b.nii.gz"),
        (
            ("images/anna_1", "masks/berta_1"),
            "1 images have no label map: images/anna_1.nii.gz; 1 label maps",
        ),
        (("a", "a_mask", "a_seg"), "a_mask.nii.gz and a_seg.nii.gz are both the label map of one case"),
        (
            ("a/t1", "a/t2", "a/seg", "b/t1", "b/t2", "b/seg", "c/t1", "c/seg"),
            r"most cases have the channels t1, t2, but that of c/seg.nii.gz has t1 \(1 of 3 differ\)",
        ),
        (("a/image", "a/scan", "a/seg", "b/image", "b/seg"), r"two images of one channel \(no name\)"),
        (("a_b_c", "a_b_seg", "a_c_seg", "d_seg"), "could belong to a_b_seg.nii.gz or a_c_seg.nii.gz"),
        (
            ("imagesTr/a_0000", "imagesTr/a_0001", "labelsTr/a", "imagesTs/b_0000"),
            "1 cases without label maps have other channels than 0000, 0001: b",
        ),
    ],
)
def test_what_does_not_pair_is_refused(stems, message):
    with pytest.raises(SegpipeError, match=message):
        found(*named(*stems))


NAME = st.text(string.ascii_letters + string.digits, min_size=1, max_size=6).filter(
    lambda text: (
        not re.search(
            "(?i)image|img|input|scan|vol|label|mask|seg|gt|annot|cont|lbl|man|roi|tar|tru|gro", text
        )
    )
)


@given(st.lists(NAME, min_size=1, max_size=8, unique_by=str.lower), st.sampled_from(list(LAYOUTS.values())))
def test_any_names_pair_in_any_layout(names, layout):
    """Each image goes with the label map of its own name, and every case is there once."""
    image, label = layout[0], layout[1]
    of_case = {
        name: tuple(re.sub(r"\ba(?=[/_ ]|$)|(?<=_)a$", name, stem) for stem in (image, label))
        for name in names
    }

    cases = found(*named(*(stem for pair in of_case.values() for stem in pair)))

    assert {(case.images, case.label) for case in cases} == {
        ((f"{image}.nii.gz",), f"{label}.nii.gz") for image, label in of_case.values()
    }
    assert len({case.case for case in cases}) == len(names)


# --- templates


def test_templates_say_which_files_are_which():
    paths = [
        "p1/s1_t1.nii",
        "p1/s1_t2.nii",
        "p1/s1_m.nii",
        "p1/notes.nii",
        "p2/s7_t1.nii",
        "p2/s7_t2.nii",
        "p2/s7_m.nii",
    ]

    cases = pairs_by_templates(
        paths, ["{patient}/{case}_t1.nii", "{patient}/{case}_t2.nii"], "{patient}/{case}_m.nii", "set"
    )

    assert cases == [
        FoundCase("p1_s1", ("p1/s1_t1.nii", "p1/s1_t2.nii"), ("", ""), "p1/s1_m.nii", "p1"),
        FoundCase("p2_s7", ("p2/s7_t1.nii", "p2/s7_t2.nii"), ("", ""), "p2/s7_m.nii", "p2"),
    ]


def test_the_same_name_in_two_patients_is_two_cases():
    """Each patient's image goes with that patient's label map, whatever the others' are named."""
    paths = ["p1/img_1.nii", "p1/seg_1.nii", "p2/img_1.nii", "p2/seg_1.nii"]

    cases = pairs_by_templates(paths, ["{patient}/img_{case}.nii"], "{patient}/seg_{case}.nii", "set")

    assert [(case.images[0], case.label) for case in cases] == [
        ("p1/img_1.nii", "p1/seg_1.nii"),
        ("p2/img_1.nii", "p2/seg_1.nii"),
    ]
    crossed = ["p1/img_1.nii", "p1/seg_2.nii", "p2/img_2.nii", "p2/seg_1.nii"]
    with pytest.raises(SegpipeError, match="4 files are missing"):
        pairs_by_templates(crossed, ["{patient}/img_{case}.nii"], "{patient}/seg_{case}.nii", "set")


def test_letters_of_any_alphabet_are_letters():
    with pytest.raises(SegpipeError, match="1 images have no label map: images/Müller"):
        found(*named("images/Müller", "labels/Möller"))
    assert [
        case.case for case in found(*named("images/Müller", "labels/Müller", "images/张三", "labels/张三"))
    ] == [
        "Müller",
        "张三",
    ]


def test_a_file_belongs_to_the_template_that_says_most():
    cases = pairs_by_templates(["a.mhd", "mask_a.mhd"], ["{case}.mhd"], "mask_{case}.mhd", "set")

    assert [(case.case, case.images, case.label) for case in cases] == [("a", ("a.mhd",), "mask_a.mhd")]


def test_images_alone_have_templates_too():
    (case,) = pairs_by_templates(["x/a.png"], ["*/{case}.png"], None, "set")

    assert (case.case, case.label, case.patient) == ("a", None, None)


@pytest.mark.parametrize(
    ("images", "label", "message"),
    [
        (
            ["{case}.nrrd"],
            None,
            r"set: \{case\}.nrrd matches none of its 3 scans, such as a.nii, a_m.nii, b.nii",
        ),
        (["{case}.nii"], "{case}_m.nii", r"1 files are missing: b has no label map \(\{case\}_m.nii\)"),
        (["*.nii"], None, r"must have \{case\} or \{patient\}"),
        (["{scan}.nii"], None, r"must have \{case\} or \{patient\} .* and no other braces"),
        (["{case}*.nii"], None, "are both case a by"),
    ],
)
def test_templates_that_do_not_fit_are_refused(images, label, message):
    with pytest.raises(SegpipeError, match=message):
        pairs_by_templates(["a.nii", "a_m.nii", "b.nii"], images, label, "set")


def test_a_template_takes_no_character_for_another():
    assert template_pattern("{case}.nii").fullmatch("a_nii") is None
    assert template_pattern("{case}/{case}.nii").fullmatch("a/b.nii") is None
    assert template_pattern("{case}/{case}.nii").fullmatch("a/a.nii")["case"] == "a"

"""Templates decide which image and label map are one case."""

import pytest

from segpipe.dataset.importing.found_cases import FoundCase
from segpipe.dataset.importing.templates import pairs_by_templates, template_pattern
from segpipe.errors import SegpipeError


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
        FoundCase("p1_s1", ("p1/s1_t1.nii", "p1/s1_t2.nii"), ("t1", "t2"), "p1/s1_m.nii", "p1"),
        FoundCase("p2_s7", ("p2/s7_t1.nii", "p2/s7_t2.nii"), ("t1", "t2"), "p2/s7_m.nii", "p2"),
    ]


@pytest.mark.parametrize(
    ("templates", "channels"),
    [
        (["{case}_T1.nii", "{case}_T2.nii"], ("T1", "T2")),
        (["T1/{case}_T1.nii", "T1/{case}_T1_post.nii"], ("T1", "T1_post")),
        (["{case}_flair_flair.nii", "{case}_flair.nii"], ("flair_flair", "flair")),
        (["a/{case}.nii", "a/a/{case}.nii"], ("a", "a_a")),
        (["MRI/{case}/MRI_T1.nii", "MRI/{case}/MRI_MRI.nii"], ("MRI_T1", "MRI_MRI")),
        (["{case}.nii", "{case}_post.nii"], ("", "post")),
        (["{case}_T1.nii"], ("",)),
    ],
)
def test_channels_are_named_by_what_tells_their_templates_apart(templates, channels):
    paths = [template.format(case=case) for template in templates for case in "xy"]

    assert {case.channels for case in pairs_by_templates(paths, templates, None, "set")} == {channels}


def test_the_same_name_in_two_patients_is_two_cases():
    """Each patient's image is paired with the label map of the same patient."""
    paths = ["p1/img_1.nii", "p1/seg_1.nii", "p2/img_1.nii", "p2/seg_1.nii"]

    cases = pairs_by_templates(paths, ["{patient}/img_{case}.nii"], "{patient}/seg_{case}.nii", "set")

    assert [(case.images[0], case.label) for case in cases] == [
        ("p1/img_1.nii", "p1/seg_1.nii"),
        ("p2/img_1.nii", "p2/seg_1.nii"),
    ]
    crossed = ["p1/img_1.nii", "p1/seg_2.nii", "p2/img_2.nii", "p2/seg_1.nii"]
    with pytest.raises(SegpipeError, match="4 files are missing"):
        pairs_by_templates(crossed, ["{patient}/img_{case}.nii"], "{patient}/seg_{case}.nii", "set")


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
        (["{patient}{case}.nii"], None, "cannot know where one name ends and the next begins"),
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


def test_a_case_named_after_its_patient_keeps_its_name():
    paths = [
        "patient001/patient001_frame01.nii",
        "patient001/patient001_frame01_gt.nii",
        "p1/p10.nii",
        "p1/p10_gt.nii",
    ]

    cases = pairs_by_templates(paths, ["{patient}/{case}.nii"], "{patient}/{case}_gt.nii", "set")

    assert [(case.case, case.patient) for case in cases] == [
        ("p1_p10", "p1"),
        ("patient001_frame01", "patient001"),
    ]


def test_a_template_may_be_written_from_here():
    (case,) = pairs_by_templates(["x/a.nii", "x/a_m.nii"], ["./x/{case}.nii"], ".\\x\\{case}_m.nii", "set")

    assert case.label == "x/a_m.nii"


def test_templates_that_say_the_same_or_have_odd_braces_are_refused():
    with pytest.raises(SegpipeError, match=r"template \{case\}.nii is given twice"):
        pairs_by_templates(["a.nii"], ["{case}.nii", "./{case}.nii"], None, "set")
    with pytest.raises(SegpipeError, match="no other braces"):
        pairs_by_templates(["a.nii"], ["{case}_{number:03d}.nii"], None, "set")
    with pytest.raises(SegpipeError, match="matches none of its files, of which none is a scan"):
        pairs_by_templates([], ["{case}.nii"], None, "set")

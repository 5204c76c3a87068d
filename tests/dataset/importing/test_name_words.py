"""The words of a file's name: words for a role, and words for a case."""

import pytest

from segpipe.dataset.importing.name_words import is_derived_word, name_words, read_names, says_label


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("case_01_mask", ["case", "01", "mask"]),
        ("case_mask2", ["case", "mask", "2"]),
        ("img001", ["img", "001"]),
        ("t1", ["t1"]),
    ],
)
def test_the_number_behind_a_role_is_a_word(name, words):
    assert name_words(name) == words


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("labelsTr/a.nii.gz", True),
        ("a/GroundTruth/b.png", True),
        ("a_seg.mha", True),
        ("segment/a.mha", False),
    ],
)
def test_a_whole_word_stands_for_a_label_map(path, expected):
    assert says_label(path) is expected


@pytest.mark.parametrize(
    ("word", "expected"), [("overlay", True), ("probability2", True), ("flair", False), ("tpred", True)]
)
def test_results_of_programs_are_recognised(word, expected):
    assert is_derived_word(word) is expected


def test_image_and_label_map_share_a_key():
    image, label = read_names([("p1/image", "p1/image.mha"), ("p1/mask", "p1/mask.mha")])

    assert (image.is_label, label.is_label) == (False, True)
    assert image.key == label.key


def test_a_folder_of_each_role_says_nothing_about_the_case():
    image, label = read_names([("CT/CT_1", "CT/CT_1.mha"), ("masks/CT_1", "masks/CT_1.mha")])

    assert image.key == label.key
    assert label.key.words == ("ct", "1")

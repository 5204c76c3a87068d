"""Stored values of predictions and references that mean the same class."""

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.evaluation.coding import (
    Coding,
    OneSided,
    one_sided_classes,
    one_sided_in_words,
    require_common_values,
    require_mapping,
    shifted_in_words,
)
from segpipe.labels import LabelTable

TABLE = LabelTable.from_rows(
    {"index": index, "name": name, "color": [0, 0, 0], "value": index}
    for index, name in enumerate(["background", "1", "2"])
)


def counted(*values):
    return dict.fromkeys(values, 3)


@pytest.mark.parametrize(
    ("predicted", "referenced", "remedy"),
    [
        ([0, 1], [0, 255], "add --reference-value 255=1;"),
        ([0, 255], [0, 1], "add --prediction-value 255=1;"),
        ([0, 1, 2], [0, 85, 170], "add --reference-value 85=1 --reference-value 170=2 (paired in"),
        ([1, 2], [85, 170], "add --reference-value 85=1 --reference-value 170=2 (paired in"),
        (
            [0, 1],
            [0, 85, 170],
            "add --reference-value 85=VALUE --reference-value 170=VALUE, where VALUE is what pred",
        ),
        ([0, 1], [0, -1], "add --reference-value -1=1;"),
    ],
)
def test_sides_without_a_common_class_are_refused_with_the_options_to_type(predicted, referenced, remedy):
    with pytest.raises(SegpipeError) as refused:
        require_common_values(counted(*predicted), counted(*referenced), {}, {})

    assert remedy in str(refused.value)


@pytest.mark.parametrize(
    ("predicted", "referenced"), [([0], [0, 255]), ([0, 1], [0]), ([0, 1, 2], [0, 2, 3]), ([0, 1], [1, 2])]
)
def test_empty_sides_and_common_classes_are_no_refusal(predicted, referenced):
    require_common_values(counted(*predicted), counted(*referenced), {}, {})


def test_a_mapping_makes_classes_common_or_does_not():
    require_common_values(counted(0, 1), counted(0, 255), {}, {255: 1})
    with pytest.raises(
        SegpipeError, match=r"255 \(in 3 files, counted as 2\); .* add --reference-value 255=1;"
    ):
        require_common_values(counted(0, 1), counted(0, 255), {}, {255: 2})


@pytest.mark.parametrize(
    ("predicted", "referenced", "remedy"),
    [
        ([0, 1, 2], [0, 2, 3], "--reference-value 2=1 --reference-value 3=2 (paired"),
        ([0, 1], [1, 2], "--reference-value 1=0 --reference-value 2=1 (paired"),
        ([0, 2, 3], [0, 1, 2], "--prediction-value 2=1 --prediction-value 3=2 (paired"),
    ],
)
def test_shifted_values_are_doubted(predicted, referenced, remedy):
    assert remedy in shifted_in_words(counted(*predicted), counted(*referenced))


def test_a_class_that_only_one_side_has_is_no_shift():
    assert shifted_in_words(counted(0, 1), counted(0, 1, 2)) == ""
    assert shifted_in_words(counted(0, 1, 2), counted(0, 1)) == ""


def test_classes_of_one_side_are_counted():
    """Class 1 is predicted in both cases and in no reference; class 2 is in one reference and never predicted."""
    confusions = [
        np.array([[5, 1, 0], [0, 0, 0], [2, 0, 0]]),
        np.array([[5, 1, 0], [0, 0, 0], [0, 0, 0]]),
    ]

    result = one_sided_classes(confusions, TABLE.names)

    assert result == [OneSided("1", 2, 0), OneSided("2", 0, 1)]
    assert one_sided_in_words(result) == [
        "Class 2 is in 1 reference and in no prediction.",
        "Class 1 is in 2 predictions and in no reference.",
    ]
    assert one_sided_in_words([OneSided("a", 0, 1), OneSided("b", 0, 4)]) == [
        "2 classes are in references and in no prediction: a (in 1), b (in 4)."
    ]


def test_mapped_values_may_change_places_and_merge():
    coding = Coding(TABLE, None, {1: 2, 2: 1}, {85: 1, 170: 1, -3: 0})

    assert coding.prediction_indices(np.array([0, 1, 2], np.uint8)).tolist() == [0, 2, 1]
    assert coding.reference_indices(np.array([2, 85, 170, -3], np.int16)).tolist() == [2, 1, 1, 0]
    assert coding.reference_indices(np.array([2, 85.0000001, 170])).tolist() == [2, 1, 1]


def test_a_value_of_no_class_is_refused_with_the_option_of_its_side():
    coding = Coding(TABLE)

    with pytest.raises(
        SegpipeError, match=r"255 in 1 voxel.* of each value with --reference-value STORED=VALUE"
    ):
        coding.reference_indices(np.array([0, 255], np.uint8))
    with pytest.raises(
        SegpipeError, match=r"255 in 1 voxel.* of each value with --prediction-value STORED=VALUE"
    ):
        coding.prediction_indices(np.array([0, 255], np.uint8))
    with pytest.raises(SegpipeError, match="not whole numbers") as refused:
        coding.reference_indices(np.array([0, 0.5]))
    assert "STORED" not in str(refused.value)


def test_a_mapping_of_values_that_are_not_there_is_refused():
    require_mapping("--reference-value", {255: 1}, counted(0, 255), TABLE)
    with pytest.raises(SegpipeError, match="--reference-value 1=255: no label map of that folder stores 1"):
        require_mapping("--reference-value", {1: 255}, counted(0, 255), None)
    with pytest.raises(SegpipeError, match="no class of --labels has the value 7; give one of 0, 1, 2"):
        require_mapping("--reference-value", {255: 7}, counted(0, 255), TABLE)

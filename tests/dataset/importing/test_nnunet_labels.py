"""The classes that nnU-Net's dataset.json names."""

from pathlib import Path

import pytest

from segpipe.dataset.importing.nnunet_labels import NamedLabels, nnunet_labels
from segpipe.errors import SegpipeError
from segpipe.regions import NamedRegion

WHERE = Path("dataset.json")


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "tumour": 1},
        {"tumour": 1, "background": 0},
        {"background": "0", "tumour": "1"},
        {"background": 0, "tumour": [1]},
        {"background": [0], "tumour": ["1"]},
        {"background": 0.0, "tumour": [1, 1.0]},
        {"0": "background", "1": "tumour"},
    ],
)
def test_one_value_a_class(labels):
    assert nnunet_labels(labels, WHERE) == NamedLabels({0: "background", 1: "tumour"})


def test_names_may_be_numbers():
    """nnU-Net writes name: value."""
    assert nnunet_labels({"background": 0, "7": 1}, WHERE) == NamedLabels({0: "background", 1: "7"})
    assert nnunet_labels({"0": 0, "7": 1}, WHERE) == NamedLabels({0: "0", 1: "7"})


def test_lists_of_several_values_are_regions_in_the_stated_order():
    """BraTS as nnU-Net has it; a class that is no region by itself is named after its value."""
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3], "ignore": 4}

    named = nnunet_labels(labels, WHERE, [1, 2, 3])

    assert named.names == {0: "background", 1: "label 1", 2: "label 2", 3: "enhancing", 4: "ignore"}
    assert named.regions == (
        NamedRegion("whole", ("label 1", "label 2", "enhancing"), "label 1"),
        NamedRegion("core", ("label 2", "enhancing"), "label 2"),
        NamedRegion("enhancing", ("enhancing",), "enhancing"),
    )


def test_without_a_stated_order_it_follows_from_the_regions():
    named = nnunet_labels({"background": 0, "whole": [1, 2], "core": 2}, WHERE)

    assert [region.written_as for region in named.regions] == ["", ""]


def test_the_value_to_ignore_is_kept_with_its_name():
    named = nnunet_labels({"background": 0, "tumour": 1, "ignore": 2}, WHERE)

    assert named.names == {0: "background", 1: "tumour", 2: "ignore"}
    assert named.regions == ()


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (
            [1],
            r"regions_class_order is \[1\], must be a list with one value for each of the 2 regions \(whole, core\)",
        ),
        ("12", "regions_class_order is '12', must be a list"),
        ([1, 9], "regions_class_order has 9, which is the value of no region"),
    ],
)
def test_an_order_that_does_not_fit_the_regions_is_refused(order, message):
    with pytest.raises(SegpipeError, match=message):
        nnunet_labels({"background": 0, "whole": [1, 2], "core": 2}, WHERE, order)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "labels must be an object"),
        ({}, "labels must be an object"),
        ({"background": 0, "a": 1, "b": [1]}, "a and b both have the value 1"),
        ({"background": False, "a": True}, "background has the value False, must be a whole number"),
        ({"background": 0, "a": 1.5}, "a has the value 1.5"),
        ({"background": 0, "a": float("nan")}, "a has the value nan"),
        ({"background": 0, "a": []}, r"a has the value \[\]"),
        ({"background": 0, "a": [[1]]}, r"a has the value \[\[1\]\]"),
        ({"0": "background", "a": "1"}, "0 has the value 'background'"),
        ({"background": [0, 4], "a": 1}, r"background has the values \[0, 4\]; give it one"),
        ({"background": 0, "a": [1, 2], "ignore": [3, 4]}, r"ignore has the values \[3, 4\]; give it one"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(SegpipeError, match=message):
        nnunet_labels(labels, WHERE)

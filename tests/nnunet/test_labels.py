"""The classes and channels of a model's dataset.json."""

from pathlib import Path

import pytest
from nnunet_models import dataset

from segpipe.errors import SegpipeError
from segpipe.nnunet.labels import channel_names, label_table

WHERE = Path("dataset.json")


def test_classes_and_the_value_to_ignore():
    table = label_table(dataset(labels={"background": 0, "femur": 1, "tibia": [2], "ignore": 3}), WHERE)

    assert (table.names, table.values, table.ignore_value) == (("background", "femur", "tibia"), (0, 1, 2), 3)


def test_regions_are_written_in_nnunets_order():
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}

    table = label_table(dataset(labels=labels, regions_class_order=[1, 2, 3]), WHERE)

    assert [(one.name, one.classes, one.written) for one in table.regions] == [
        ("whole", (1, 2, 3), 1),
        ("core", (2, 3), 2),
        ("enhancing", (3,), 3),
    ]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "a": 1, "b": 3}, r"labels has the values \[0, 1, 3\], must be 0 to 2"),
        (None, "labels must be an object of name: value"),
        ({"background": 0, "$x": 1}, "dataset.json: label table: row 1: the name '\\$x' begins with"),
    ],
)
def test_other_labels_are_refused(labels, message):
    with pytest.raises(SegpipeError, match=message):
        label_table(dataset(labels=labels), WHERE)


def test_channels_in_order_and_each_with_a_name_of_its_own():
    names = {"1": "noNorm", "0": "T1", "2": "nonorm"}

    assert channel_names(dataset(channel_names=names), WHERE) == ("T1", "noNorm (1)", "nonorm (2)")
    assert channel_names({"modality": {"0": "CT"}}, WHERE) == ("CT",)


@pytest.mark.parametrize("names", [None, {}, {"1": "T1"}, {"0": " "}, ["T1"]])
def test_channels_that_are_not_numbered_are_refused(names):
    with pytest.raises(SegpipeError, match="channel_names must be an object such as"):
        channel_names(dataset(channel_names=names), WHERE)

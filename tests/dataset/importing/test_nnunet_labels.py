"""The classes that nnU-Net's dataset.json names."""

from pathlib import Path

import pytest

from segpipe.dataset.importing.nnunet_labels import nnunet_labels
from segpipe.errors import SegpipeError

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
    assert nnunet_labels(labels, WHERE) == ({0: "background", 1: "tumour"}, "")


def test_names_may_be_numbers():
    """nnU-Net writes name: value."""
    assert nnunet_labels({"background": 0, "7": 1}, WHERE) == ({0: "background", 1: "7"}, "")
    assert nnunet_labels({"0": 0, "7": 1}, WHERE) == ({0: "0", 1: "7"}, "")


@pytest.mark.parametrize(
    ("labels", "reason_part"),
    [
        (
            {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
            "whole is [1, 2, 3]; core is [2, 3]. A region joins several stored values, but the classes of a manifest "
            "exclude each other: name each stored value with --class '0=background' --class '1=NAME' --class '2=NAME' "
            "--class '3=enhancing'",
        ),
        (
            {"background": 0, "tumour": 1, "ignore": 2},
            "labels: ignore is 2: nnU-Net does not learn from voxels of that value, and a manifest cannot say so. Give "
            "them a class with --class '0=background' --class '1=tumour' --class '2=NAME', or remove the cases",
        ),
    ],
)
def test_what_a_manifest_cannot_have_is_said_with_the_options_to_type(labels, reason_part):
    names, reason = nnunet_labels(labels, WHERE)

    assert names is None
    assert reason_part in reason


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
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(SegpipeError, match=message):
        nnunet_labels(labels, WHERE)

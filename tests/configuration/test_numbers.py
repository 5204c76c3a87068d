"""Numbers of an experiment that no training or inference can use."""

import pytest

from segpipe.configuration.numbers import number_findings
from segpipe.configuration.values import Values


def sentences(**values):
    return [
        finding.sentence
        for finding in number_findings(Values({"network_def": {"spatial_dims": 3}, **values}))
    ]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("epochs", -3, "epochs is -3, must be a whole number of at least 1"),
        ("epochs", 2.5, "epochs is 2.5, must be a whole number of at least 1"),
        ("batch_size", True, "batch_size is True, must be a whole number of at least 1"),
        ("num_workers", -1, "num_workers is -1, must be a whole number of at least 0"),
        ("learning_rate", "abc", "learning_rate is 'abc', must be a number above 0"),
        ("learning_rate", 0, "learning_rate is 0, must be a number above 0"),
        ("learning_rate", float("nan"), "learning_rate is nan, must be a number above 0"),
        ("learning_rate", float("inf"), "learning_rate is inf, must be a number above 0"),
        ("overlap", 1.0, "overlap is 1.0, must be a number of at least 0 and below 1"),
        (
            "patch_size",
            [64, 64],
            "patch_size is [64, 64], but the network has 3 axes; give one number for each",
        ),
        ("patch_size", 64, "patch_size is 64, must be a whole number of at least 1 for each axis"),
        (
            "patch_size",
            [64, 64, 0],
            "patch_size is [64, 64, 0], must be a whole number of at least 1 for each axis",
        ),
        (
            "spacing_mm",
            [1, 1, 0],
            "spacing_mm is [1, 1, 0], must be a number above 0, or null, for each axis",
        ),
        ("spacing_mm", [], "spacing_mm is [], must be a number above 0, or null, for each axis"),
    ],
)
def test_a_number_out_of_range_is_found(name, value, sentence):
    assert sentences(**{name: value}) == [sentence]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1),
        ("learning_rate", 1e-5),
        ("learning_rate", "1e-5"),  # a text: found as such by another check
        ("overlap", 0),
        ("patch_size", [64, 64, 64]),
        ("slice_size", None),
        ("spacing_mm", [1.0, 1.0, None]),  # a network of slices
        ("epochs", "$10 * @other"),
        ("spacing_mm", "@elsewhere"),
        ("unknown", -3),
    ],
)
def test_other_values_are_not(name, value):
    assert sentences(**{name: value}) == []


def test_a_reference_is_followed():
    assert sentences(epochs="@short", short=0) == ["epochs is 0, must be a whole number of at least 1"]


def test_a_long_value_is_cut():
    (sentence,) = sentences(patch_size="x" * 500)

    assert len(sentence) < 150

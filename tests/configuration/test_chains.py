"""Chains that interpolate class numbers."""

import pytest

from segpipe.configuration.chains import chain_findings
from segpipe.configuration.components import Targets
from segpipe.configuration.values import Values

LOAD = {"_target_": "LoadImaged", "keys": "image"}
SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [1, 1, 1]}
TURN = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
ARG_MAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
LINEAR = {"_target_": "Invertd", "keys": "pred", "transform": "@before", "nearest_interp": False}
NEAREST = {**LINEAR, "nearest_interp": True}


def found(*steps, before=(LOAD, SPACING)):
    settings = {
        "key": "pred",
        "before": {"_target_": "Compose", "transforms": list(before)},
        "after": {"_target_": "Compose", "transforms": list(steps)},
    }
    return [str(finding) for finding in chain_findings(settings, Values(settings), Targets())]


def test_a_linear_inverse_after_the_arg_max():
    assert found(ARG_MAX, LINEAR) == [
        "after#transforms#1 interpolates the class numbers of pred, which after#transforms#0 has decided: labels "
        "become fractions, such as 1.5; write nearest_interp: True, or put Invertd before AsDiscreted"
    ]


@pytest.mark.parametrize(
    "steps",
    [
        (THRESHOLD, LINEAR),
        ({**ARG_MAX, "keys": "@key"}, {**LINEAR, "keys": ["@key"]}),
        ({**ARG_MAX, "keys": ["label", "pred"], "argmax": [False, True]}, LINEAR),
        (ARG_MAX, {**LINEAR, "keys": ["label", "pred"], "nearest_interp": [True, False]}),
    ],
    ids=["threshold", "referred keys", "of the second key", "linear for the second key"],
)
def test_other_forms_of_it(steps):
    assert len(found(*steps)) == 1


@pytest.mark.parametrize(
    "steps",
    [
        (LINEAR, ARG_MAX),
        (ARG_MAX, NEAREST),
        (ARG_MAX, {key: value for key, value in LINEAR.items() if key != "nearest_interp"}),
        (ARG_MAX, LINEAR, THRESHOLD),
        ({**ARG_MAX, "_disabled_": True}, LINEAR),
        ({**ARG_MAX, "argmax": False}, LINEAR),
        ({**ARG_MAX, "keys": "label"}, LINEAR),
        (ARG_MAX, {**LINEAR, "nearest_interp": "$not True or False"}),
    ],
    ids=[
        "before the arg max",
        "nearest",
        "nearest by default",
        "decided again",
        "disabled",
        "nothing decided",
        "another key",
        "not known",
    ],
)
def test_chains_that_keep_whole_numbers(steps):
    assert found(*steps) == []


def test_an_inverse_that_only_turns_interpolates_nothing():
    assert found(ARG_MAX, LINEAR, before=(LOAD, TURN)) == []

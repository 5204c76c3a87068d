"""Records that a program gives the running configuration."""

import pytest
from monai.bundle import ConfigParser

from segpipe.bundle.given import are_given, given_cases
from segpipe.errors import SegpipeError
from segpipe.labels import Label, LabelTable

TABLE = LabelTable((Label(0, "background", (0, 0, 0), 0), Label(1, "organ", (1, 2, 3), 1)))
RECORD = {"image": "/d/a.nii.gz", "label": "/d/l.nii.gz"}


def configuration(train, **more):
    return {"train": {"dataset": {"data": train}}, **more}


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        (configuration([RECORD]), True),
        (configuration([]), True),
        (configuration("$@cases.train"), False),
        ({"train": "x"}, False),
        ({}, False),
    ],
)
def test_a_list_in_place_of_the_manifest_s_cases_is_given(settings, given):
    assert are_given(settings) is given


def test_the_running_configuration_gives_its_records_and_channels():
    settings = configuration(
        [RECORD],
        validate={"dataset": {"data": [{**RECORD, "image": "/d/b.nii.gz"}]}},
        _meta_={"network_data_format": {"inputs": {"image": {"channel_def": {"0": "CT"}}}}},
        cases={"_target_": "segpipe.bundle.given.given_cases", "labels": "$TABLE"},
    )

    manifest, _ = ConfigParser(settings, globals={"TABLE": TABLE}).get_parsed_content("cases")

    assert manifest.modality == ("CT",)
    assert [case.case for case in manifest.training] == ["a", "b"]


def test_outside_of_a_configuration_nothing_is_given():
    assert given_cases(TABLE) is None


def test_the_text_of_a_refusal_in_a_configuration_is_the_reason():
    """MONAI's own text would be "Failed to instantiate component"."""
    settings = configuration([{}], cases={"_target_": "segpipe.bundle.given.given_cases", "labels": "$TABLE"})

    with pytest.raises(SegpipeError, match=r"^train#dataset#data#0: .* is no record"):
        ConfigParser(settings, globals={"TABLE": TABLE}).get_parsed_content("cases")


def test_a_classifier_is_not_trained_on_given_records():
    settings = configuration([RECORD], cases={"_target_": "segpipe.bundle.given.refuse_given_images"})

    with pytest.raises(SegpipeError, match="a classifier is not trained on given records"):
        ConfigParser(settings).get_parsed_content("cases")

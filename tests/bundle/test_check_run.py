"""MONAI runs these mistakes in a configuration without a message; segpipe refuses them."""

import copy

import pytest
from monai.bundle import ConfigParser

from segpipe.bundle.check_run import configuration_findings
from segpipe.bundle.running import merged_configuration, resolved_components, running_parser
from segpipe.errors import SegpipeError

GOOD = {
    "epochs": 3,
    "rate": 0.1,
    "output_dir": "/data/out",
    "train": {
        "inferer": {"_target_": "builtins.dict"},
        "trainer": {"_target_": "builtins.dict", "n": "@epochs", "rate": "$@rate * 2", "to": "@output_dir"},
    },
    "run": ["$@train#trainer.run()"],
}


def findings(**changes):
    parser = ConfigParser(copy.deepcopy(GOOD))
    for name, value in changes.items():
        parser[name.replace("__", "::")] = value
    return configuration_findings(parser)


def test_a_configuration_that_means_what_it_says_has_no_finding():
    assert findings() == []


def test_a_value_that_nothing_refers_to_is_found_with_the_nearest_id():
    assert findings(epoch=9) == ["epoch is used by nothing in this configuration; did you mean epochs?"]


def test_a_reference_to_nothing_is_found_and_the_misspelt_definition_with_it():
    parser = ConfigParser(copy.deepcopy(GOOD))
    parser["epoch"] = parser.get().pop("epochs")

    assert configuration_findings(parser) == [
        "train#trainer#n refers to @epochs, which is not there; did you mean epoch?"
    ]


def test_relative_ids_and_macros_are_left_to_monais_parser():
    assert findings(train__trainer__again="@#rate", copied="%train", train__trainer__copy="@copied#x") == []


def test_a_component_that_nothing_refers_to_is_found():
    (finding,) = findings(los={"_target_": "builtins.dict"})

    assert finding.startswith("los is used by nothing")


def test_a_misspelt_part_is_found_with_its_neighbour():
    assert findings(train__inferrer={"_target_": "builtins.dict"}) == [
        "train#inferrer is used by nothing in this configuration; did you mean train#inferer?"
    ]


def test_a_list_of_components_that_nothing_refers_to_is_found():
    (finding,) = findings(my_handlers=[{"_target_": "builtins.dict"}])

    assert finding.startswith("my_handlers is used by nothing")


def test_ids_that_monai_reads_need_no_reference():
    assert findings(bundle_root=".", dataset_dir="/data", device="cpu", imports=["$import os"]) == []


@pytest.mark.parametrize("text", ["1e-4", "3", "0.5"])
def test_a_number_that_arrives_as_text_is_found_where_it_stands(text):
    (finding,) = findings(train__trainer__lr=text)

    assert finding.startswith(f"train#trainer#lr is the text {text!r}, not a number")


@pytest.mark.parametrize("text", ["true", "False", "FALSE"])
def test_a_truth_value_as_text_is_found(text):
    (finding,) = findings(train__trainer__resume=text)

    assert finding.startswith(f"train#trainer#resume is the text '{text}'")


def test_a_path_that_monai_changed_is_found():
    (finding,) = findings(output_dir="/data/out::1")

    assert "'/data/out::1'" in finding
    assert "rename it" in finding


def test_a_name_may_look_like_a_number():
    assert findings(output_dir="12e5") == []


def test_components_are_resolved_to_plain_values():
    parser = ConfigParser(
        {
            "size": [1, 2],
            "chain": [
                {"_target_": "some.Transform", "pixdim": "@size", "dtype": "$int", "scale": "$2.0 * 3"}
            ],
        }
    )

    assert resolved_components(parser, "chain") == [
        {"_target_": "some.Transform", "pixdim": [1, 2], "dtype": "<class 'int'>", "scale": 6.0}
    ]


def test_a_missing_list_of_components_is_refused():
    with pytest.raises(SegpipeError, match="has no 'chain'"):
        resolved_components(ConfigParser({}), "chain")


def test_an_expression_finds_the_configuration_it_stands_in():
    parser = ConfigParser(
        {
            "imports": ["$from segpipe.bundle.running import running_parser"],
            "value": 5,
            "found": "$running_parser()",
        }
    )
    parser.get_parsed_content("imports")

    running = parser.get_parsed_content("found")

    assert running is parser
    assert merged_configuration(running)["value"] == 5


def test_no_parser_is_running_outside_a_configuration():
    with pytest.raises(SegpipeError, match="only inside a bundle's configuration"):
        running_parser()

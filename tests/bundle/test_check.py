"""Mistakes that MONAI takes in silence, on configurations of a few lines."""

import pytest
from monai.bundle import ConfigParser

from segpipe.bundle.check import configuration_findings
from segpipe.bundle.running import merged_configuration, resolved_components, running_parser
from segpipe.errors import SegpipeError

GOOD = {
    "epochs": 3,
    "rate": 0.1,
    "trainer": {"_target_": "builtins.dict", "n": "@epochs", "rate": "$@rate * 2"},
}


def findings(**changes):
    return configuration_findings(ConfigParser({**GOOD, **changes}))


def test_a_configuration_that_means_what_it_says_has_no_finding():
    assert findings() == []


def test_a_value_that_nothing_refers_to_is_found_with_the_nearest_id():
    assert findings(epoch=9) == ["epoch is used by nothing in this configuration; did you mean epochs?"]


def test_ids_that_monai_reads_need_no_reference():
    assert findings(bundle_root=".", dataset_dir="/data", device="cpu", imports=["$import os"]) == []


def test_a_list_of_components_needs_no_reference():
    assert findings(handlers_of_mine=[{"_target_": "builtins.dict"}]) == []


def test_a_number_that_yaml_reads_as_text_is_found_where_it_stands():
    (finding,) = findings(optimizer={"_target_": "builtins.dict", "lr": "1e-4"})

    assert finding.startswith("optimizer#lr is the text '1e-4'")


@pytest.mark.parametrize("text", ["true", "False", "FALSE"])
def test_a_truth_value_as_text_is_found(text):
    (finding,) = findings(trainer={"_target_": "builtins.dict", "n": "@epochs", "r": "@rate", "resume": text})

    assert finding.startswith(f"trainer#resume is the text '{text}'")


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

    found = parser.get_parsed_content("found")

    assert found is parser
    assert merged_configuration(found)["value"] == 5


def test_outside_a_configuration_there_is_none():
    with pytest.raises(SegpipeError, match="only inside a bundle's configuration"):
        running_parser()

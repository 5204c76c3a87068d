"""MONAI evaluates no text of the metadata, and the classes come from the metadata file."""

import copy
import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from refusals import refusal_of
from tiny_bundle import write_bundle

from segpipe.bundle.open import open_bundle
from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.configuration.metadata import metadata_problems, read_metadata
from segpipe.errors import SegpipeError

PAYLOAD = "$__import__('pathlib').Path('RAN').touch()"
SHIPPED = json.loads(
    (Path(__file__).parents[2] / "bundles/mri_hippocampus_unet/configs/metadata.json").read_text()
)
TABLE = {"_target_": "segpipe.bundle.label_table", "metadata": "$@bundle_root + '/configs/metadata.json'"}


def renamed(name):
    metadata = copy.deepcopy(SHIPPED)
    metadata["label_table"][1]["name"] = name
    return metadata


def folder_of(root, metadata):
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return root


def table_of(root, metadata=None):
    parser = ConfigParser({"bundle_root": str(root), "labels": TABLE})
    if metadata is not None:
        parser.read_meta(metadata)
    return parser.get_parsed_content("labels")


@pytest.mark.parametrize("name", ["#1", "a # b", "Größe", "it's", "a,b"])
def test_a_name_reaches_the_table_as_it_stands_in_the_file(name, tmp_path):
    metadata = renamed(name)

    assert table_of(folder_of(tmp_path, metadata), metadata).names[1] == name
    assert table_of(tmp_path).names[1] == name  # MONAI Label reads no metadata


def test_a_name_is_never_evaluated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metadata = renamed(PAYLOAD)

    refusal_of(table_of, folder_of(tmp_path / "bundle", metadata), metadata)

    assert not Path("RAN").exists()


def test_where_no_file_lies_the_metadata_that_the_run_has_read_count(tmp_path):
    assert table_of(tmp_path, SHIPPED).rows() == SHIPPED["label_table"]


def test_another_bundles_folder_is_refused(tmp_path):
    folder_of(tmp_path, renamed("liver"))

    assert "give --bundle_root" in refusal_of(table_of, tmp_path, SHIPPED)


PLACES = {
    "a class": lambda text: renamed(text),
    "a channel": lambda text: {"network_data_format": {"inputs": {"image": {"channel_def": {"0": text}}}}},
    "a text": lambda text: {"version": text},
    "a key": lambda text: {"changelog": {text: "x"}},
    "an item": lambda text: {"references": ["x", text]},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", [PAYLOAD, "%configs/train.yaml"])
def test_no_text_may_be_an_instruction(place, text):
    ((_, what),) = metadata_problems(PLACES[place](text))

    assert repr(text) in what
    assert "MONAI reads as an instruction" in what


@pytest.mark.parametrize("place", ["a class", "a channel"])
@pytest.mark.parametrize("text", ["@labels", "a\x1b[2J", "two\nlines"])
def test_names_may_hide_nothing_either(place, text):
    ((_, what),) = metadata_problems(PLACES[place](text))

    assert repr(text) in what


def test_other_texts_may_have_lines_and_begin_with_an_at():
    assert list(metadata_problems({**SHIPPED, "authors": "@somebody", "description": "two\nlines"})) == []


@pytest.mark.parametrize(
    "content", ["[1]", "null", "3", '"text"', "[" * 100_000, '{"a": ' + "9" * 10_000 + "}"]
)
def test_metadata_that_are_none_have_one_message(content, tmp_path):
    path = tmp_path / "metadata.json"
    path.write_text(content)

    with pytest.raises(SegpipeError, match=r"metadata\.json"):
        read_metadata(path)


def test_a_bundle_with_such_a_name_is_neither_opened_nor_passed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_bundle(tmp_path / "bundle")
    (root / "configs" / "metadata.json").write_text(json.dumps(renamed(PAYLOAD)))

    with pytest.raises(SegpipeError, match="MONAI reads as an instruction"):
        open_bundle(root)
    findings = check_bundle(root, [root / "configs" / "inference.yaml"], {}, look_for_files=False)

    assert any("MONAI reads as an instruction" in str(finding) for finding in findings)
    assert not Path("RAN").exists()

"""The folder of a manifest's files: noted in the manifest, beside it, below SEGPIPE_DATA, or refused."""

import json
import shutil
from dataclasses import replace

import pytest

from segpipe.dataset import dataset_dir_of, known_dataset_dir, load_manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.phantoms.files import write_phantom_dataset


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("SEGPIPE_DATA", raising=False)


@pytest.fixture
def noted(tmp_path):
    """Return a manifest in a separate folder; the manifest notes the folder of the files."""
    path = write_phantom_dataset(tmp_path / "set", num_cases=4, seed=0)
    manifest = replace(load_manifest(path), dataset_dir=str(tmp_path / "set"))
    path.unlink()
    (tmp_path / "manifests").mkdir()
    write_manifest(manifest, tmp_path / "manifests" / "mine.json")
    return tmp_path / "manifests" / "mine.json"


def test_it_is_noted_relative_to_the_manifest(noted):
    assert json.loads(noted.read_text())["dataset_dir"] == "../set"
    assert known_dataset_dir(str(noted), load_manifest(noted)) == noted.parents[1] / "set"


def test_what_is_moved_together_is_found_again(noted, tmp_path):
    shutil.copytree(noted.parents[1], tmp_path / "moved", ignore=shutil.ignore_patterns("moved"))
    manifest = tmp_path / "moved" / "manifests" / "mine.json"

    assert known_dataset_dir(str(manifest), load_manifest(manifest)) == tmp_path / "moved" / "set"


def test_it_follows_a_manifest_that_is_written_elsewhere(noted, tmp_path):
    write_manifest(load_manifest(noted), tmp_path / "other.json")

    assert json.loads((tmp_path / "other.json").read_text())["dataset_dir"] == "set"


def test_it_does_not_count_for_the_checksum(noted):
    manifest = load_manifest(noted)

    assert manifest.sha256 == replace(manifest, dataset_dir="").sha256


def test_a_manifest_beside_its_files_needs_no_note(tmp_path):
    path = write_phantom_dataset(tmp_path / "set", num_cases=4, seed=0)

    assert known_dataset_dir(str(path), load_manifest(path)) == tmp_path / "set"


def test_a_shipped_manifest_is_looked_for_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "hippocampus").mkdir()
    monkeypatch.setenv("SEGPIPE_DATA", str(tmp_path))

    assert known_dataset_dir("hippocampus", load_manifest("hippocampus")) == tmp_path / "hippocampus"


def test_an_explicit_folder_has_priority(noted, tmp_path):
    assert dataset_dir_of(str(noted), load_manifest(noted), tmp_path) == tmp_path


def test_nothing_known_is_refused_with_what_to_do(noted):
    shutil.rmtree(noted.parents[1] / "set")

    with pytest.raises(
        SegpipeError,
        match=r"mine\.json: the folder of its files is not known, the manifest names .*--dataset-dir",
    ):
        dataset_dir_of(str(noted), load_manifest(noted), None)

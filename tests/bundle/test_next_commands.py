"""The commands that a finished training names."""

import pytest

from segpipe.bundle.next_commands import next_commands

GIVEN = {"bundle_root": "bundle", "manifest": "set.json", "dataset_dir": "data set", "fold": 1}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle" / "runs" / "first").mkdir(parents=True)
    (tmp_path / "bundle" / "runs" / "first" / "last.pt").touch()
    return tmp_path / "bundle" / "runs" / "first"


def test_they_score_segment_and_keep(run):
    (run / "best.pt").touch()
    weights = "--bundle bundle --weights bundle/runs/first/best.pt"

    assert next_commands(run, GIVEN) == [
        f"segpipe evaluate {weights} --manifest set.json --dataset-dir 'data set' --split 1 "
        "--output bundle/runs/first/held_out",
        f"segpipe predict SCANS {weights} --output LABEL_MAPS",
        "segpipe promote bundle/runs/first/best.pt --bundle bundle",
    ]


@pytest.mark.parametrize("changed", [{"fold": "all"}, {"manifest": "$expression"}, {"dataset_dir": "$@root"}])
def test_without_held_out_cases_nothing_is_scored(run, changed):
    commands = next_commands(run, {**GIVEN, **changed})

    assert [command.split()[1] for command in commands] == ["predict", "promote"]
    assert "bundle/runs/first/last.pt" in commands[1]


def test_paths_outside_the_working_directory_stay_absolute(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run)

    assert (
        f"--bundle {tmp_path / 'bundle'} "
        in next_commands(run, {**GIVEN, "bundle_root": str(tmp_path / "bundle")})[1]
    )


@pytest.mark.parametrize("root", [None, "$@somewhere"])
def test_without_a_bundle_there_are_none(run, root):
    assert next_commands(run, {**GIVEN, "bundle_root": root}) == []


def test_a_classifier_classifies_images(run, tmp_path):
    (tmp_path / "bundle" / "configs").mkdir()
    (tmp_path / "bundle" / "configs" / "metadata.json").write_text('{"task": "classification"}')

    assert next_commands(run, GIVEN)[1] == (
        "segpipe predict IMAGES --bundle bundle --weights bundle/runs/first/last.pt --output PREDICTIONS"
    )

"""Reference ranges that new steps make stale are listed, each with its command."""

import pytest

from segpipe.files import file_sha256
from segpipe.model_evaluation.stale_ranges import commands_to_measure_again
from segpipe.reference_ranges import RANGES_SUFFIX, ranges_path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my bundle/models", "runs/fold0", "runs/fold1"):
        (tmp_path / name).mkdir(parents=True)
    for fold in (0, 1):
        (tmp_path / "runs" / f"fold{fold}" / "best.pt").write_text(f"weights {fold}")
    return tmp_path


def test_without_ranges_there_is_nothing_to_measure(folder):
    assert commands_to_measure_again(folder / "my bundle", [[folder / "runs/fold0/best.pt"]], "noise") == []


def test_a_command_for_each_file(folder):
    both = [folder / f"runs/fold{fold}/best.pt" for fold in (0, 1)]
    (folder / "my bundle/models" / f"model{RANGES_SUFFIX}").touch()
    both[1].with_suffix(RANGES_SUFFIX).touch()
    ranges_path(both, [file_sha256(path) for path in both]).touch()

    weights = [[both[0]], [both[1]], both]
    commands = commands_to_measure_again(folder / "my bundle", weights, "noise", folder / "data")

    start = "segpipe reference-ranges 'my bundle' --manifest noise --dataset-dir data"
    assert commands == [
        start,
        f"{start} --weights runs/fold1/best.pt",
        f"{start} --weights runs/fold0/best.pt --weights runs/fold1/best.pt",
    ]


def test_ranges_of_the_bundles_own_weights_are_listed_once(folder):
    own = folder / "my bundle" / "models" / "model.pt"
    own.write_text("weights")
    own.with_suffix(RANGES_SUFFIX).touch()

    commands = commands_to_measure_again(folder / "my bundle", [[own]], str(folder / "noise.json"))

    assert commands == ["segpipe reference-ranges 'my bundle' --manifest noise.json"]

"""A finished scan is not segmented again, and a changed scan is.

In process, through `segpipe.predict`; `tests/cli/test_predict_command.py` has the command as a real process.
"""

import shutil

import pytest
from cohort_files import DONE, FAILED, SKIPPED, counted, outcomes, posterior_voxels
from tiny_bundle import contents, write_scan, write_scans

import segpipe
from segpipe import PredictOptions
from segpipe.transforms import LoadVolumed
from segpipe.volumes import VolumeFormat, read_header, read_volume


def test_what_is_done_is_not_done_again(run, scans, out, clean, monkeypatch):
    run(scans, overlays=True)
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("**/*.*") if path.is_file()
    }
    loads = []
    monkeypatch.setattr(LoadVolumed, "__call__", lambda self, data: loads.append(data))

    predictions = run(scans, overlays=True)

    assert outcomes(predictions) == {SKIPPED: 3}
    assert loads == []
    for path, (modified, content) in before.items():
        assert path.read_bytes() == content or path.name == "predict.log"
        assert path.stat().st_mtime_ns == modified or path.name in {
            "predict.log",
            "volumes.csv",
            ".segpipe-lock",
            ".segpipe-ignore",
        }
    assert predictions["scan_001"].volumes[1].voxels == counted(out / "scan_001.nii.gz")


@pytest.mark.parametrize(
    "change",
    [
        {"jobs": 2},
        {"batch_size": 1},
        {"overwrite": True},
        {"strict": True},
    ],
)
def test_options_that_change_nothing_do_nothing_again(run, scans, out, change):
    run(scans)

    assert outcomes(run(scans, **change)) == {SKIPPED: 3}


def test_bundle_and_scans_may_move(run, bundle, scans, out, tmp_path):
    run(scans)
    moved = shutil.copytree(bundle, tmp_path / "elsewhere" / "bundle")

    predictions = segpipe.predict(
        scans.rename(tmp_path / "moved"), moved, out, options=PredictOptions(overlays=False)
    )

    assert {prediction.outcome for prediction in predictions} == {SKIPPED}


def test_a_changed_scan_is_done_again(run, scans, out, tmp_path):
    run(scans)
    write_scan(scans / "scan_001.nii.gz", seed=7)

    assert outcomes(run(scans)) == {DONE: 1, SKIPPED: 2}
    run(scans, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_changed_voxel_file_is_a_changed_scan(run, tmp_path):
    scans = write_scans(tmp_path / "scans", 2, ".mhd")
    run(scans)
    voxel_file = scans / "scan_001.zraw"
    write_scan(tmp_path / "other" / "scan_001.mhd", seed=7)
    shutil.copy(tmp_path / "other" / "scan_001.zraw", voxel_file)
    shutil.copy(tmp_path / "other" / "scan_001.mhd", scans / "scan_001.mhd")

    assert outcomes(run(scans)) == {DONE: 1, SKIPPED: 1}


@pytest.mark.parametrize(
    "change", [{"weights": True}, {"flips": (0,)}, {"overrides": {"overlap": 0.25}}, {"skip_empty": 0.1}]
)
def test_changed_weights_and_options_do_all_again(run, scans, out, tmp_path, weights, change):
    run(scans)
    change = {"weights": weights} if "weights" in change else change

    assert outcomes(run(scans, **change)) == {DONE: 3}
    run(scans, tmp_path / "fresh", **change)
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    "gone",
    ["scan_001.nii.gz", "overlays/scan_001.png", "entropy/scan_001.nii.gz", "probabilities/scan_001.npy"],
)
def test_a_file_that_somebody_removed_comes_back(run, scans, out, gone):
    everything = {"overlays": True, "entropy": True, "probabilities": True}
    run(scans, **everything)
    before = contents(out)
    (out / gone).unlink()

    assert outcomes(run(scans, **everything)) == {DONE: 1, SKIPPED: 2}
    assert contents(out) == before


def test_a_scan_that_changed_and_fails_leaves_the_old_label_map_and_says_so(run, scans, out, clean):
    run(scans)
    path = scans / "scan_001.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])

    predictions = run(scans)

    assert predictions["scan_001"].outcome is FAILED
    assert "the label map in its place is" in predictions["scan_001"].reason
    assert (out / "scan_001.nii.gz").read_bytes() == clean["scan_001.nii.gz"]
    assert posterior_voxels(out, "scan_001") is None

    path.write_bytes(whole)
    assert outcomes(run(scans)) == {DONE: 1, SKIPPED: 2}
    assert contents(out) == clean


def test_another_format_takes_the_place_of_the_old_one(run, scans, out, clean):
    run(scans, format=VolumeFormat.MHD)
    assert {name for name in contents(out) if name.startswith("scan_001")} == {
        "scan_001.mhd",
        "scan_001.zraw",
    }
    for index in range(3):
        label_map = read_volume(out / f"scan_{index:03d}.mhd")
        assert label_map.grid.matches(read_header(scans / f"scan_{index:03d}.nii.gz").grid)

    assert outcomes(run(scans)) == {DONE: 3}
    assert contents(out) == clean

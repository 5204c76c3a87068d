"""Files that are scans of a cohort, and files that are refused.

In process, through `segpipe.predict`; `tests/cli/test_predict_command.py` has the command as a real process.
"""

import os

import numpy as np
import pydicom
import pytest
from cohort_files import DONE, FAILED, SKIPPED, entries, outcomes
from pydicom.uid import RTStructureSetStorage
from tiny_bundle import contents, write_bundle, write_scan

import segpipe
from segpipe import PredictOptions
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_series


@pytest.mark.parametrize(
    "names",
    [
        ("a/scan.nii.gz", "b/scan.nii.gz"),
        ("a/scan.nii.gz", "b/scan.mha"),
        ("a/scan.nii.gz", "b/SCAN.nrrd"),
        ("a/scan.nii.gz", "a/scan.nrrd"),
    ],
)
def test_two_scans_of_one_name_fail_alone(run, tmp_path, out, names):
    """The two would share a row of volumes.csv, a picture or a label map; the third scan continues."""
    for number, name in enumerate((*names, "a/other.nii.gz")):
        write_scan(tmp_path / name, number)

    everything = {"overlays": True, "entropy": True, "probabilities": True}
    predictions = run(sorted({(tmp_path / name).parent for name in names}), **everything)

    failed = [prediction for prediction in predictions.values() if prediction.outcome is FAILED]
    assert predictions["other"].outcome is DONE
    assert {prediction.scan for prediction in failed} <= {tmp_path / name for name in names}
    for prediction in failed:
        assert all(str(tmp_path / name) in prediction.reason for name in names)
        assert (entries(out)[prediction.case]["state"], entries(out)[prediction.case]["reason"]) == (
            "failed",
            prediction.reason,
        )
    assert not [name for name in contents(out) if "scan" in name.lower()]


def test_a_second_scan_of_a_name_leaves_what_was_made_of_the_first(run, scans, out):
    run(scans)
    write_scan(scans / "scan_001.mha", 7)
    before = contents(out)

    predictions = run(scans)

    assert outcomes(predictions) == {SKIPPED: 2, FAILED: 2}
    assert {"scan_001.nii.gz", "scan_001.mha"} < set(predictions)
    assert contents(out) == before
    assert entries(out)["scan_001"]["state"] == "done"
    (scans / "scan_001.mha").unlink()
    assert outcomes(run(scans)) == {SKIPPED: 3}


@pytest.mark.parametrize("place", ["scans", "scans/predictions"])
def test_an_output_folder_among_the_scans_is_refused(run, scans, tmp_path, place):
    before = contents(scans)

    with pytest.raises(SegpipeError, match="lies inside the folder of scans"):
        run(scans, tmp_path / place)

    assert contents(scans) == before


@pytest.mark.parametrize("folder", ["overlays", "Entropy"])
def test_scans_in_a_folder_for_pictures_fail_alone(run, scans, folder):
    write_scan(scans / folder / "a.nii.gz")

    predictions = run(scans)

    assert outcomes(predictions) == {DONE: 3, FAILED: 1}
    assert "rename the folder" in predictions[f"{folder}/a.nii.gz"].reason


def test_strangers_are_ignored_with_a_line_and_unread_formats_fail_alone(bundle, scans, out, clean):
    for name in ("scan_000.bval", "viewer.exe", "brain.mgz", "pair.hdr", "pair.img"):
        (scans / name).write_text("x")
    (scans / "gone.nii.gz").symlink_to(scans / "nowhere")
    messages = []

    predictions = segpipe.predict(
        scans, bundle, out, options=PredictOptions(overlays=False), report=messages.append
    )

    line = "2 files ignored: scan_000.bval, viewer.exe; give --strict to refuse them"
    assert messages == [line]
    assert line in (out / "predict.log").read_text()
    reasons = {
        prediction.case: prediction.reason for prediction in predictions if prediction.outcome is FAILED
    }
    assert list(reasons) == ["brain.mgz", "gone.nii.gz", "pair.hdr"]
    assert "convert it to .nii.gz or .nrrd" in reasons["brain.mgz"]
    assert {case: entry["reason"] for case, entry in entries(out).items() if case in reasons} == reasons
    assert contents(out) == clean


def test_strict_refuses_strangers_before_anything_is_done(run, scans, out):
    (scans / "scan_000.bval").write_text("x")

    with pytest.raises(SegpipeError, match=r"1 files are neither scans nor known companions: scan_000\.bval"):
        run(scans, strict=True)

    assert not out.exists()


def test_files_of_a_shell_pattern_are_treated_like_their_folder(run, scans, out, clean):
    (scans / "scan_000.bval").write_text("x")
    (scans / "viewer").mkdir()
    (scans / "gone.nii.gz").symlink_to(scans / "nowhere")

    predictions = run(sorted(scans.iterdir()))

    assert outcomes(predictions) == {DONE: 3, FAILED: 2}
    assert "is a link to a file that is not there" in predictions["gone.nii.gz"].reason
    assert "viewer: no scan there" in predictions["viewer/"].reason
    assert contents(out) == clean


def test_a_segmentation_of_3d_slicer_beside_its_scan_is_no_scan(bundle, scans, out, clean):
    (scans / "scan_001.seg.nrrd").write_text("NRRD0004")
    messages = []

    predictions = segpipe.predict(
        scans, bundle, out, options=PredictOptions(overlays=False), report=messages.append
    )

    assert {prediction.outcome for prediction in predictions} == {DONE}
    assert messages == ["1 file ignored: scan_001.seg.nrrd; give --strict to refuse them"]
    assert contents(out) == clean
    with pytest.raises(SegpipeError, match=r"no scan there; its \.seg\.nrrd files are segmentations"):
        segpipe.predict(scans / "scan_001.seg.nrrd", bundle, out)


@pytest.mark.parametrize("name", ["notes.txt", "a.bval"])
def test_where_no_file_is_a_scan_nothing_begins(run, tmp_path, out, name):
    (tmp_path / name).write_text("x")

    with pytest.raises(SegpipeError, match=f"{name}: no scan there; segpipe reads"):
        run(tmp_path / name)

    assert not out.exists()


def test_strangers_in_a_series_folder_change_nothing(run, tmp_path):
    """The series neither fails nor is segmented again because of other files in its folder."""
    series = Grid.from_affine((14, 16, 6), np.diag([-1.0, -1.0, 1.0, 1.0]))
    write_series(
        np.random.default_rng(0).integers(0, 99, series.size).astype(np.int16), series, tmp_path / "ct"
    )
    assert outcomes(run(tmp_path / "ct")) == {DONE: 1}

    (tmp_path / "ct" / "viewer.exe").write_text("MZ")

    assert outcomes(run(tmp_path / "ct")) == {SKIPPED: 1}


def test_dicom_files_that_are_no_slices_are_told_in_the_log_and_in_one_line(bundle, tmp_path, out):
    series = Grid.from_affine((14, 16, 6), np.diag([-1.0, -1.0, 1.0, 1.0]))
    voxels = np.random.default_rng(0).integers(0, 99, series.size).astype(np.int16)
    slices = write_series(voxels, series, tmp_path / "scans" / "ct")
    dataset = pydicom.dcmread(slices[0])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.SeriesInstanceUID = "1.2.3"
    for tag in ("Rows", "PixelData", "ImagePositionPatient", "ImageOrientationPatient"):
        del dataset[tag]
    dataset.save_as(tmp_path / "scans" / "ct" / "rt.dcm")
    messages = []

    segpipe.predict(
        tmp_path / "scans", bundle, out, options=PredictOptions(overlays=False), report=messages.append
    )

    assert messages == ["1 DICOM file beside slices left out (no slices): ct/rt.dcm"]
    assert "ct: left out: rt.dcm: " in (out / "predict.log").read_text()


def test_a_pipe_in_place_of_a_voxel_file_fails_alone(run, tmp_path):
    write_scan(tmp_path / "scans" / "a.mhd").with_suffix(".zraw").unlink()
    os.mkfifo(tmp_path / "scans" / "a.zraw")

    assert "a.zraw is no regular file" in run(tmp_path / "scans")["a"].reason


def test_an_unusable_bundle_leaves_earlier_outputs(run, scans, out, tmp_path, clean):
    run(scans)
    without = write_bundle(tmp_path / "without")
    (without / "models" / "model.pt").unlink()
    wider = write_bundle(tmp_path / "wider", filters=[2, 4, 16])

    for weights, reason in (
        (without / "models" / "model.pt", "no such weights"),
        (wider / "models" / "model.pt", "weights of another network"),
    ):
        with pytest.raises(SegpipeError, match=reason):
            run(scans, weights=[weights])
    with pytest.raises(SegpipeError, match="no such weights"):
        segpipe.predict(scans, without, out)

    assert contents(out) == clean
    assert outcomes(run(scans, overwrite=False)) == {SKIPPED: 3}

"""Label maps that a person corrected stay.

In process, through `segpipe.predict`; `tests/cli/test_predict_command.py` has the command as a real process.
"""

import re

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from cohort_files import (
    DONE,
    FAILED,
    KEPT,
    SKIPPED,
    KilledError,
    correct,
    counted,
    entries,
    outcomes,
    posterior_voxels,
)
from tiny_bundle import contents, write_scan

from segpipe.prediction import cohort as steps
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import VolumeFormat


def test_a_correction_stays_and_is_measured(run, scans, out):
    run(scans)
    corrected = correct(out / "scan_001.nii.gz")

    predictions = run(scans)

    assert outcomes(predictions) == {KEPT: 1, SKIPPED: 2}
    assert (out / "scan_001.nii.gz").read_bytes() == corrected
    assert posterior_voxels(out, "scan_001") == counted(out / "scan_001.nii.gz")
    assert predictions["scan_001"].volumes[1].voxels == counted(out / "scan_001.nii.gz")
    assert "corrected by hand" in predictions["scan_001"].reason

    ledger = (out / "predictions.jsonl").read_bytes()
    assert outcomes(run(scans)) == {KEPT: 1, SKIPPED: 2}
    assert (out / "predictions.jsonl").read_bytes() == ledger

    again = correct(out / "scan_001.nii.gz", value=1)
    assert outcomes(run(scans)) == {KEPT: 1, SKIPPED: 2}
    assert (out / "scan_001.nii.gz").read_bytes() == again
    assert posterior_voxels(out, "scan_001") == counted(out / "scan_001.nii.gz")


@pytest.mark.slow
def test_the_picture_shows_the_correction(run, scans, out, monkeypatch):
    run(scans, overlays=True)
    picture = out / "overlays" / "scan_001.png"
    of_the_network = picture.read_bytes()
    correct(out / "scan_001.nii.gz")

    run(scans)  # which draws no others

    of_the_correction = picture.read_bytes()
    assert of_the_correction != of_the_network
    assert outcomes(run(scans, overlays=True)) == {DONE: 2, KEPT: 1}
    assert picture.read_bytes() == of_the_correction

    def killed(*_, **__):
        raise KilledError

    correct(out / "scan_001.nii.gz", value=1)
    monkeypatch.setattr(steps, "publish", killed)
    with pytest.raises(KilledError):
        run(scans)
    assert not picture.exists()


def test_a_picture_that_was_drawn_in_stays_with_a_correction(run, scans, out):
    run(scans, overlays=True)
    picture = out / "overlays" / "scan_001.png"
    picture.write_bytes(b"with an arrow")
    correct(out / "scan_001.nii.gz")

    assert outcomes(run(scans, overlays=True)) == {KEPT: 1, SKIPPED: 2}

    assert picture.read_bytes() == b"with an arrow"


def test_a_correction_of_the_voxel_file_alone_is_one(run, scans, out):
    run(scans, format=VolumeFormat.MHD)
    header = (out / "scan_001.mhd").read_bytes()
    labels = sitk.ReadImage(str(out / "scan_001.mhd"))
    raw = sitk.GetArrayFromImage(labels)
    raw[:4, :4, :4] = 2
    (out / "scan_001.raw").write_bytes(raw.tobytes())
    plain = re.sub(
        rb"CompressedData = True\nCompressedDataSize = \d+\n", b"CompressedData = False\n", header
    ).replace(b"scan_001.zraw", b"scan_001.raw")
    (out / "scan_001.mhd").write_bytes(plain)
    assert outcomes(run(scans, format=VolumeFormat.MHD)) == {KEPT: 1, SKIPPED: 2}
    assert posterior_voxels(out, "scan_001") == int((raw == 2).sum())

    raw[:4, :4, :4] = 0  # now the header stays as it is
    (out / "scan_001.raw").write_bytes(raw.tobytes())

    assert outcomes(run(scans, format=VolumeFormat.MHD)) == {KEPT: 1, SKIPPED: 2}
    assert posterior_voxels(out, "scan_001") == int((raw == 2).sum())
    assert (out / "scan_001.raw").read_bytes() == raw.tobytes()


@pytest.mark.parametrize("noticed", [False, True], ids=["at once", "after a run that kept it"])
@pytest.mark.parametrize("change", ["weights", "option", "scan", "format", "side file", "broken"])
def test_nothing_but_overwrite_replaces_a_correction(run, scans, out, weights, change, noticed):
    run(scans, entropy=True)
    corrected = correct(out / "scan_001.nii.gz")
    if noticed:
        assert outcomes(run(scans, entropy=True)) == {KEPT: 1, SKIPPED: 2}
    arguments = {"entropy": True}
    if change == "weights":
        arguments["weights"] = weights
    elif change == "option":
        arguments["flips"] = (1,)
    elif change == "scan":
        write_scan(scans / "scan_001.nii.gz", seed=7)
    elif change == "format":
        arguments["format"] = VolumeFormat.MHD
    elif change == "side file":
        (out / "entropy" / "scan_001.nii.gz").unlink()
    else:
        whole = (scans / "scan_001.nii.gz").read_bytes()
        (scans / "scan_001.nii.gz").write_bytes(b"")
        assert run(scans, entropy=True)["scan_001"].outcome is FAILED
        (scans / "scan_001.nii.gz").write_bytes(whole)

    refused = change in {"scan", "format"}  # the correction is of another scan, or elsewhere
    for _ in range(2):
        prediction = run(scans, **arguments)["scan_001"]
        assert prediction.outcome is (FAILED if refused else KEPT)
        assert ("was changed since segpipe wrote it" if refused else "corrected by hand") in prediction.reason
        assert (out / "scan_001.nii.gz").read_bytes() == corrected

    if change != "format":
        assert run(scans, overwrite=True, **arguments)["scan_001"].outcome is DONE
        assert (out / "scan_001.nii.gz").read_bytes() != corrected
        assert posterior_voxels(out, "scan_001") == counted(out / "scan_001.nii.gz")


def test_a_correction_that_is_undone_is_segpipes_again(run, scans, out, clean):
    run(scans)
    correct(out / "scan_001.nii.gz")
    run(scans)
    (out / "scan_001.nii.gz").write_bytes(clean["scan_001.nii.gz"])

    run(scans)

    assert contents(out) == clean
    assert entries(out)["scan_001"]["state"] == "done"


def test_a_correction_made_while_the_network_runs_stays(run, scans, out, weights, monkeypatch):
    run(scans)
    corrected = []

    def segment(self, image, *arguments, **options):
        if "scan_001" in image.meta["filename_or_obj"]:
            corrected.append(correct(out / "scan_001.nii.gz"))
        return original(self, image, *arguments, **options)

    original = Segmenter.segment
    monkeypatch.setattr(Segmenter, "segment", segment)

    predictions = run(scans, weights=weights)

    assert outcomes(predictions) == {DONE: 2, KEPT: 1}
    assert [(out / "scan_001.nii.gz").read_bytes()] == corrected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda labels, affine: (labels, affine + np.diag([0, 0, 0.5, 0])), "lies on another grid"),
        (lambda labels, affine: (labels + 5, affine), "belongs to no class|value"),
        (lambda labels, affine: (labels[:-1], affine), "lies on another grid"),
    ],
    ids=["grid", "values", "size"],
)
def test_a_correction_that_cannot_be_measured_is_refused_and_stays(run, scans, out, change, reason):
    run(scans)
    path = out / "scan_001.nii.gz"
    image = nibabel.load(path)
    labels, affine = change(np.asarray(image.dataobj), image.affine)
    nibabel.save(nibabel.Nifti1Image(labels, affine), path)
    before = path.read_bytes()

    predictions = run(scans)

    assert outcomes(predictions) == {FAILED: 1, SKIPPED: 2}
    assert re.search(reason, predictions["scan_001"].reason)
    assert str(path) in predictions["scan_001"].reason
    assert path.read_bytes() == before

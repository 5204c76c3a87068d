"""Scans that the bundle cannot take are refused before the bundle is opened."""

import numpy as np
import pytest
from cohort_files import DONE, FAILED, outcomes
from PIL import Image
from tiny_bundle import write_scan

import segpipe.bundle.open
from segpipe.errors import SegpipeError
from segpipe.prediction.ledger import Ledger, State


@pytest.fixture
def never_opened(monkeypatch):
    monkeypatch.delattr(segpipe.bundle.open, "open_bundle")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "pictures" / "a.png"
    path.parent.mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    return path


def test_a_damaged_scan_fails(run, out, tmp_path, never_opened):
    path = tmp_path / "scan.nii.gz"
    write_scan(path)
    path.write_bytes(path.read_bytes()[:100])

    predictions = run(path)

    assert outcomes(predictions) == {FAILED: 1}
    assert "scan.nii.gz" in predictions["scan"].reason
    entry = Ledger(out).entries["scan"]
    assert (entry.state, entry.reason) == (State.FAILED, predictions["scan"].reason)
    assert (out / "volumes.csv").read_text().count("\n") == 1


def test_a_picture_for_a_bundle_of_volumes_fails(run, picture, never_opened):
    (prediction,) = run(picture).values()

    assert prediction.reason.startswith(f"{picture}: 2D with 1 channel(s), the bundle takes 3D with 1;")


def test_one_good_scan_is_segmented_beside_a_bad_one(run, picture, scans, out):
    assert outcomes(run([picture, scans])) == {FAILED: 1, DONE: 3}


@pytest.mark.slow
def test_the_reasons_are_those_of_a_longer_run(run, picture, scans, tmp_path, monkeypatch):
    quick = run(picture)
    monkeypatch.setattr("segpipe.prediction.predict.refused_run", lambda *_: None)

    full = run(picture, tmp_path / "full")

    assert {case: one.reason for case, one in full.items()} == {
        case: one.reason for case, one in quick.items()
    }


def test_a_path_that_does_not_exist(run, tmp_path, out, never_opened):
    with pytest.raises(SegpipeError, match=r"nothing\.nii\.gz"):
        run(tmp_path / "nothing.nii.gz")
    assert not out.exists()


def test_options_come_first(run, tmp_path, never_opened):
    with pytest.raises(SegpipeError, match="precision 'half' is unknown"):
        run(tmp_path / "nothing.nii.gz", precision="half")

"""Files of other programs in the place of an output stay.

In process, through `segpipe.predict`; `tests/cli/test_predict_command.py` has the command as a real process.
"""

import pytest
from cohort_files import DONE, FAILED, SKIPPED, outcomes
from tiny_bundle import contents, write_scan

from segpipe.errors import SegpipeError
from segpipe.volumes import VolumeFormat


def test_a_foreign_file_in_a_label_maps_place_is_refused_for_its_scan(run, scans, out, clean):
    out.mkdir()
    (out / "scan_001.nii.gz").write_text("mine")

    for _ in range(2):
        predictions = run(scans)
        assert predictions["scan_001"].outcome is FAILED
        assert f"{out / 'scan_001.nii.gz'}: lies where the label map of" in predictions["scan_001"].reason
        assert (out / "scan_001.nii.gz").read_text() == "mine"

    assert outcomes(run(scans, overwrite=True)) == {DONE: 1, SKIPPED: 2}
    assert contents(out) == clean


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scan_001.zraw", {"format": VolumeFormat.MHD}),
        ("overlays/scan_001.png", {"overlays": True}),
        ("entropy/scan_001.nii.gz", {"entropy": True}),
        ("probabilities/scan_001.npy", {"probabilities": True}),
    ],
)
def test_a_foreign_file_in_a_side_files_place_is_refused_for_its_scan(run, scans, out, name, options):
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")

    predictions = run(scans, **options)

    assert outcomes(predictions) == {DONE: 2, FAILED: 1}
    assert str(out / name) in predictions["scan_001"].reason
    assert (out / name).read_text() == "mine"
    assert outcomes(run(scans, overwrite=True, **options)) == {DONE: 1, SKIPPED: 2}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_in_a_label_maps_place_stays_whatever_is_asked_for(run, scans, out, overwrite):
    (out / "scan_001.nii.gz").mkdir(parents=True)
    (out / "scan_001.nii.gz" / "mine").touch()

    assert outcomes(run(scans, overwrite=overwrite)) == {DONE: 2, FAILED: 1}
    assert (out / "scan_001.nii.gz" / "mine").exists()


def test_a_file_in_the_place_of_the_pictures_folder_is_refused(run, scans, out):
    out.mkdir()
    (out / "overlays").write_text("mine")

    with pytest.raises(SegpipeError, match="overlays"):
        run(scans, overlays=True)

    assert (out / "overlays").read_text() == "mine"


def test_volumes_of_another_program_are_not_replaced(run, scans, out):
    out.mkdir()
    (out / "volumes.csv").write_text("patient;volume\nA;3\n")

    with pytest.raises(SegpipeError, match=r"volumes\.csv"):
        run(scans)

    assert (out / "volumes.csv").read_text() == "patient;volume\nA;3\n"


def test_the_label_map_of_another_scan_of_that_name_stays(run, tmp_path, out):
    """Two hospitals use one name for two scans, and both are predicted into one folder."""
    for number, name in enumerate(["north", "south"]):
        write_scan(tmp_path / name / "scan.nii.gz", number)
    run(tmp_path / "north")
    before = contents(out)

    for _ in range(2):
        predictions = run(tmp_path / "south")
        assert predictions["scan"].outcome is FAILED
        assert str(tmp_path / "north" / "scan.nii.gz") in predictions["scan"].reason
        assert contents(out) == before
    assert outcomes(run(tmp_path / "north")) == {SKIPPED: 1}

    assert outcomes(run(tmp_path / "south", overwrite=True)) == {DONE: 1}
    assert contents(out) != before


def test_another_scans_label_map_in_another_format_stays(run, tmp_path, out):
    write_scan(tmp_path / "north" / "scan.nii.gz", 0)
    write_scan(tmp_path / "south" / "scan.mha", 1)
    run(tmp_path / "north")
    before = contents(out)

    run(tmp_path / "south")

    assert contents(out)["scan.nii.gz"] == before["scan.nii.gz"]

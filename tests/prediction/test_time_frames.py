"""`predict` with cine series: all frames into a 4D label map, or one frame by number or by Info.cfg."""

import csv

import nibabel
import numpy as np
import pytest
from cine_files import FRAMES, MILLISECONDS, SIZE, frames_of_noise, save_4d
from cohort_files import DONE, KEPT, SKIPPED, outcomes
from tiny_bundle import write_scan

from segpipe import PredictOptions
from segpipe.bundle.scan_rule import ScanRule
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.prediction.estimate import estimate
from segpipe.prediction.options import scan_header
from segpipe.prediction.time_frames import choose_frames
from segpipe.volumes import VolumeFormat, look_for_scans, read_volume


@pytest.fixture
def series(tmp_path):
    """Return a folder of two cine series, the first with its end-diastolic frame in Info.cfg, and a volume."""
    for number, name in enumerate("ab"):
        save_4d(tmp_path / "scans" / name / f"{name}.nii.gz", frames_of_noise(number))
    (tmp_path / "scans" / "a" / "Info.cfg").write_text("ED: 2\nES: 1\nGroup: DCM\n")
    write_scan(tmp_path / "scans" / "volume.nii.gz")
    return tmp_path / "scans"


def posterior(out, case):
    """Return frame and voxels of a class in volumes.csv."""
    with (out / "volumes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["case"], row["label"]) == (case, "posterior")]
    return [(row["frame"], int(row["voxels"])) for row in rows]


def test_all_frames_make_a_4d_label_map_that_can_be_corrected(run, series, out, tmp_path):
    """On the grid and with the time spacing of the series; volumes have a row a frame."""
    made = run(series, frames="all", overlays=True)

    assert outcomes(made) == {DONE: 3}
    path, source = made["a/a"].label_map, nibabel.load(series / "a" / "a.nii.gz")
    written = nibabel.load(path)
    assert written.shape == source.shape
    np.testing.assert_array_equal(written.affine, source.affine)
    assert written.header.get_zooms()[3] == MILLISECONDS
    assert read_volume(made["volume"].label_map).num_channels == 1
    labels = np.asarray(written.dataobj).copy()
    assert posterior(out, "a/a") == [(str(t + 1), (labels[..., t] == 2).sum()) for t in range(FRAMES)]
    assert posterior(out, "volume")[0][0] == ""

    one = run(series / "a", tmp_path / "one", frames="2")
    np.testing.assert_array_equal(labels[..., 1], nibabel.load(one["a_frame02"].label_map).dataobj)

    picture = (out / "overlays" / "a" / "a.png").read_bytes()
    labels[..., :2] = 2
    nibabel.save(nibabel.Nifti1Image(labels, written.affine, written.header), path)
    assert outcomes(run(series, frames="all", overlays=True)) == {SKIPPED: 2, KEPT: 1}
    assert posterior(out, "a/a")[1] == ("2", labels[..., 1].size)
    assert (out / "overlays" / "a" / "a.png").read_bytes() != picture

    nibabel.save(nibabel.Nifti1Image(labels[..., :2], written.affine), path)
    assert "has not the 3 frames" in run(series, frames="all", overlays=True)["a/a"].reason


def test_the_end_diastolic_frame_needs_its_file(series):
    scans = look_for_scans(series).scans

    chosen = choose_frames(scans, "ed")

    assert [(scan.name, scan.frame) for scan in chosen.scans] == [("a/a_frame02", 2), ("volume", None)]
    assert chosen.notes == (f"a/a: frame 2 is end-diastolic by {series / 'a' / 'Info.cfg'}",)
    assert [scan.name for scan in chosen.refused] == ["b/b"]
    assert "its end-diastolic frame is not known" in chosen.refused[0].reason
    (series / "b" / "Info.cfg").write_text("ES: 4\n")
    assert "states no end-diastolic frame" in choose_frames(scans, "ed").refused[0].reason
    (series / "b" / "Info.cfg").write_text("ED: 9\n")
    assert "has no frame 9" in choose_frames(scans, "ed").refused[0].reason


def test_a_number_out_of_range_fails_the_series_alone(series):
    chosen = choose_frames(look_for_scans(series).scans, str(FRAMES + 1))

    assert [scan.name for scan in chosen.scans] == ["volume"]
    assert [scan.name for scan in chosen.refused] == ["a/a", "b/b"]
    assert f"has no frame {FRAMES + 1}: its frames are 1 to {FRAMES}" in chosen.refused[0].reason


def test_without_frames_the_message_names_the_option(series):
    (scan,) = look_for_scans(series / "b").scans

    with pytest.raises(
        SegpipeError, match="if its 3 volumes are time frames, add --frames all, ed or a number"
    ):
        scan_header(scan, ScanRule.of(), PredictOptions())


def test_a_manifest_of_frames(run, series, tmp_path):
    cases = tuple(Case(f"a_frame{k:02d}", ("a/a.nii.gz",), "a/gt.nii.gz", frame=k) for k in (1, 3))
    labels = {0: "background", 1: "anterior", 2: "posterior"}
    write_manifest(Manifest("cine", ("MRI",), labels, cases, dataset_dir=str(series)), tmp_path / "cine.json")

    result = run(tmp_path / "cine.json")

    assert outcomes(result) == {DONE: 2}
    first, third = (read_volume(result[case.case].label_map).array for case in cases)
    assert (first != third).any()


def test_the_estimate_counts_all_frames(bundle, series, tmp_path):
    rows = estimate(series, bundle, tmp_path / "out", options=PredictOptions(frames="all"))

    assert [(row.case, row.action) for row in rows] == [
        (case, "segment") for case in ("a/a", "b/b", "volume")
    ]
    assert rows[0].size == SIZE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": "first"}, r"--frames .* is 'first'; must be all, ed"),
        ({"frames": "0"}, r"must be all, ed \(end-diastole\) or the number of a frame, from 1"),
        ({"frames": "all", "entropy": True}, "one time frame at a time"),
        ({"frames": "all", "probabilities": True}, "one time frame at a time"),
        ({"frames": "all", "format": VolumeFormat.NRRD}, r"4D NIfTI, and --format is \.nrrd"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(SegpipeError, match=message):
        PredictOptions(**options).check()

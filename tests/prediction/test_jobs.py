"""Reading ahead, writing in threads, and the progress that a caller receives while a cohort runs.

In process, through `segpipe.predict`; `tests/cli/test_predict_command.py` has the command as a real process.
"""

import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest
from cohort_files import DONE, FAILED, counted, entries, outcomes
from tiny_bundle import contents, write_scan, write_scans

import segpipe
from segpipe.errors import SegpipeError
from segpipe.phantoms.files import write_phantom_scans
from segpipe.prediction import scan_steps as steps
from segpipe.prediction.segmenter import Segmenter
from segpipe.transforms import LoadVolumed
from segpipe.volumes import read_header, read_volume


def test_jobs_change_no_byte(run, tmp_path, out):
    scans = write_scans(tmp_path / "scans", 8)
    run(scans, entropy=True)

    predictions = run(scans, tmp_path / "three", jobs=3, entropy=True)

    assert list(predictions) == sorted(predictions)
    assert contents(tmp_path / "three") == contents(out)
    assert len({content for name, content in contents(out).items() if name.startswith("scan_")}) == 8


def test_a_scan_that_is_there_twice_is_segmented_twice(run, tmp_path, out, monkeypatch):
    """Two folders have a scan with the same name and bytes: one is written while the other is segmented."""
    for case in ("a", "b", "c"):
        write_scan(tmp_path / "scans" / case / "scan.nii.gz")

    def slow(*arguments, **options):
        time.sleep(0.3)
        return original(*arguments, **options)

    original = steps.write_label_map
    monkeypatch.setattr(steps, "write_label_map", slow)

    predictions = run(tmp_path / "scans", probabilities=True)

    assert outcomes(predictions) == {DONE: 3}
    files = contents(out)
    assert files["a/scan.nii.gz"] == files["b/scan.nii.gz"] == files["c/scan.nii.gz"]
    assert {name for name in files if name.startswith("prob")} >= {
        f"probabilities/{case}/scan.npy" for case in ("a", "b", "c")
    }
    for case, entry in entries(out).items():
        assert set(entry["files"]) == {f"{case}.nii.gz", f"probabilities/{case}.npy"}


def test_two_names_of_one_file_are_two_scans(run, scans):
    (scans / "link.nii.gz").symlink_to("scan_001.nii.gz")

    assert sorted(run(scans)) == ["link", "scan_000", "scan_001", "scan_002"]


def test_folders_and_files_may_be_named_together(run, scans, tmp_path, out):
    write_scan(tmp_path / "other" / "deep" / "a.nrrd", 8)
    single = write_scan(tmp_path / "third" / "b.mha", 9)

    predictions = run([scans, scans / "scan_000.nii.gz", tmp_path / "other", single])

    assert outcomes(predictions) == {DONE: 5}
    assert {name for name in contents(out) if not name.startswith(("volumes.", "labels."))} == {
        *(f"scan_{index:03d}.nii.gz" for index in range(3)),
        "deep/a.nrrd",
        "b.mha",
    }


def test_each_label_map_lies_on_its_scans_grid_in_its_scans_format(run, tmp_path, out):
    paths = write_phantom_scans(tmp_path / "scans", tmp_path / "references", seed=3)

    predictions = run(tmp_path / "scans", overrides={"window_size": [32, 32, 32], "overlap": 0.25})

    assert outcomes(predictions) == {DONE: 4}
    for path in paths:
        name = path.relative_to(tmp_path / "scans")
        label_map = out / (name if name.suffix else f"{name}.nii.gz")
        scan, labels = read_header(path), read_volume(label_map)
        assert labels.grid.differences(scan.grid, tolerance=1e-5) == []
        assert labels.array.dtype == np.uint8
        assert set(np.unique(labels.array)) == {0, 1, 2}
    oblique = nibabel.load(tmp_path / "scans" / "nifti" / "phantom_oblique.nii.gz")
    assert np.array_equal(nibabel.load(out / "nifti" / "phantom_oblique.nii.gz").affine, oblique.affine)


def test_volumes_are_those_of_the_label_maps(run, scans, out):
    run(scans)

    for line in (out / "volumes.csv").read_text().splitlines()[1:]:
        case, label, voxels, millilitres, *_ = line.split(",")
        count = counted(out / f"{case}.nii.gz", {"anterior": 1, "posterior": 2}[label])
        assert (int(voxels), float(millilitres)) == (count, pytest.approx(count / 1000))


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_scan_a_job_is_read_ahead_and_one_waits_to_be_written(run, tmp_path, monkeypatch, jobs):
    """The disk blocks; after the second scan is segmented, all scans wait."""
    scans = write_scans(tmp_path / "scans", 7)
    loaded, prepared, segmented, goes_on = [], [], [], threading.Event()

    def noting(original, note):
        def call(*arguments, **options):
            answer = original(*arguments, **options)
            note(answer)
            return answer

        return call

    def hanging(*arguments, **options):
        assert goes_on.wait(60)
        return original(*arguments, **options)

    original = steps.write_label_map
    monkeypatch.setattr(LoadVolumed, "__call__", noting(LoadVolumed.__call__, loaded.append))
    prepare = noting(Segmenter.prepare, lambda image: prepared.append(weakref.ref(image)))
    monkeypatch.setattr(Segmenter, "prepare", prepare)
    monkeypatch.setattr(Segmenter, "segment", noting(Segmenter.segment, segmented.append))
    monkeypatch.setattr(steps, "write_label_map", hanging)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run, scans, jobs=jobs)
        try:
            for _ in range(600):
                if len(prepared) == 2 + jobs and len(segmented) == 2:
                    break
                time.sleep(0.05)
            time.sleep(0.3)
            assert (len(loaded), len(segmented)) == (2 + jobs, 2)
            assert sum(image() is not None for image in prepared) <= 1 + jobs
        finally:
            goes_on.set()
        assert outcomes(running.result()) == {DONE: 7}


def remove_folder(out):
    shutil.rmtree(out)


def move_folder(out):
    out.rename(out.with_name("moved"))


def remove_label_maps(out):
    for path in out.glob("scan_*"):
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize(
    ("remove", "message"),
    [
        (remove_folder, "was deleted or moved while segpipe wrote there"),
        (move_folder, "was deleted or moved while segpipe wrote there"),
        (remove_label_maps, r"label maps? that segpipe wrote there did not stay: .*scan_000\.nii\.gz"),
    ],
)
def test_outputs_that_are_deleted_while_it_runs_are_an_error(bundle, scans, out, remove, message, at):
    """The outputs are deleted after the first or the last of three scans; the next run writes all of them again."""

    def watch(prediction, number, total):
        if number == at:
            remove(out)

    with pytest.raises(SegpipeError, match=message):
        segpipe.predict(scans, bundle, out, watch=watch)

    segpipe.predict(scans, bundle, out)
    assert len(list(out.glob("scan_*.nii.gz"))) == 3


def test_the_watch_callback_gets_each_scan(bundle, scans, out):
    (scans / "scan_001.nii.gz").write_bytes(b"")
    reported = []

    segpipe.predict(scans, bundle, out, watch=lambda *progress: reported.append(progress))

    assert sorted((prediction.case, prediction.outcome) for prediction, _, _ in reported) == [
        ("scan_000", DONE),
        ("scan_001", FAILED),
        ("scan_002", DONE),
    ]
    assert [counts for _, *counts in reported] == [[1, 3], [2, 3], [3, 3]]

"""What becomes of a cohort's files: broken scans, failures at every step, crashes, corrections by hand, run after run.

In process, through `segpipe.predict`; `tests/cli/test_predict_command.py` has the command as a real process.
"""

import errno
import fcntl
import itertools
import json
import math
import os
import re
import shutil
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import RTStructureSetStorage
from tiny_bundle import BROKEN, contents, write_broken, write_bundle, write_scan, write_scans, write_weights

import segpipe
from segpipe import PredictOptions
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.phantoms.files import write_phantom_scans
from segpipe.prediction import cohort as steps
from segpipe.prediction import estimate as dry_run
from segpipe.prediction import side_files
from segpipe.prediction.estimate import estimate
from segpipe.prediction.ledger import Ledger, locked_folder
from segpipe.prediction.options import Outcome
from segpipe.prediction.segmenter import Segmenter
from segpipe.transforms import LoadVolumed
from segpipe.volumes import Grid, VolumeFormat, read_header, read_volume, write_series

DONE, SKIPPED, KEPT, FAILED = Outcome.DONE, Outcome.SKIPPED, Outcome.KEPT, Outcome.FAILED
LABEL_MAPS = (".nii.gz", ".mhd")


class KilledError(BaseException):
    """Ends a run as a signal would: nothing of segpipe's catches it."""


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def weights(bundle, tmp_path_factory):
    """Other weights for the same bundle."""
    return [write_weights(bundle, tmp_path_factory.mktemp("weights") / "other.pt", seed=1)]


@pytest.fixture
def scans(tmp_path):
    return write_scans(tmp_path / "scans", 3)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(bundle, out):
    """Return a function that predicts, without pictures unless they are asked for, and gives case -> prediction."""

    def predict(scans, folder=out, *, weights=(), overrides=None, **options):
        predictions = segpipe.predict(
            scans,
            BundleSource(bundle, weights=weights, overrides=overrides),
            folder,
            options=PredictOptions(**{"overlays": False, **options}),
        )
        return {prediction.case: prediction for prediction in predictions}

    return predict


@pytest.fixture
def clean(run, scans, tmp_path):
    """Return what a run that nothing happens to gives."""
    run(scans, tmp_path / "clean")
    return contents(tmp_path / "clean")


@pytest.fixture
def clean_by_others(run, scans, tmp_path, weights):
    run(scans, tmp_path / "clean_by_others", weights=weights)
    return contents(tmp_path / "clean_by_others")


def outcomes(predictions):
    return Counter(prediction.outcome for prediction in predictions.values())


def entries(folder):
    """Return case -> the ledger's last line of it."""
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return {entry["case"]: entry for entry in map(json.loads, lines)}


def correct(path, value=2):
    """Change a label map as a person would, with another program; return its bytes."""
    before = nibabel.load(path)
    labels = np.asarray(before.dataobj).copy()
    labels[:4, :4, :4] = value
    nibabel.save(nibabel.Nifti1Image(labels, before.affine, before.header), path)
    return path.read_bytes()


def posterior_voxels(folder, case):
    """Return what volumes.csv says of one class; None where it says nothing of the case."""
    rows = [line.split(",") for line in (folder / "volumes.csv").read_text().splitlines()]
    return next((int(row[2]) for row in rows if row[:2] == [case, "posterior"]), None)


def counted(path, value=2):
    return int((read_volume(path).array == value).sum())


# --- bad scans


@pytest.mark.parametrize("jobs", [1, 3])
def test_broken_scans_fail_with_their_reasons_and_the_others_are_as_without_them(run, tmp_path, out, jobs):
    good = write_scans(tmp_path / "good", 3)
    mixed = shutil.copytree(good, tmp_path / "mixed")
    for name in BROKEN:
        write_broken(mixed, name)
    run(good, tmp_path / "clean", overlays=True)

    predictions = run(mixed, jobs=jobs, overlays=True)

    assert outcomes(predictions) == {DONE: 3, FAILED: len(BROKEN)}
    assert contents(out) == contents(tmp_path / "clean")
    ledger, log = entries(out), (out / "predict.log").read_text()
    for name, (_, reason) in BROKEN.items():
        case = name.partition(".")[0]
        said = predictions[case].reason
        assert re.search(reason, said), f"{name}: {said}"
        assert name in said
        assert (ledger[case]["state"], ledger[case]["reason"]) == ("failed", said)
        assert f"ERROR {case}: failed: {said}" in log
        assert predictions[case].label_map is None
    assert "Traceback" not in log


def test_a_failure_in_the_network_is_told_in_a_line_and_in_full_in_the_log(
    run, scans, out, clean, monkeypatch
):
    def segment(self, image, *arguments, **options):
        if "scan_001" in image.meta["filename_or_obj"]:
            raise ZeroDivisionError("no tissue to divide by")
        return original(self, image, *arguments, **options)

    original = Segmenter.segment
    monkeypatch.setattr(Segmenter, "segment", segment)

    predictions = run(scans)

    assert outcomes(predictions) == {DONE: 2, FAILED: 1}
    reason = f"{scans / 'scan_001.nii.gz'}: ZeroDivisionError: no tissue to divide by"
    assert predictions["scan_001"].reason == entries(out)["scan_001"]["reason"] == reason
    log = (out / "predict.log").read_text()
    assert "scan_001: failed\n    Traceback" in log  # indented: no record begins so
    assert 'raise ZeroDivisionError("no tissue to divide by")' in log
    assert "Traceback" not in (out / "predictions.jsonl").read_text()
    for name in ("scan_000.nii.gz", "scan_002.nii.gz"):
        assert (out / name).read_bytes() == clean[name]

    monkeypatch.undo()
    assert outcomes(run(scans)) == {DONE: 1, SKIPPED: 2}
    assert contents(out) == clean


def test_a_failure_while_writing_leaves_nothing_of_the_scan(run, scans, out, monkeypatch):
    def picture(*arguments):
        if arguments[3] == "scan_001":
            raise RuntimeError("no font")
        return original(*arguments)

    original = side_files.scan_picture
    monkeypatch.setattr(side_files, "scan_picture", picture)

    predictions = run(scans, overlays=True)

    assert outcomes(predictions) == {DONE: 2, FAILED: 1}
    assert predictions["scan_001"].reason.endswith("RuntimeError: no font")
    assert not [name for name in contents(out) if "scan_001" in name]


def test_what_a_failed_scan_wrote_aside_goes_before_the_next(run, scans, out, monkeypatch):
    """A thousand failures with their probabilities would fill the disk."""
    aside = []

    def segment(self, *arguments, **options):
        aside.append(len(list((out / ".segpipe-staging").iterdir())))
        raise ZeroDivisionError

    monkeypatch.setattr(Segmenter, "segment", segment)

    assert outcomes(run(scans, probabilities=True)) == {FAILED: 3}
    assert aside == [1, 1, 1]


def test_a_name_that_is_no_text_fails_alone(run, scans, out, clean):
    (scans / "scan_001.nii.gz").rename(scans / os.fsdecode(b"caf\xe9.nii.gz"))

    predictions = run(scans, overlays=True)

    assert outcomes(predictions) == {DONE: 2, FAILED: 1}
    assert "caf\\xe9.nii.gz" in predictions["caf\udce9"].reason
    assert posterior_voxels(out, "scan_002") == counted(out / "scan_002.nii.gz")


# --- a second run


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
    assert "the label map that lies there is" in predictions["scan_001"].reason
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


# --- label maps that were corrected by hand, and files that are not segpipe's


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
def test_so_is_one_in_the_place_of_what_goes_with_it(run, scans, out, name, options):
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
    """Two hospitals name their scans alike, and are predicted one after the other into one folder."""
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


def test_so_does_one_in_another_format(run, tmp_path, out):
    write_scan(tmp_path / "north" / "scan.nii.gz", 0)
    write_scan(tmp_path / "south" / "scan.mha", 1)
    run(tmp_path / "north")
    before = contents(out)

    run(tmp_path / "south")

    assert contents(out)["scan.nii.gz"] == before["scan.nii.gz"]


# --- a run that is broken off


def killing(original, number, *, after):
    """Return a function that ends the run at its call of a number, before or after it does what it does."""
    calls = itertools.count(1)
    lock = threading.Lock()

    def call(*arguments, **options):
        with lock:
            here = next(calls) == number
        if here and not after:
            raise KilledError
        answer = original(*arguments, **options)
        if here:
            raise KilledError
        return answer

    return call


def require_whole(folder, allowed):
    """Every label map is one of those allowed, and what the ledger calls done is there."""
    for path in folder.glob("*"):
        if path.name.endswith(LABEL_MAPS):
            labels = read_volume(path).array
            assert any(np.array_equal(labels, one) for one in allowed[path.name]), path
    for entry in entries(folder).values() if (folder / "predictions.jsonl").exists() else ():
        if entry["state"] == "done":
            assert all(file_sha256(folder / name) == sha256 for name, sha256 in entry["files"].items())


NIFTI, MHD = VolumeFormat.NIFTI_GZ, VolumeFormat.MHD


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("step", "least"),
    [((Path, "replace"), 6), ((Ledger, "append"), 4), ((Path, "unlink"), 1)],
    ids=["rename", "ledger", "unlink"],
)
@pytest.mark.parametrize(
    ("old", "new"), [(NIFTI, NIFTI), (MHD, MHD), (NIFTI, MHD), (MHD, NIFTI)], ids=lambda suffix: suffix.value
)
def test_wherever_a_run_is_broken_off_nothing_is_half_and_the_next_completes_it(
    run, tmp_path, weights, monkeypatch, step, least, after, old, new
):
    """Over the outputs of other weights; `kill -9` of a process is in tests/cli."""
    if (step, old, new) == ((Path, "unlink"), NIFTI, NIFTI):
        pytest.skip("nothing is removed")
    scans = write_scans(tmp_path / "scans", 2)
    before = {"format": old, "entropy": True}
    now = {"format": new, "entropy": True, "weights": weights}
    run(scans, tmp_path / "old", **before)
    run(scans, tmp_path / "new", **now)
    allowed = {}
    for age in ("old", "new"):
        for path in (tmp_path / age).glob("scan_*"):
            if path.name.endswith(LABEL_MAPS):
                allowed.setdefault(path.name, []).append(read_volume(path).array)
    original = getattr(*step)

    for number in itertools.count(1):
        out = shutil.copytree(tmp_path / "old", tmp_path / f"out_{number}")
        with monkeypatch.context() as patch:
            patch.setattr(*step, killing(original, number, after=after))
            try:
                run(scans, out, **now)
            except KilledError:
                pass
            else:
                break
        require_whole(out, allowed)
        run(scans, out, **now)
        assert contents(out) == contents(tmp_path / "new"), number
    assert number > least


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_failure_after_the_ledger_said_writing_is_made_good_by_the_next_run(
    run, scans, out, weights, clean_by_others, monkeypatch, number
):
    """The overlay or the label map cannot get its name: a failure of this scan, that is no full disk."""
    run(scans)

    def replace(self, target):
        if str(target).startswith(str(out)) and "scan_001" in str(target) and next(calls) == number:
            raise OSError(errno.EIO, "Input/output error")
        return original(self, target)

    calls, original = itertools.count(1), Path.replace
    monkeypatch.setattr(Path, "replace", replace)
    predictions = run(scans, weights=weights, overlays=True)
    assert outcomes(predictions) == {DONE: 2, FAILED: 1}
    monkeypatch.undo()

    assert outcomes(run(scans, weights=weights, overlays=True)) == {DONE: 1, SKIPPED: 2}
    assert {
        name: content for name, content in contents(out).items() if "overlays" not in name
    } == clean_by_others


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd"])
def test_a_label_map_that_its_writer_cut_short_is_not_published(run, scans, out, monkeypatch, suffix):
    """On a full disk ITK may say nothing of what it could not write."""

    def write(image, path, compressed):
        original(image, path, compressed)
        written = Path(path).with_suffix(".zraw" if suffix == ".mhd" else suffix)
        if "scan_001" in path:
            written.write_bytes(written.read_bytes()[:-20])

    original = sitk.WriteImage
    monkeypatch.setattr(sitk, "WriteImage", write)

    predictions = run(scans, format=VolumeFormat(suffix))

    assert outcomes(predictions) == {DONE: 2, FAILED: 1}
    assert not list(out.glob("scan_001*"))


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize(
    ("where", "error"),
    [
        *((where, FULL) for where in ("label map", "picture", "sync", "name", "ledger", "volumes")),
        ("ledger", READ_ONLY),
    ],
    ids=lambda value: value if isinstance(value, str) else value.strerror,
)
def test_a_disk_that_takes_no_more_ends_the_run_with_one_message_and_the_next_goes_on(
    run, scans, out, monkeypatch, where, error
):
    options = {"overlays": True} if where == "picture" else {}
    run(scans, out.with_name("fresh"), **options)

    def failing(original, number):
        calls = itertools.count(1)

        def call(*arguments, **options):
            if next(calls) >= number:
                raise error
            return original(*arguments, **options)

        return call

    owner, name, number = {
        "label map": (nibabel, "save", 2),
        "picture": (side_files, "scan_picture", 2),
        "sync": (os, "fsync", 12),
        "name": (Path, "replace", 7),
        "ledger": (Ledger, "append", 3),
        "volumes": (Ledger, "write_volumes", 2),
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing(getattr(owner, name), number))
        with pytest.raises(SegpipeError) as refused:
            run(scans, **options)

    remedy = "make room" if error is FULL else "make it writable"
    assert str(refused.value) == (
        f"{out}: nothing more can be written there ({error.strerror}); what is done stays: {remedy}, and the same "
        "command goes on"
    )
    done = [case for case, entry in entries(out).items() if entry["state"] == "done"]
    assert "scan_000" in done
    assert outcomes(run(scans, **options)) == {DONE: 3 - len(done), SKIPPED: len(done)}
    assert contents(out) == contents(out.with_name("fresh"))


def test_killed_twice_before_the_same_label_map_got_its_name_it_is_still_known(
    run, scans, out, weights, clean_by_others, monkeypatch
):
    """What lies there is of the run before both."""
    run(scans)
    for flips in ((), (0,)):
        with monkeypatch.context() as patch:
            patch.setattr(steps, "publish", killing(steps.publish, 1, after=False))
            with pytest.raises(KilledError):
                run(scans, weights=weights, flips=flips)

    assert outcomes(run(scans, weights=weights)) == {DONE: 3}
    assert contents(out) == clean_by_others


def test_what_a_killed_process_left_aside_is_removed(run, scans, out, clean):
    """Wherever it was killed: writing a scan's files, or volumes.csv."""
    for name in (".segpipe-staging/tmp0/scan_000.nii.gz", ".segpipe-0123-tmp1.partial/volumes.csv"):
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("half")

    run(scans)

    assert contents(out) == clean


# --- who may write where


def test_a_folder_that_is_in_use_is_refused(run, scans, out):
    with locked_folder(out), pytest.raises(SegpipeError, match="another segpipe writes there now"):
        run(scans)

    assert contents(out) == {}


@pytest.mark.parametrize("name", ["predict.log", "predictions.jsonl", ".segpipe-lock", "volumes.csv"])
def test_a_folder_in_the_place_of_a_file_of_segpipes_is_one_message(run, scans, out, name):
    (out / name / "mine").mkdir(parents=True)

    with pytest.raises(SegpipeError) as refused:
        run(scans)

    assert str(refused.value).startswith(f"{out / name}: cannot be read and written (Is a directory)")


def test_a_disk_without_locks_is_refused(run, scans, out, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)

    with pytest.raises(SegpipeError, match="cannot be locked against a second segpipe"):
        run(scans)


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
    """They would share a line in volumes.csv and a picture, or even the label map; the third goes on."""
    for number, name in enumerate((*names, "a/other.nii.gz")):
        write_scan(tmp_path / name, number)

    everything = {"overlays": True, "entropy": True, "probabilities": True}
    predictions = run(sorted({(tmp_path / name).parent for name in names}), **everything)

    failed = [own for own in predictions.values() if own.outcome is FAILED]
    assert predictions["other"].outcome is DONE
    assert {own.scan for own in failed} <= {tmp_path / name for name in names}
    for own in failed:
        assert all(str(tmp_path / name) in own.reason for name in names)
        assert (entries(out)[own.case]["state"], entries(out)[own.case]["reason"]) == ("failed", own.reason)
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


# --- strangers


def test_strangers_are_passed_over_with_a_line_and_unread_formats_fail_alone(bundle, scans, out, clean):
    for name in ("scan_000.bval", "viewer.exe", "brain.mgz", "pair.hdr", "pair.img"):
        (scans / name).write_text("x")
    (scans / "gone.nii.gz").symlink_to(scans / "nowhere")
    said = []

    predictions = segpipe.predict(
        scans, bundle, out, options=PredictOptions(overlays=False), report=said.append
    )

    line = "2 files passed over: scan_000.bval, viewer.exe; give --strict to refuse them"
    assert said == [line]
    assert line in (out / "predict.log").read_text()
    reasons = {own.case: own.reason for own in predictions if own.outcome is FAILED}
    assert list(reasons) == ["brain.mgz", "gone.nii.gz", "pair.hdr"]
    assert "convert it to .nii.gz or .nrrd" in reasons["brain.mgz"]
    assert {case: entry["reason"] for case, entry in entries(out).items() if case in reasons} == reasons
    assert contents(out) == clean


def test_strict_refuses_strangers_before_anything_is_done(run, scans, out):
    (scans / "scan_000.bval").write_text("x")

    with pytest.raises(SegpipeError, match=r"1 files are neither scans nor known companions: scan_000\.bval"):
        run(scans, strict=True)

    assert not out.exists()


def test_what_a_shell_makes_of_a_folder_goes_as_the_folder(run, scans, out, clean):
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
    said = []

    predictions = segpipe.predict(
        scans, bundle, out, options=PredictOptions(overlays=False), report=said.append
    )

    assert {own.outcome for own in predictions} == {DONE}
    assert said == ["1 file passed over: scan_001.seg.nrrd; give --strict to refuse them"]
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
    """Neither does the series fail, nor is it done again because of them."""
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
    said = []

    segpipe.predict(
        tmp_path / "scans", bundle, out, options=PredictOptions(overlays=False), report=said.append
    )

    assert said == ["1 DICOM file beside slices left out (no slices): ct/rt.dcm"]
    assert "ct: left out: rt.dcm: " in (out / "predict.log").read_text()


def test_a_pipe_in_place_of_a_voxel_file_fails_alone(run, tmp_path):
    write_scan(tmp_path / "scans" / "a.mhd").with_suffix(".zraw").unlink()
    os.mkfifo(tmp_path / "scans" / "a.zraw")

    assert "a.zraw is no regular file" in run(tmp_path / "scans")["a"].reason


def test_a_dry_run_tells_strangers_and_refused_scans(bundle, scans, out):
    for name in ("scan_000.bval", "brain.mgz"):
        (scans / name).write_text("x")
    said = []

    rows = estimate(scans, bundle, out, options=PredictOptions(precision="float32"), report=said.append)

    assert [row.action for row in rows] == ["refuse", "segment", "segment", "segment"]
    assert said == ["1 file passed over: scan_000.bval; give --strict to refuse them"]


def test_a_bundle_that_cannot_be_used_costs_nothing_that_was_done(run, scans, out, tmp_path, clean):
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


# --- many scans at a time


def test_jobs_change_no_byte(run, tmp_path, out):
    scans = write_scans(tmp_path / "scans", 8)
    run(scans, entropy=True)

    predictions = run(scans, tmp_path / "three", jobs=3, entropy=True)

    assert list(predictions) == sorted(predictions)
    assert contents(tmp_path / "three") == contents(out)
    assert len({content for name, content in contents(out).items() if name.startswith("scan_")}) == 8


def test_a_scan_that_is_there_twice_is_segmented_twice(run, tmp_path, out, monkeypatch):
    """Same name, same bytes, two folders: while one is being written the other goes through the network."""
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
    """The disk hangs; the second scan comes out of the network, and there everything waits."""
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


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize(
    ("remove", "said"),
    [
        (remove_folder, "was deleted or moved while segpipe wrote there"),
        (move_folder, "was deleted or moved while segpipe wrote there"),
        (remove_label_maps, r"label maps? that segpipe wrote there did not stay: .*scan_000\.nii\.gz"),
    ],
)
def test_outputs_that_are_deleted_while_it_runs_are_an_error(bundle, scans, out, remove, said, at):
    """After the first of three scans, or after the last; the next run makes all of them again."""

    def watch(prediction, number, total):
        if number == at:
            remove(out)

    with pytest.raises(SegpipeError, match=said):
        segpipe.predict(scans, bundle, out, watch=watch)

    segpipe.predict(scans, bundle, out)
    assert len(list(out.glob("scan_*.nii.gz"))) == 3


def test_whoever_watches_is_told_of_each_scan(bundle, scans, out):
    (scans / "scan_001.nii.gz").write_bytes(b"")
    seen = []

    segpipe.predict(scans, bundle, out, watch=lambda *told: seen.append(told))

    assert sorted((prediction.case, prediction.outcome) for prediction, _, _ in seen) == [
        ("scan_000", DONE),
        ("scan_001", FAILED),
        ("scan_002", DONE),
    ]
    assert [counts for _, *counts in seen] == [[1, 3], [2, 3], [3, 3]]


# --- dry run


def test_an_estimate_writes_nothing_and_says_what_would_be_done(run, bundle, scans, out):
    def estimated():
        rows = estimate(scans, bundle, out, options=PredictOptions(overlays=False))
        return {row.case: row.action for row in rows}

    assert set(estimated().values()) == {"segment"}
    assert not out.exists()

    run(scans)
    (out / "scan_002.nii.gz").unlink()
    write_scan(scans / "scan_003.nii.gz", 3)
    (out / "scan_003.nii.gz").write_text("mine")
    for name in BROKEN:
        write_broken(scans, name)
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in [out, *out.rglob("*")]}

    actions = estimated()

    assert [actions[f"scan_{index:03d}"] for index in range(4)] == ["skip", "skip", "segment", "refuse"]
    assert {actions["channels"], actions["slice"], actions["gap"], actions["empty"]} == {"refuse"}
    after = {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in [out, *out.rglob("*")]}
    assert after == before


def test_an_estimate_refuses_what_it_read_and_cannot_be_segmented(bundle, tmp_path, out):
    """The sound scan beside it is estimated all the same."""
    write_scan(tmp_path / "scans" / "sound.nii.gz")
    write_broken(tmp_path / "scans", "truncated.nii.gz")

    rows = {row.case: row for row in estimate(tmp_path / "scans", bundle, out)}

    assert (rows["truncated"].action, rows["sound"].action) == ("refuse", "segment")
    assert "truncated.nii.gz" in rows["truncated"].reason
    assert rows["sound"].seconds > 0


def test_of_nothing_that_can_be_read_no_time_is_known(bundle, tmp_path, out):
    folder = tmp_path / "scans"
    for index in range(6):  # of which five are read, at most
        write_broken(folder, "truncated.nii.gz").rename(folder / f"scan_{index}.nii.gz")

    rows = estimate(folder, bundle, out)

    segmented = [row for row in rows if row.action == "segment"]
    assert len(rows) == 6
    assert segmented
    assert all(math.isnan(row.seconds) for row in segmented)


def test_slices_are_estimated_from_slices(bundle, tmp_path, out, monkeypatch):
    """Square millimetres are no share of a volume's cubic ones."""
    both = tmp_path / "both.yaml"
    both.write_text("+cases:\n  spatial_dims: [2, 3]\n")

    def cost(scan, _):
        return dry_run._Cost(seconds=1.0 if scan.name == "slice" else 100.0, scan_bytes=10)

    monkeypatch.setattr(dry_run, "_cost", cost)
    for name, size in {"slice": (32, 32), "large": (32, 32, 32), "small": (32, 32, 16)}.items():
        write_scan(tmp_path / "mixed" / f"{name}.nii.gz", size=size)

    rows = estimate(tmp_path / "mixed", BundleSource(bundle, configs=["inference.yaml", both]), out)

    seconds = {row.case: row.seconds for row in rows}
    assert seconds == pytest.approx({"slice": 1, "large": 400 / 3, "small": 200 / 3})

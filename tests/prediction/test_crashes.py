"""Crashes at every step, a full disk, a second process: no file is partial, and the next run completes the outputs.

In process, through `segpipe.predict`; `tests/cli/test_predict_command.py` has the command as a real process.
"""

import errno
import fcntl
import itertools
import os
import shutil
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from cohort_files import (
    DONE,
    FAILED,
    LABEL_MAPS,
    SKIPPED,
    KilledError,
    entries,
    outcomes,
)
from tiny_bundle import contents, write_scans

from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.prediction import publishing, side_files
from segpipe.prediction.ledger import Ledger, locked_folder
from segpipe.volumes import VolumeFormat, read_volume


def killing(original, number, *, after):
    """Return a function that kills the run at the n-th call of a function, before or after the call's effect."""
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
    """Require that every label map is an allowed one, and that every case that the ledger calls done has its files."""
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
    """The run replaces outputs of other weights; tests/cli kills a real process with `kill -9`."""
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
    run, scans, out, weights, clean_with_weights, monkeypatch, number
):
    """The overlay or the label map cannot be renamed: this scan fails, and the disk is not full."""
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
    } == clean_with_weights


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd"])
def test_a_label_map_that_its_writer_cut_short_is_not_published(run, scans, out, monkeypatch, suffix):
    """On a full disk, ITK may write a partial file without an error."""

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

    remedy = "free some space" if error is FULL else "make it writable"
    assert str(refused.value) == (
        f"{out}: cannot be written any more ({error.strerror}); finished files stay: {remedy}, then run the same "
        "command to continue"
    )
    done = [case for case, entry in entries(out).items() if entry["state"] == "done"]
    assert "scan_000" in done
    assert outcomes(run(scans, **options)) == {DONE: 3 - len(done), SKIPPED: len(done)}
    assert contents(out) == contents(out.with_name("fresh"))


def test_killed_twice_before_the_same_label_map_got_its_name_it_is_still_known(
    run, scans, out, weights, clean_with_weights, monkeypatch
):
    """The existing label map is from the run before the two kills."""
    run(scans)
    for flips in ((), (0,)):
        with monkeypatch.context() as patch:
            patch.setattr(publishing, "publish", killing(publishing.publish, 1, after=False))
            with pytest.raises(KilledError):
                run(scans, weights=weights, flips=flips)

    assert outcomes(run(scans, weights=weights)) == {DONE: 3}
    assert contents(out) == clean_with_weights


def test_what_a_killed_process_left_aside_is_removed(run, scans, out, clean):
    """The process was killed while it wrote a scan's files or volumes.csv."""
    for name in (".segpipe-staging/tmp0/scan_000.nii.gz", ".segpipe-0123-tmp1.partial/volumes.csv"):
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("half")

    run(scans)

    assert contents(out) == clean


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

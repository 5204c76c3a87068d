"""Broken scans and failures at every step are recorded, and the other scans continue.

In process, through `segpipe.predict`; `tests/cli/test_predict_command.py` has the command as a real process.
"""

import os
import re
import shutil
from pydoc import locate

import pytest
from cohort_files import DONE, FAILED, SKIPPED, counted, entries, outcomes, posterior_voxels
from tiny_bundle import BROKEN, contents, write_broken, write_scans

from segpipe.prediction import side_files
from segpipe.prediction.segmenter import Segmenter


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
        message = predictions[case].reason
        assert re.search(reason, message), f"{name}: {message}"
        assert name in message
        assert (ledger[case]["state"], ledger[case]["reason"]) == ("failed", message)
        assert f"ERROR {case}: failed: {message}" in log
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


def test_an_interruption_during_an_import_stops_the_cohort(run, scans, tmp_path, out, monkeypatch):
    (tmp_path / "stopping.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Segmenter, "segment", lambda *_, **options: locate("stopping.Component"))

    with pytest.raises(KeyboardInterrupt):
        run(scans)

    assert not [name for name in contents(out) if name.endswith(".nii.gz")]


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
    """The probabilities of a thousand failed scans would fill the disk."""
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

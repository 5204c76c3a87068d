"""The estimate of a cohort in a dry run.

In process, through `segpipe.predict`; `tests/cli/test_predict_command.py` has the command as a real process.
"""

import math

import pytest
from tiny_bundle import BROKEN, write_broken, write_scan

from segpipe import PredictOptions
from segpipe.bundle.source import BundleSource
from segpipe.inference.engines import cache, choice
from segpipe.prediction import estimate as dry_run
from segpipe.prediction.estimate import estimate


def test_a_dry_run_tells_strangers_and_refused_scans(bundle, scans, out):
    for name in ("scan_000.bval", "brain.mgz"):
        (scans / name).write_text("x")
    messages = []

    rows = estimate(scans, bundle, out, options=PredictOptions(precision="float32"), report=messages.append)

    assert [row.action for row in rows] == ["refuse", "segment", "segment", "segment"]
    assert messages == ["1 file ignored: scan_000.bval; give --strict to refuse them"]


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
    """The good scan beside the refused one is estimated."""
    write_scan(tmp_path / "scans" / "sound.nii.gz")
    write_broken(tmp_path / "scans", "truncated.nii.gz")

    rows = {row.case: row for row in estimate(tmp_path / "scans", bundle, out)}

    assert (rows["truncated"].action, rows["sound"].action) == ("refuse", "segment")
    assert "truncated.nii.gz" in rows["truncated"].reason
    assert rows["sound"].seconds > 0


def test_without_a_readable_scan_the_time_is_unknown(bundle, tmp_path, out):
    folder = tmp_path / "scans"
    for index in range(6):  # of which five are read, at most
        write_broken(folder, "truncated.nii.gz").rename(folder / f"scan_{index}.nii.gz")

    rows = estimate(folder, bundle, out)

    segmented = [row for row in rows if row.action == "segment"]
    assert len(rows) == 6
    assert segmented
    assert all(math.isnan(row.seconds) for row in segmented)


def test_slices_are_estimated_from_slices(bundle, tmp_path, out, monkeypatch):
    """The area of a slice in square millimetres is no share of a volume in cubic millimetres."""
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


def test_an_estimate_leaves_the_cache_of_engines_as_it_is(bundle, scans, out, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "default_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(choice, "_FEW_WINDOWS", 1)
    monkeypatch.setattr(choice, "_WORTH_CONVERTING_S", 0.0)
    monkeypatch.setattr(choice, "_MEASURED_WINDOWS", 0)
    converted = []
    monkeypatch.setattr(choice, "_may_convert", lambda job: True)
    opening = choice._open

    def as_torch(job, way):
        converted.append(way)
        job.cache.keep({"engine": way.engine}, {"network.bin": b"x"})
        return opening(job, choice.Way("torch", way.precision))

    monkeypatch.setattr(choice, "_open", as_torch)

    rows = estimate(scans, bundle, out, options=PredictOptions(precision="float32"))

    assert {row.action for row in rows} == {"segment"}
    assert choice.Way("openvino", "float32") in converted
    assert not (tmp_path / "cache").exists()


def test_an_estimate_takes_the_engine_of_the_cohort(run, bundle, scans, out, monkeypatch):
    run(scans)
    write_scan(scans / "more.nii.gz", 9)
    settled = []
    monkeypatch.setattr(
        choice.EngineChoice,
        "_settled",
        lambda self, *_, **__: settled.append(self) or choice.Way("torch", "float32"),
    )

    rows = {
        row.case: row.action for row in estimate(scans, bundle, out, options=PredictOptions(overlays=False))
    }

    assert rows["more"] == "segment"
    assert settled == []

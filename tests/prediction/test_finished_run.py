"""A run in which nothing is to be done opens no bundle; whatever changed since, the bundle is opened."""

import json
import shutil
import subprocess
import sys

import pytest
from cohort_files import DONE, FAILED, KEPT, SKIPPED, outcomes
from tiny_bundle import contents, write_bundle, write_scan, write_weights

import segpipe.bundle.open
from segpipe.prediction.ledger import Ledger
from segpipe.training.run_lock import LOCK_FILE

open_bundle = segpipe.bundle.open.open_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "tiny")


@pytest.fixture
def openings(monkeypatch):
    """Return the list of the bundles that are opened."""
    found = []

    def opening(source, **options):
        found.append(source)
        return open_bundle(source, **options)

    monkeypatch.setattr(segpipe.bundle.open, "open_bundle", opening)
    return found


def test_nothing_is_opened_and_nothing_changes(run, scans, out, openings):
    first = run(scans, overlays=True)
    before = contents(out)

    second = run(scans, overlays=True, jobs=2, batch_size=1)

    assert len(openings) == 1
    assert outcomes(second) == {SKIPPED: 3}
    assert contents(out) == before
    assert [list(one.volumes) for one in second.values()] == [list(one.volumes) for one in first.values()]
    assert "nothing to do" in (out / "predict.log").read_text()


def in_configuration(bundle, scans, out):
    path = bundle / "configs" / "inference.yaml"
    path.write_text(path.read_text() + "# a comment\n")


def in_metadata(bundle, scans, out):
    path = bundle / "configs" / "metadata.json"
    path.write_text(path.read_text().replace("0.1.0", "0.1.1", 1) + "\n")


def in_the_reference_ranges(bundle, scans, out):
    (bundle / "models" / "other.json").write_text("{}")


def without_a_table(bundle, scans, out):
    (out / "volumes.csv").unlink()


def without_label_names(bundle, scans, out):
    (out / "labels.ctbl").unlink()


CHANGES = [
    in_configuration,
    *(
        pytest.param(change, marks=pytest.mark.slow, id=change.__name__)
        for change in (in_metadata, in_the_reference_ranges, without_a_table, without_label_names)
    ),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: getattr(change, "__name__", None))
def test_a_change_that_no_label_map_depends_on_is_looked_at_once(run, bundle, scans, out, openings, change):
    run(scans)
    change(bundle, scans, out)

    assert outcomes(run(scans)) == {SKIPPED: 3}
    assert outcomes(run(scans)) == {SKIPPED: 3}
    assert len(openings) == 2


def with_other_weights(bundle, scans, out):
    write_weights(bundle, bundle / "models" / "model.pt", seed=1)


def with_a_changed_scan(bundle, scans, out):
    write_scan(scans / "scan_001.nii.gz", seed=7)


def with_one_more_scan(bundle, scans, out):
    write_scan(scans / "scan_004.nii.gz", seed=7)


def with_an_unreadable_scan(bundle, scans, out):
    (scans / "scan_004.nii.gz").write_bytes(b"no scan")


def without_a_label_map(bundle, scans, out):
    (out / "scan_001.nii.gz").unlink()


def with_a_corrected_label_map(bundle, scans, out):
    shutil.copy(out / "scan_002.nii.gz", out / "scan_001.nii.gz")


def with_a_failed_entry(bundle, scans, out):
    ledger = out / "predictions.jsonl"
    last = json.loads(ledger.read_text().splitlines()[-1])
    with ledger.open("a") as file:
        file.write(json.dumps({**last, "state": "failed", "reason": "the machine stopped"}) + "\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (with_other_weights, {DONE: 3}),
        (with_a_changed_scan, {DONE: 1, SKIPPED: 2}),
        *(
            pytest.param(change, outcome, marks=pytest.mark.slow)
            for change, outcome in (
                (with_one_more_scan, {DONE: 1, SKIPPED: 3}),
                (with_an_unreadable_scan, {FAILED: 1, SKIPPED: 3}),
                (without_a_label_map, {DONE: 1, SKIPPED: 2}),
                (with_a_corrected_label_map, {KEPT: 1, SKIPPED: 2}),
                (with_a_failed_entry, {DONE: 1, SKIPPED: 2}),
            )
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_to_be_done_is_done(run, bundle, scans, out, openings, change, expected):
    run(scans)
    change(bundle, scans, out)

    assert outcomes(run(scans)) == expected
    assert len(openings) == 2


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"flips": (0,)}, {"entropy": True}, {"overrides": {"overlap": 0.25}}])
def test_other_options_open_the_bundle(run, scans, openings, options):
    run(scans)

    assert outcomes(run(scans, **options)) == {DONE: 3}
    assert len(openings) == 2


@pytest.mark.slow
def test_given_weights_count_by_their_bytes(run, bundle, scans, tmp_path, openings):
    other = write_weights(bundle, tmp_path / "elsewhere" / "other.pt", seed=1)

    run(scans, weights=[other])
    run(scans, weights=[other])
    assert len(openings) == 1

    write_weights(bundle, other, seed=2)
    assert outcomes(run(scans, weights=[other])) == {DONE: 3}


def test_weights_that_the_configuration_names_elsewhere_are_always_read(
    run, bundle, scans, tmp_path, openings
):
    other = write_weights(bundle, tmp_path / "elsewhere" / "other.pt", seed=1)

    run(scans, overrides={"weights": [str(other)]})
    write_weights(bundle, other, seed=2)

    assert outcomes(run(scans, overrides={"weights": [str(other)]})) == {DONE: 3}
    assert len(openings) == 2


@pytest.mark.slow
def test_the_folder_of_another_run_is_refused(run, scans, out):
    from filelock import FileLock

    run(scans)
    with (
        FileLock(out / LOCK_FILE),
        pytest.raises(segpipe.errors.SegpipeError, match="another segpipe writes there now"),
    ):
        run(scans)


@pytest.mark.slow
def test_a_ledger_of_an_earlier_segpipe_is_read(run, scans, out, openings):
    run(scans)
    ledger = out / "predictions.jsonl"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    ledger.write_text(
        "".join(json.dumps({k: v for k, v in row.items() if k != "request"}) + "\n" for row in rows)
    )

    assert outcomes(run(scans)) == {SKIPPED: 3}
    assert len(openings) == 2
    assert all(len(entry.request) == 64 for entry in Ledger(out).entries.values())


def test_neither_torch_nor_monai_is_loaded(run, bundle, scans, out):
    run(scans)
    code = (
        f"import segpipe, sys; print([one.outcome.value for one in segpipe.predict({str(scans)!r}, {str(bundle)!r}, "
        f"{str(out)!r}, options=segpipe.PredictOptions(overlays=False))], {{'torch', 'monai'}} & set(sys.modules))"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert told == "['skipped', 'skipped', 'skipped'] set()\n"

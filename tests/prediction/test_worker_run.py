"""The driver of workers: it alone writes the ledger, and a lost worker's scan is done once, by another.

The workers here live in this process; `tests/prediction/test_ray_pool.py` has those of Ray.
"""

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
from cohort_files import DONE, FAILED, SKIPPED, correct, entries
from tiny_bundle import contents, write_broken, write_scans

import segpipe
from segpipe import PredictOptions
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.prediction import request
from segpipe.prediction.options import Outcome
from segpipe.prediction.part import CohortPart
from segpipe.prediction.worker import ScanWorker, WorkRecipe
from segpipe.prediction.worker_run import WorkerLostError, Workers

NOT_COMPARED = ("finished", "seconds", "request", "reason")


class WorkersHere:
    """Two workers that take turns; `loses` says at which calls one dies before or after it has computed."""

    def __init__(self, loses=(), *, after=False, sees=True):
        self.loses, self.after, self.sees, self.calls = set(loses), after, sees, itertools.count()
        self.sent = []

    def open(self, recipe, scans, tell):
        self.recipe = json.loads(json.dumps(recipe))  # plain values alone
        if not self.sees:
            self.recipe["staging"] = "/nowhere"
        self.workers = [self._started(), self._started()]
        return self

    def _started(self):
        worker = ScanWorker(self.recipe)
        report = worker.start()
        assert report["problem"] == ""
        return worker

    def run(self, jobs):
        while (job := jobs()) is not None:
            call, worker = next(self.calls), self.workers.pop(0)
            lost = call in self.loses
            message = job.message if self.sees else {**job.message, "sizes": []}
            answer = None
            if not lost or self.after:
                self.sent.append((job.scan.name, job.content is not None))
                answer = worker.segment(message, job.content)
            self.workers.append(self._started() if lost else worker)
            yield job, WorkerLostError("died") if lost else answer
        for worker in self.workers:
            worker.close()


@pytest.fixture
def predict(bundle, out):
    """Return a function that predicts with workers, or without, and returns case -> outcome."""

    def run(scans, workers=None, folder=out, **how):
        report = how.pop("report", None)
        predictions = segpipe.predict(
            scans,
            BundleSource(bundle),
            folder,
            options=PredictOptions(**{"overlays": False, **how}),
            workers=workers and Workers(1, workers.open),
            report=report,
        )
        return {prediction.case: prediction for prediction in predictions}

    return run


def outcomes(predictions):
    return Counter(prediction.outcome for prediction in predictions.values())


def timeless(folder):
    return {
        case: {name: value for name, value in entry.items() if name not in NOT_COMPARED}
        for case, entry in entries(folder).items()
    }


@pytest.mark.parametrize(
    "workers",
    [
        WorkersHere(),
        *(
            pytest.param(workers, marks=pytest.mark.slow)
            for workers in (
                WorkersHere(sees=False),
                WorkersHere(loses={0, 1, 4}),
                WorkersHere(loses={2, 3}, after=True),
            )
        ),
    ],
    ids=["shared disk", "bytes sent", "lost before", "lost after"],
)
def test_workers_give_the_files_of_one_process(predict, tmp_path, out, workers):
    scans = write_scans(tmp_path / "scans", 4)
    write_broken(scans, "empty.nii.gz")
    whole = predict(scans, folder=tmp_path / "whole", entropy=True)

    found = predict(scans, workers, entropy=True)

    assert outcomes(found) == outcomes(whole) == {DONE: 4, FAILED: 1}
    assert contents(out) == contents(tmp_path / "whole")
    assert timeless(out) == timeless(tmp_path / "whole")
    assert found["empty"].reason == whole["empty"].reason
    assert list(found["scan_001"].volumes) == whole["scan_001"].volumes
    lines = Counter(
        (line["case"], line["state"])
        for line in map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    )
    assert {(case, state): number for (case, state), number in lines.items() if number > 1} == {}
    assert predict(scans, workers)["scan_000"].outcome is DONE  # without entropy: another recipe


@pytest.mark.slow
def test_files_that_workers_do_not_see_are_sent_and_that_is_said_once(predict, scans, out):
    messages, workers = [], WorkersHere(sees=False)

    found = predict(scans, workers, report=messages.append)

    assert outcomes(found) == {DONE: 3}
    assert workers.sent[:2] == [("scan_000", False), ("scan_000", True)]
    assert messages.count("workers do not see the files of scans, which are sent to them") == 1
    assert str(scans / "scan_000.nii.gz") == entries(out)["scan_000"]["scan"]


@pytest.mark.slow
def test_finished_and_corrected_scans_need_no_worker(predict, scans, out):
    predict(scans, WorkersHere())
    corrected = correct(out / "scan_001.nii.gz")
    workers = WorkersHere()

    found = predict(scans, workers)

    assert outcomes(found) == {SKIPPED: 2, Outcome.KEPT: 1}
    assert (out / "scan_001.nii.gz").read_bytes() == corrected
    assert workers.sent == []


@pytest.mark.slow
def test_a_scan_that_kills_its_workers_fails_alone(predict, scans, out):
    found = predict(scans, WorkersHere(loses={0, 1, 2}))

    assert outcomes(found) == {DONE: 2, FAILED: 1}
    assert "3 workers died with this scan (died); they may lack memory" in found["scan_000"].reason


def test_a_scan_that_a_worker_computed_with_another_engine_is_refused(predict, scans, out):
    """Its engine failed on this machine alone."""
    workers, segment = WorkersHere(), ScanWorker.segment

    def elsewhere(self, message, content=None):
        answer = segment(self, message, content)
        if message["name"] == "scan_001":
            answer["entry"] |= {"engine": "onnxruntime"}
        return {**answer, "host": "node7"}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ScanWorker, "segment", elsewhere)
        found = predict(scans, workers, engine="torch", precision="float32")

    assert outcomes(found) == {DONE: 2, FAILED: 1}
    assert (
        "node7 computed it with onnxruntime in float32, and the cohort is computed with torch in float32; mend"
        in found["scan_001"].reason
    )
    assert not (out / "scan_001.nii.gz").exists()


@pytest.mark.slow
def test_a_worker_of_another_version_or_bundle_says_so(predict, scans, bundle, monkeypatch):
    workers = WorkersHere()
    predict(scans, workers)

    moved = {**workers.recipe, "bundle": {**workers.recipe["bundle"], "root": "/nowhere/bundle"}}
    assert "/nowhere/bundle" in ScanWorker(moved).start()["problem"]
    other = {**workers.recipe, "recipe": "0" * 64}
    assert (
        "holds another bundle or other weights than on the driver's machine"
        in ScanWorker(other).start()["problem"]
    )
    monkeypatch.setattr(request, "__version__", "0.0.1")
    assert ScanWorker(workers.recipe).start()["versions"]["segpipe"] == "0.0.1"


def test_live_objects_do_not_cross():
    recipe = WorkRecipe({"overrides": {"output_dir": Path("elsewhere")}}, {}, "", {}, 1, False, {}, "", "")

    with pytest.raises(SegpipeError, match=r"cannot be sent to workers \(Object of type PosixPath"):
        recipe.message()


def test_parts_and_workers_are_not_given_together(bundle, scans, out):
    with pytest.raises(SegpipeError, match="--part and --workers: workers divide the cohort themselves"):
        segpipe.predict(scans, bundle, out, part=CohortPart(2, 1), workers=Workers(1, WorkersHere().open))

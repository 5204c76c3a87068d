"""Cohorts in parts: any split gives the files of a whole run, and no part is lost, doubled or computed in another way.

In process, through `segpipe.predict`; `tests/cli/test_predict_parts_command.py` has the command as real processes.
"""

import json
import os
import platform
import shutil
import threading
from collections import Counter

import pytest
import torch
from cohort_files import DONE, FAILED, SKIPPED, KilledError, entries
from tiny_bundle import contents, write_broken, write_scan, write_scans
from tiny_classifier import write_classifier, write_images

import segpipe
from segpipe import PredictOptions
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.inference.engines import choice
from segpipe.inference.engines.engine import CannotComputeError
from segpipe.prediction import part_ways
from segpipe.prediction.agreement import AGREEMENT_FILE
from segpipe.prediction.classify import classify
from segpipe.prediction.image_options import ClassifyOptions
from segpipe.prediction.merge import merge
from segpipe.prediction.part import CohortPart
from segpipe.prediction.part_ledger import locked_part
from segpipe.prediction.segmenter import Segmenter

NOT_OF_WHOLE_RUNS = {AGREEMENT_FILE, ".segpipe-lock.parts"}
TIMES = ("finished", "seconds", "request")


@pytest.fixture
def predict(bundle, out):
    """Return a function that predicts a part, or all scans, and returns case -> outcome."""

    def run(scans, part=None, *, folder=out, overrides=None, **how):
        watch, report = how.pop("watch", None), how.pop("report", None)
        predictions = segpipe.predict(
            scans,
            BundleSource(bundle, overrides=overrides or {}),
            folder,
            options=PredictOptions(**{"overlays": False, **how}),
            part=None if part is None else CohortPart.parse(part),
            watch=watch,
            report=report,
        )
        return {prediction.case: prediction.outcome for prediction in predictions}

    return run


def outputs(folder):
    return {name: content for name, content in contents(folder).items() if name not in NOT_OF_WHOLE_RUNS}


def timeless(folder):
    """Return the ledger's entries without their times."""
    found = entries(folder)
    return {
        case: {name: value for name, value in entry.items() if name not in TIMES}
        for case, entry in found.items()
    }


@pytest.mark.parametrize("count", [3, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 2, 8))])
def test_any_split_gives_the_files_of_a_whole_run(predict, tmp_path, out, count):
    scans = write_scans(tmp_path / "scans", 6)
    write_broken(scans, "empty.nii.gz")
    predict(scans, folder=tmp_path / "whole", overlays=count == 2)
    messages = []

    done = {}
    for number in reversed(range(1, count + 1)):
        found = predict(scans, f"{number}/{count}", overlays=count == 2, report=messages.append)
        assert not done.keys() & found.keys()
        done |= found

    assert Counter(done.values()) == {DONE: 6, FAILED: 1}
    assert outputs(out) == outputs(tmp_path / "whole")
    assert timeless(out) == timeless(tmp_path / "whole")
    assert list(entries(out)) == sorted(entries(out))
    assert not list(out.glob("*part[0-9]*"))
    assert not list(out.glob(".segpipe*part[0-9]*"))
    log = (out / "predict.log").read_text()
    assert log.count(": done in") == 6
    assert (
        messages[-1] == f"all {count} part{'s' * (count > 1)} finished: their ledgers and tables are merged"
    )


def test_a_part_that_is_left_out_is_named(predict, tmp_path, out):
    scans = write_scans(tmp_path / "scans", 5)
    messages = []
    predict(scans, "1/4", report=messages.append)
    predict(scans, "3/4", report=messages.append)

    assert messages[-1] == "2 of 4 parts absent or running: 2/4, 4/4"
    assert not (out / "volumes.csv").exists()
    with pytest.raises(SegpipeError) as refused:
        merge(out)
    assert (
        "part 2/4 is absent (0 of 1 scan, without scan_001); part 4/4 is absent (0 of 1 scan, without scan_003)"
        in str(refused.value)
    )
    assert "part 1/4" not in str(refused.value)
    with pytest.raises(SegpipeError, match=r"has parts of a cohort that were not merged yet \(1/4, 3/4\)"):
        predict(scans)

    predict(scans, "2/4")
    predict(scans, "4/4")
    assert len(merge(out)) == 5
    assert set(predict(scans).values()) == {SKIPPED}


@pytest.mark.slow
def test_a_killed_part_continues_and_doubles_nothing(predict, tmp_path, out, monkeypatch):
    scans = write_scans(tmp_path / "scans", 6)
    predict(scans, folder=tmp_path / "whole")
    predict(scans, "2/2")
    segmented = []

    def segment(self, image, *arguments, **options):
        segmented.append(image.meta["filename_or_obj"].rpartition("/")[2])
        return original(self, image, *arguments, **options)

    def killed(prediction, number, total):
        raise KilledError

    original = Segmenter.segment
    monkeypatch.setattr(Segmenter, "segment", segment)
    with pytest.raises(KilledError):
        predict(scans, "1/2", watch=killed)
    assert (out / "predictions.part1of2.jsonl").exists()
    with pytest.raises(SegpipeError, match=r"part 1/2 is not finished \(\d of 3 scans, without scan_00"):
        merge(out)

    outcomes = Counter(predict(scans, "1/2").values())

    assert outcomes[SKIPPED] >= 1
    assert outcomes.total() == 3
    assert max(Counter(segmented).values()) <= 2  # one that was segmented when the run was killed
    assert outputs(out) == outputs(tmp_path / "whole")


@pytest.mark.slow
def test_a_part_that_runs_again_after_the_merge_does_nothing(predict, tmp_path, out):
    scans = write_scans(tmp_path / "scans", 4)
    predict(scans, "1/2")
    predict(scans, "2/2")
    before, ledger = outputs(out), timeless(out)

    assert set(predict(scans, "2/2").values()) == {SKIPPED}

    assert (outputs(out), timeless(out)) == (before, ledger)
    assert [prediction.outcome for prediction in merge(out)] == [DONE] * 4


@pytest.mark.slow
def test_parts_continue_a_cohort_that_a_whole_run_began(predict, tmp_path, out):
    scans = write_scans(tmp_path / "scans", 5)
    predict([scans / "scan_000.nii.gz", scans / "scan_003.nii.gz"])

    first, second = predict(scans, "1/2"), predict(scans, "2/2")

    assert [case for case, outcome in {**first, **second}.items() if outcome is SKIPPED] == [
        "scan_000",
        "scan_003",
    ]
    predict(scans, folder=tmp_path / "whole")
    assert outputs(out) == outputs(tmp_path / "whole")


@pytest.mark.slow
def test_a_repaired_scan_is_done_by_its_part_after_the_merge(predict, tmp_path, out):
    scans = write_scans(tmp_path / "scans", 4)
    (scans / "scan_001.nii.gz").write_bytes(b"")
    predict(scans, "1/2")
    predict(scans, "2/2")
    assert entries(out)["scan_001"]["state"] == "failed"

    write_scan(scans / "scan_001.nii.gz", 1)
    assert predict(scans, "2/2") == {"scan_001": DONE, "scan_003": SKIPPED}

    predict(scans, folder=tmp_path / "whole")
    assert outputs(out) == outputs(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (
            "2/2",
            {"entropy": True},
            r"part 2/2 differs from the parts before in entropy true \(before: false\); give",
        ),
        (
            "2/2",
            {"overrides": {"overlap": 0.25}},
            r"differs from the parts before in bundle \"\w+\" \(before: \"\w+\"\)",
        ),
        ("2/2", {"batch_size": 1}, r"in batch_size 1 \(before: null\)"),
        ("2/2", {"engine": "torch"}, r"in engine \"torch\" \(before: not given\)"),
        ("2/3", {}, r"in number of parts 3 \(before: 2\)"),
    ],
)
def test_a_part_of_another_recipe_is_refused(predict, scans, out, part, change, message):
    predict(scans, "1/2")
    before = contents(out)

    with pytest.raises(SegpipeError, match=message):
        predict(scans, part, **change)

    assert {name: content for name, content in contents(out).items() if name in before} == before
    assert [path.name for path in out.glob("predictions.part*.jsonl")] == ["predictions.part1of2.jsonl"]


@pytest.mark.slow
def test_a_part_that_finds_other_scans_is_refused(predict, scans, out):
    predict(scans, "1/2")
    write_scan(scans / "scan_007.nii.gz", 7)
    (scans / "scan_001.nii.gz").unlink()

    with pytest.raises(SegpipeError, match=r"finds 3 scans, .* found 3 \(new: scan_007; missing: scan_001\)"):
        predict(scans, "2/2")


@pytest.mark.slow
def test_a_part_of_another_version_is_refused_with_both(predict, scans, out, monkeypatch):
    predict(scans, "1/2")
    path = out / AGREEMENT_FILE
    path.write_text(path.read_text().replace(f'"torch": "{torch.__version__}"', '"torch": "1.0"'))

    with pytest.raises(
        SegpipeError, match=rf'in torch "{torch.__version__}" \(before: "1.0"\)'.replace("+", r"\+")
    ):
        predict(scans, "2/2")


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"count": 2}'])
def test_a_damaged_agreement_is_refused(predict, scans, out, content):
    predict(scans, "1/2")
    (out / AGREEMENT_FILE).write_text(content)

    for step in (lambda: predict(scans, "2/2"), lambda: merge(out)):
        with pytest.raises(
            SegpipeError, match=r"predictions\.parts\.json: .*(JSON|was not written by segpipe)"
        ):
            step()


def test_two_processes_with_the_same_part_are_refused(predict, scans, out):
    with locked_part(out, CohortPart(2, 1)):
        with pytest.raises(SegpipeError) as refused:
            predict(scans, "1/2")
        predict(scans, "2/2")  # the other part may run
        with pytest.raises(
            SegpipeError, match="cannot be merged: part 1/2 is running; run or wait for these"
        ):
            merge(out)

    assert f"another segpipe computes part 1/2 now (process {os.getpid()} on {platform.node()}, since" in str(
        refused.value
    )


@pytest.mark.slow
def test_a_part_that_runs_is_not_merged(predict, scans, out):
    predict(scans, "1/2")
    messages = []

    def second(prediction, number, total):
        if number == total:  # its ledger is complete, and the part still runs
            with pytest.raises(SegpipeError, match="cannot be merged: part 2/2 is running; run or wait for"):
                merge(out)

    predict(scans, "2/2", watch=second, report=messages.append)

    assert messages == ["all 2 parts finished: their ledgers and tables are merged"]


@pytest.mark.slow
def test_parts_that_start_at_once_compute_in_the_same_way(predict, tmp_path, out, monkeypatch):
    """The second part begins while the first one measures; each would choose another number of threads."""
    scans = write_scans(tmp_path / "scans", 4)
    measures, goes_on = threading.Event(), threading.Event()

    def settled(run, found):
        measures.set()
        assert goes_on.wait(60)
        return {**original(run, found), "torch_threads": 1}

    original = part_ways.settled_way
    monkeypatch.setattr(part_ways, "settled_way", settled)
    parts = [threading.Thread(target=predict, args=(scans, f"{number}/2")) for number in (1, 2)]
    parts[0].start()
    assert measures.wait(60)
    parts[1].start()
    parts[1].join(0.5)
    assert parts[1].is_alive()
    assert len(list(out.glob("scan_*"))) == 0
    goes_on.set()
    for part in parts:
        part.join()

    found = list(entries(out).values())
    assert len(found) == 4
    assert {(one["engine"], one["precision"]) for one in found} == {("torch", "float32")}
    assert {found_one["torch_threads"] for found_one in found[1::2]} == {1}


@pytest.mark.slow
def test_a_machine_whose_engine_gives_way_is_refused(predict, scans, out, monkeypatch):
    def cannot(job, way):
        raise CannotComputeError("no such instruction")

    predict(scans, "1/2")
    path = out / AGREEMENT_FILE
    agreed = json.loads(path.read_text())
    agreed["way"] |= {"engine": "openvino", "threads": 1}
    path.write_text(json.dumps(agreed))
    monkeypatch.setattr(choice, "_checked", cannot)

    with pytest.raises(
        SegpipeError,
        match="parts are computed with engine openvino, threads 1, and this machine computes with engine torch",
    ):
        predict(scans, "2/2")


@pytest.mark.slow
def test_label_maps_that_are_gone_are_named(predict, scans, out):
    predict(scans, "1/2")
    (out / "scan_000.nii.gz").unlink()

    with pytest.raises(
        SegpipeError, match=r"1 file that part 1/2 wrote did not stay: scan_000.nii.gz; run part 1/2 again"
    ):
        predict(scans, "2/2")

    predict(scans, "1/2")
    assert (out / "volumes.csv").exists()


@pytest.mark.slow
def test_ledgers_of_another_cohort_are_not_merged(predict, scans, out):
    predict(scans, "1/2")
    ledger = out / "predictions.part1of2.jsonl"
    other = shutil.copy(ledger, out / "predictions.part1of3.jsonl")
    with pytest.raises(
        SegpipeError, match=r"is of a cohort in 3 parts, and predictions\.parts\.json is of 2 parts"
    ):
        merge(out)
    other.unlink()

    shutil.copy(ledger, out / "predictions.part2of2.jsonl")
    with pytest.raises(SegpipeError, match="has scans of other parts"):
        merge(out)
    (out / "predictions.part2of2.jsonl").unlink()

    recipe = json.loads((out / AGREEMENT_FILE).read_text())["recipe"]
    ledger.write_text(ledger.read_text().replace(recipe, "0" * 64))
    with pytest.raises(
        SegpipeError, match=rf"has the recipe 000000000000, and the parts agreed on {recipe[:12]}"
    ):
        merge(out)


def test_a_folder_without_parts_has_nothing_to_merge(predict, scans, out):
    for _ in range(2):
        with pytest.raises(SegpipeError, match="has no parts to merge"):
            merge(out)
        predict(scans)


@pytest.mark.slow
def test_another_cohort_follows_a_merged_one(predict, scans, out):
    for part in ("1/2", "2/2"):
        predict(scans, part)

    for part in ("1/3", "3/3", "2/3"):
        assert set(predict(scans, part, entropy=True).values()) == {DONE}

    assert (out / "entropy" / "scan_001.nii.gz").exists()


@pytest.mark.slow
def test_images_in_parts_give_the_table_of_a_whole_run(tmp_path):
    bundle = write_classifier(tmp_path / "bundle")
    images = write_images(tmp_path / "images", 7)
    (images / "broken.png").write_bytes(b"")
    how = ClassifyOptions(heatmaps="gradcam")
    classify(images, bundle, tmp_path / "whole", options=how)

    for number in (3, 1, 2):
        classify(images, bundle, tmp_path / "out", options=how, part=CohortPart(3, number))

    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert Counter(prediction.outcome for prediction in merge(tmp_path / "out")) == {DONE: 7, FAILED: 1}

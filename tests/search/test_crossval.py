"""The folds of a cross-validation, and the pooled scores of real trainings."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from segpipe.dataset import load_manifest
from segpipe.errors import SegpipeError
from segpipe.model_evaluation.options import Evaluation
from segpipe.phantoms.files import write_phantom_dataset
from segpipe.search import crossval
from segpipe.search.crossval import parse_folds, parse_folds_or_splits, require_folds
from segpipe.search.experiment import RepeatedExperiment
from segpipe.search.trainings import RunState, run_state, threads_of_each
from segpipe.training import RunFolder

BUNDLE = Path(__file__).parents[2] / "bundles" / "mri_hippocampus_unet"
SEGPIPE = Path(sys.executable).with_name("segpipe")
NETWORK = {
    "filters": [2, 4, 8],
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "window_size": [16, 16, 16],
}
OPTIONS = [
    *("device=cpu", "precision=float32", "epochs=1", "patch_size=[16, 16, 16]"),
    *("reference_ranges=false", "manifest=phantoms/dataset.json", "dataset_dir=phantoms"),
]


@pytest.mark.parametrize(
    ("text", "folds"), [("0-4", (0, 1, 2, 3, 4)), ("2", (2,)), ("4,0-1", (0, 1, 4)), (" 0 , 2", (0, 2))]
)
def test_folds_are_a_list_of_numbers_and_ranges(text, folds):
    assert parse_folds(text) == folds


@pytest.mark.parametrize("text", ["", "a", "4-0", "0-", "-1", "0,,1", "0;1", "1.5", "0-99999999"])
def test_other_texts_are_refused(text):
    with pytest.raises(SegpipeError, match=r"--folds .*: (must be numbers such as|names more than 1000)"):
        parse_folds(text)


def test_a_fold_named_twice_is_refused():
    with pytest.raises(SegpipeError, match="--folds 0-2,1: names fold 1 twice"):
        parse_folds("0-2,1")


def test_a_search_takes_named_splits_too():
    assert parse_folds_or_splits("paper") == ("paper",)
    with pytest.raises(
        SegpipeError, match="covid_ct_256: has no split papre; it has the splits article, paper"
    ):
        require_folds(("papre",), load_manifest("covid_ct_256"))


def test_a_fold_that_the_manifest_lacks_is_refused():
    with pytest.raises(
        SegpipeError, match="has no fold 5, 6; its training cases have the folds 0, 1, 2, 3, 4"
    ):
        require_folds((4, 5, 6), load_manifest("covid_ct_256"))


def test_no_training_at_a_time_is_refused():
    with pytest.raises(SegpipeError, match="--jobs 0: must be at least 1"):
        threads_of_each(0)


def test_trainings_share_the_threads(monkeypatch):
    monkeypatch.setattr("segpipe.search.trainings.usable_threads", lambda: 5)

    assert [threads_of_each(jobs) for jobs in (1, 2, 4, 9)] == [5, 2, 1, 1]


def test_a_folder_without_a_training_is_no_run(tmp_path):
    (tmp_path / "fold_0").mkdir()

    assert run_state(RunFolder(tmp_path, "fold_0", resume=True)) is RunState.ABSENT


def test_the_command_of_a_fold_has_the_overrides_of_all(tmp_path):
    experiment = RepeatedExperiment(
        BUNDLE, overrides={"stages": [[8], [16]], "norm": "@x", "rate": 1e-05, "none": None}
    )

    words = experiment.command(tmp_path, "fold_3", 3, resume=True)

    values = {name: value for name, _, value in (word.partition("=") for word in words[2:])}
    assert yaml.safe_load(values["stages"]) == [[8], [16]]
    assert yaml.safe_load(values["rate"]) == 1e-05
    assert (values["norm"], values["none"]) == ("'@x'", "null")
    assert (values["fold"], values["run_name"], values["resume"]) == ("3", "fold_3", "true")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"fold": 1}, "fold: each run of this command gets its own fold; give --folds"),
        ({"output_dir": "x"}, "output_dir: each run of this command gets its own output_dir; give --output"),
        ({"run_id": "x"}, "run_id: is an argument of MONAI's run"),
        ({"epochz": 1}, "epochz is no id of this configuration; did you mean epochs"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(overrides, message):
    from segpipe.search.experiment import checked

    with pytest.raises(SegpipeError, match=message):
        checked(RepeatedExperiment(BUNDLE, overrides={"dataset_dir": str(BUNDLE), **overrides}))


def test_a_fold_that_cannot_be_scored_does_not_stop_the_others(tmp_path, monkeypatch):
    by_class = SimpleNamespace(by_class={}, all_classes={})
    scored_fold = Evaluation(None, by_class, (), (), None, {})
    monkeypatch.setattr(crossval, "pooled", lambda folds, output: scored_fold)
    lines = []

    def scored(path, fold, output, report):
        if fold in broken:
            raise SegpipeError("none of 2 cases can be scored")
        return scored_fold

    weights = {fold: tmp_path / f"fold_{fold}" / "best.pt" for fold in (0, 1)}
    broken = (0,)
    one = crossval._evaluated(weights, {"fold 2": "exit status 1"}, scored, tmp_path, lines.append)
    broken = (0, 1)
    none = crossval._evaluated(weights, {}, scored, tmp_path, lines.append)

    assert list(one.folds) == ["fold 1"]
    assert one.failed["fold 0"] == "its held-out cases have no scores: none of 2 cases can be scored"
    assert sorted(one.failed) == ["fold 0", "fold 2"]
    assert (tmp_path / "folds.csv").is_file()
    assert "fold 0: failed: its held-out cases have no scores: none of 2 cases can be scored" in lines
    assert none.pooled is None
    assert not none.is_whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the hippocampus bundle and eight phantoms in four folds."""
    folder = tmp_path_factory.mktemp("crossval")
    shutil.copytree(BUNDLE, folder / "tiny", ignore=shutil.ignore_patterns("inference.json"))
    for name in ("train", "inference"):
        path = folder / "tiny" / "configs" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **NETWORK}, sort_keys=False))
    write_phantom_dataset(folder / "phantoms", num_cases=8, seed=0)
    return folder


def run(folder, *options):
    command = [SEGPIPE, "crossval", "tiny", *OPTIONS, "-o", "out", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_two_folds_are_trained_scored_and_promoted(folder):
    """A fold that fails first costs the other one nothing, and the same command goes on."""
    (folder / "out" / "fold_1").mkdir(parents=True)
    (folder / "out" / "fold_1" / "notes.txt").write_text("in the way")
    options = ("--folds", "0-1", "--jobs", "2", "--promote", "--replace")

    first = run(folder, *options)

    assert first.returncode == 1, first.stdout + first.stderr
    assert "fold 1 failed: " in first.stderr
    assert "exists already, and is no run that can be resumed" in first.stderr
    assert "1 of 2 folds failed; run the same command to go on with them" in first.stderr
    before = (folder / "out" / "fold_0" / "best.pt").read_bytes()
    shutil.rmtree(folder / "out" / "fold_1")

    again = run(folder, *options)

    assert again.returncode == 0, again.stdout + again.stderr
    assert "fold 0: is finished" in again.stdout
    assert (folder / "out" / "fold_0" / "best.pt").read_bytes() == before
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert (summary["cases"], summary["about"]["part"]) == (4, "folds 0, 1")
    assert len(summary["about"]["weights"]) == 2
    parts = [json.loads((folder / f"out/held_out/fold_{fold}/summary.json").read_text()) for fold in (0, 1)]
    of_parts = sum(part["all_classes"]["dice"]["mean"] * part["cases"] for part in parts) / 4
    assert summary["all_classes"]["dice"]["mean"] == pytest.approx(of_parts)
    with (folder / "out" / "folds.csv").open() as file:
        rows = {(row["fold"], row["class"], row["metric"]): row["value"] for row in csv.DictReader(file)}
    assert float(rows["all", "all", "dice"]) == pytest.approx(of_parts, rel=1e-6)
    inference = yaml.safe_load((folder / "tiny" / "configs" / "inference.yaml").read_text())
    assert inference["weights"] == [f"$@bundle_root + '/models/{name}.pt'" for name in ("model", "model_2")]
    assert sorted(path.name for path in (folder / "tiny" / "models").glob("*.pt")) == [
        "model.pt",
        "model_2.pt",
    ]
    too_late = run(folder, *options, "window_size=[32, 32, 32]")
    assert "--promote: window_size would change the inference" in too_late.stderr
    other = run(folder, "--folds", "0-1", "seed=1")
    assert other.returncode == 2
    assert "is a run of another configuration: seed changed, first seed: 0 then, 1 now" in other.stderr

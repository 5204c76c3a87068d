"""Runs of several folds fit together, or are refused before any scan is read."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_bundle import write_bundle

from segpipe.dataset import Case, Manifest, Split
from segpipe.errors import SegpipeError
from segpipe.model_evaluation.fold_runs import fold_runs, folds_left_out

NAMES = ("a", "b", "c", "d", "e", "f")
FOLDS = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 2, "f": 2}
MANIFEST = Manifest(
    "noise",
    ("MRI",),
    {0: "background", 1: "anterior", 2: "posterior"},
    tuple(Case(case, (f"{case}.nii.gz",), f"truth/{case}.nii.gz", fold=FOLDS[case]) for case in NAMES),
    splits={"paper": Split(train=("c", "d", "e", "f"), validation=("a", "b"), about="of the paper")},
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Weights with a sidecar, of which each run gets a copy."""
    return write_bundle(tmp_path_factory.mktemp("folds") / "bundle") / "models" / "model.pt"


@pytest.fixture
def weights(made, tmp_path):
    """Return a function that writes the weights of a fold."""

    def write(fold, /, name=None, hashes=None, **changes):
        held_out = {case: f"content of {case}" for case in NAMES if FOLDS[case] == fold}
        training = {
            "fold": fold,
            "part": "validation",
            "manifest": {"name": "noise"},
            "cases": {case: f"content of {case}" for case in NAMES if case not in held_out},
            "validation_cases": held_out,
            "configuration": {"epochs": 4, "fold": fold, "seed": fold, "manifest": "noise.json"},
            **changes,
        }
        folder = tmp_path / (name or f"fold{fold}")
        folder.mkdir()
        sidecar = json.loads(made.with_suffix(".json").read_text())
        sidecar |= {"training": training, "hashes": {**sidecar["hashes"], **(hashes or {})}}
        (folder / "best.json").write_text(json.dumps(sidecar))
        return Path(shutil.copy(made, folder / "best.pt"))

    return write


def test_each_run_scores_the_cases_that_it_held_out(weights):
    runs = fold_runs([weights(1), weights(0)], MANIFEST)

    assert [(run.name, run.folder, sorted(run.cases)) for run in runs] == [
        ("fold 1", "fold_1", ["c", "d"]),
        ("fold 0", "fold_0", ["a", "b"]),
    ]
    assert folds_left_out(runs, MANIFEST) == ["2"]


def test_a_run_of_a_named_split_scores_its_validation(weights):
    changes = {"cases": dict.fromkeys("cdef", ""), "validation_cases": {"a": "1", "b": "2"}}

    (run,) = fold_runs([weights("paper", **changes)], MANIFEST)

    assert (run.name, run.split, run.part) == ("validation of paper", "paper", "validation")
    assert run.folder == "validation_of_paper"
    assert sorted(run.cases) == ["a", "b"]
    assert folds_left_out([run], MANIFEST) == []


def test_two_runs_of_one_fold_are_refused(weights):
    with pytest.raises(
        SegpipeError, match=r"fold0/best\.pt and .*again/best\.pt: both held out fold 0; give one"
    ):
        fold_runs([weights(0), weights(0, "again")], MANIFEST)


def test_runs_that_share_a_case_are_refused(weights):
    paper = weights("paper", cases=dict.fromkeys("cdef", ""), validation_cases={"a": "1"})

    with pytest.raises(SegpipeError, match=r"both held out a, b, so a case would count twice"):
        fold_runs([weights(0), paper], MANIFEST)


def test_runs_that_share_an_image_under_two_names_are_refused(weights):
    other = weights(1, validation_cases={"copy_of_a": "content of a"})

    with pytest.raises(SegpipeError, match="both held out copy_of_a, so a case would count twice"):
        fold_runs([weights(0), other], MANIFEST)


def test_weights_without_their_sidecar_are_refused(weights):
    path = weights(0)
    path.with_suffix(".json").unlink()

    with pytest.raises(SegpipeError, match=r"its sidecar best\.json is missing, so nobody knows which cases"):
        fold_runs([path, weights(1)], MANIFEST)
    with pytest.raises(SegpipeError, match=r"other\.pt: no such file; give the weights of a run"):
        fold_runs([path.with_name("other.pt")], MANIFEST)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fold": None}, "does not name fold and cases of the training"),
        ({"cases": {}}, "does not name fold and cases of the training"),
        ({"fold": "all"}, "was trained on all cases, and held none out"),
        (
            {"cases": {"b": "", "c": ""}},
            r"was trained on 1 of 2 cases of fold 0, which it should score \(b\): the folds of noise were changed",
        ),
        ({"manifest": {"name": "brains"}}, "held out fold 0 of the manifest brains, and noise is given"),
        ({"fold": 7}, "there is no fold 7; the manifest has 0, 1, 2"),
    ],
)
def test_a_training_that_does_not_fit_the_manifest_is_refused(weights, changes, reason):
    with pytest.raises(SegpipeError, match=reason):
        fold_runs([weights(0, **changes), weights(1)], MANIFEST)


@pytest.mark.parametrize(
    ("configuration", "reason"),
    [
        ({"epochs": 8}, "first epochs: 4 and 8; give the runs of one bundle"),
        ({"epochs": 4, "filters": [8] * 90}, r"first filters: None and \[8, 8, .*\.\.\.; give"),
    ],
)
def test_runs_of_different_configurations_are_refused(weights, configuration, reason):
    with pytest.raises(SegpipeError, match=f"trained with different configurations, {reason}"):
        fold_runs([weights(0), weights(1, configuration=configuration)], MANIFEST)


def test_runs_of_different_networks_are_refused(weights):
    other = weights(1, hashes={"network": "0" * 64})

    with pytest.raises(
        SegpipeError, match=r"first SHA-256 of network: [0-9a-f]{64} and 0{64}; give the runs"
    ):
        fold_runs([weights(0), other], MANIFEST)

"""A classification from `segpipe plan` to the predictions of promoted weights, under MONAI's own run."""

import csv
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from refusals import refusal_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trial_classifier import run_bundle, train, write_trial
from typer.testing import CliRunner

from segpipe.bundle.promote import promote
from segpipe.calibration import Calibration
from segpipe.cli import app
from segpipe.dataset import load_manifest
from segpipe.files import file_sha256
from segpipe.phantoms.labelled_images import write_class_phantoms, write_finding_phantoms
from segpipe.reference_ranges import ReferenceRanges

pytestmark = pytest.mark.slow

WRITERS = {"class": write_class_phantoms, "findings": write_finding_phantoms}
SMALL = {"pretrained": "none", "epochs": 1, "precision": "float32"}
RUN_FILES = [
    *(".segpipe-lock", "best.json", "best.pt", "best_calibration.json", "best_validation.csv"),
    *("configuration.yaml", "environment.json", "last.json", "last.pt", "tensorboard", "training_state.pt"),
]


class PowerCut(BaseException):
    """An exception that no handler catches."""


def command(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a function: target -> manifest of 24 phantoms of 32 x 32 pixels and 4 to test, beside it."""
    made = {}

    def manifest(target):
        if target not in made:
            folder = tmp_path_factory.mktemp("data") / target
            made[target] = WRITERS[target](folder, 24, seed=0, size=32, num_test=4)
        return made[target]

    return manifest


@pytest.fixture(scope="module")
def planned(data, tmp_path_factory):
    """Return a function: target -> a planned bundle."""
    made = {}

    def bundle(target):
        if target not in made:
            root = tmp_path_factory.mktemp("planned") / target
            command("plan", data(target), "-o", root, "--epochs", 1)
            made[target] = root
        return made[target]

    return bundle


@pytest.fixture(scope="module", params=["class", "findings"])
def target(request):
    return request.param


@pytest.fixture(scope="module")
def trained(target, planned):
    """Return the bundle and its finished run."""
    root = planned(target)
    return root, train(root, "first", **SMALL)


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_equal_tables(one, other, tolerance):
    assert [list(row) for row in one] == [list(row) for row in other]
    for row, same in zip(one, other, strict=True):
        for name, value in row.items():
            try:
                assert float(value) == pytest.approx(float(same[name]), abs=tolerance, nan_ok=True), name
            except ValueError:
                assert value == same[name], name


def test_check_and_audit_accept_the_bundle(planned, target):
    command("check", planned(target))
    command("audit", planned(target))
    command("check", planned(target), "--config", "train.yaml", "--config", "multi_gpu_train.yaml")


def test_the_run_leaves_weights_calibration_and_logits(trained, data, target):
    _, run = trained

    assert sorted(path.name for path in run.iterdir()) == RUN_FILES
    manifest = load_manifest(data(target))
    names = manifest.categories().names
    calibration = Calibration.read(run / "best_calibration.json")
    assert (calibration.names, calibration.target) == (names, target)
    assert calibration.weights_sha256 == (file_sha256(run / "best.pt"),)
    assert calibration.about == {"cases": 6, "validation": 0, "epoch": 1}
    held_out = {case.case for case in manifest.training if case.fold == 0}
    rows = rows_of(run / "best_validation.csv")
    assert {row["case"] for row in rows} == held_out
    assert set(rows[0]) == {"case", *(f"{kind}_{name}" for kind in ("logit", "target") for name in names)}


def test_tensorboard_shows_the_epoch(trained, data, target):
    log = EventAccumulator(str(trained[1] / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    log.Reload()
    tags = log.Tags()

    names = load_manifest(data(target)).categories().names
    expected = {"loss/train", "loss/validation", "accuracy/train", "accuracy/validation", "auroc/mean"}
    assert expected | {f"auroc/{name}" for name in names} <= set(tags["scalars"])
    assert sum(tag.startswith("pictures/") for tag in tags["images"]) == 3
    assert {f"validation/worst_{number}" for number in (1, 2, 3)} <= set(tags["images"])
    assert ("validation/confusion" in tags["images"]) is (target == "class")
    assert "run/classes/text_summary" in tags["tensors"]


def test_monais_evaluation_is_that_of_the_command(trained, data, target, tmp_path):
    """MONAI's evaluation has `pretrained: imagenet`, which must not touch the weights that are scored."""
    root, run = trained
    run_bundle(root, "train", "evaluate", run_name="first", precision="float32")
    where = ["--manifest", data(target), "--dataset-dir", data(target).parent, "--split", 0]
    more = ["--precision", "float32", "--device", "cpu", "--output", tmp_path / "scores"]
    command("evaluate", "--bundle", root, "--weights", run / "best.pt", *where, *more)

    by_monai, by_command = (
        rows_of(folder / "metrics.csv") for folder in (run / "evaluation" / "best-fold0", tmp_path / "scores")
    )
    assert len(by_monai) == 6
    assert_equal_tables(by_monai, by_command, 1e-6)


def test_promoted_weights_predict_as_under_monais_run(trained, data, target, tmp_path):
    root, run = trained

    written = promote(run / "best.pt", root, replace=True)

    of_run, of_bundle = (
        Calibration.read(path.with_name(f"{path.stem}_calibration.json"))
        for path in (run / "best.pt", written)
    )
    assert of_bundle == of_run.of_weights([file_sha256(written)])
    assert torch.load(written, weights_only=True)["classifier.weight"].dtype == torch.float16
    images = data(target).parent / ("test" if target == "class" else "images")
    command(
        "predict", images, "--bundle", root, "-o", tmp_path / "a", "--precision", "float32", "--device", "cpu"
    )
    run_bundle(
        root, "inference", dataset_dir=str(images), output_dir=str(tmp_path / "b"), precision="float32"
    )
    by_command, by_monai = (rows_of(tmp_path / name / "predictions.csv") for name in "ab")
    assert len(by_command) == {"class": 4, "findings": 28}[target]
    assert_equal_tables(by_command, by_monai, 2e-6)  # the last of six digits


def broken_off(monkeypatch, root, run_name, after, **overrides):
    """Train until the state of an epoch is saved, then cut the power; resume, and return the run."""
    from segpipe.training import TrainingState

    save = TrainingState._save

    def save_and_end(self, engine):
        save(self, engine)
        if engine.state.epoch == after:
            raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(TrainingState, "_save", save_and_end)
        with pytest.raises(PowerCut):
            train(root, run_name, **overrides)
    return train(root, run_name, **overrides, resume=True)


def assert_same_run(one, other):
    for name in ("last.pt", "best.pt"):
        then, now = (torch.load(run / name, weights_only=True) for run in (one, other))
        assert then.keys() == now.keys()
        for key, tensor in then.items():
            assert torch.equal(tensor, now[key]), f"{name}: {key}"
    for name in ("best_calibration.json", "best_validation.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize(("kind", "balanced"), [("class", False), ("class", True), ("findings", True)])
def test_an_interrupted_training_ends_with_the_same_weights(data, tmp_path, monkeypatch, kind, balanced):
    root = write_trial(tmp_path / "trial", data(kind), balanced=balanced)

    whole = train(root, "whole", epochs=3)

    assert_same_run(whole, broken_off(monkeypatch, root, "broken", 1, epochs=3))


def test_a_training_that_is_interrupted_while_frozen_is_the_same(planned, monkeypatch):
    few = {**SMALL, "epochs": 3, "unfreeze_after": 2}

    whole = train(planned("class"), "whole", **few)

    assert_same_run(whole, broken_off(monkeypatch, planned("class"), "broken", 1, **few))


def test_the_frozen_backbone_keeps_its_weights_and_statistics(planned, monkeypatch):
    """Two epochs train the last layer alone, the third trains everything.

    The batch norms of the levels belong to the last layer: they standardise its features.
    """
    from segpipe.training import TrainingState

    states = []
    save = TrainingState._save

    def save_and_keep(self, engine):
        states.append({name: tensor.clone() for name, tensor in self.network.state_dict().items()})
        save(self, engine)

    monkeypatch.setattr(TrainingState, "_save", save_and_keep)
    train(planned("class"), "frozen", **{**SMALL, "epochs": 3, "unfreeze_after": 2})

    first, second, third = states
    changed = [
        {name for name in now if not torch.equal(then[name], now[name])}
        for then, now in ((first, second), (second, third))
    ]
    of_levels = {name for name in first if "level" in name}
    assert changed[0] - of_levels == {"classifier.weight", "classifier.bias"}
    counts = {name for name in first if name.endswith("num_batches_tracked")} - of_levels
    assert all(second[name] == 0 and third[name] == 1 for name in counts)
    statistics = {name for name in first if name.endswith(("running_mean", "running_var"))}
    assert statistics <= changed[1]


def test_two_processes_on_processors_are_refused_for_their_batch_norms(planned, tmp_path):
    """Started by a torchrun that is not segpipe's."""
    root = planned("findings")
    files = ",".join(repr(str(root / "configs" / f"{name}.yaml")) for name in ("train", "multi_gpu_train"))
    given = {
        **SMALL,
        "epochs": 2,
        "unfreeze_after": 1,
        "bundle_root": root,
        "output_dir": tmp_path,
        "run_name": "two",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
            *("-m", "monai.bundle", "run", "--config_file", f"[{files}]"),
            *(text for name, value in given.items() for text in (f"--{name}", str(value))),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )

    assert done.returncode == 1
    assert len(re.findall(r"segpipe: the network has \d+ batch norms, the first at ", done.stderr)) == 1
    assert "PyTorch shares them among cards only, not among 2 processes on processors" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_weights_are_scored_on_held_out_images_only(planned, trained):
    root, _ = trained
    scored = {"run_name": "first", "precision": "float32"}

    trained_on = refusal_of(run_bundle, root, "train", "evaluate", **scored, fold=1)
    nothing = refusal_of(run_bundle, root, "train", "evaluate", **scored, fold="all")

    assert "best.pt" in trained_on
    assert "give the --fold that its run held out" in trained_on
    assert nothing == "fold is all: every case trains and none is held out to score; give --fold N"


def test_promoted_weights_without_a_calibration_say_so(trained, tmp_path):
    root, run = trained
    for name in ("last.pt", "last.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())

    output = command("promote", tmp_path / "last.pt", "--bundle", root, "--replace")
    assert "the run's weights have no calibration: probabilities are the network's own" in output
    assert not (root / "models" / "model_calibration.json").exists()
    output = command("promote", run / "best.pt", "--bundle", root, "--replace")
    assert "model_calibration.json: the calibration of the run's weights" in output

    for name in ("best.pt", "best.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    stale = Calibration.read(run / "best_calibration.json").of_weights(["0" * 64])
    stale.write(tmp_path / "best_calibration.json")
    refused = CliRunner().invoke(
        app, ["promote", str(tmp_path / "best.pt"), "--bundle", str(root), "--replace"]
    )
    assert refused.exit_code == 2
    assert "was fitted with other weights than best.pt; restore the run's files" in refused.output


def test_a_single_finding_from_a_table_to_its_scores(data, tmp_path):
    """Of the phantoms' findings only one is kept."""
    folder = tmp_path / "one"
    shutil.copytree(data("findings").parent / "images", folder / "images")
    rows = rows_of(data("findings").parent / "labels.csv")
    lines = [f"{row['image']},{row['patient']},{row['Effusion']}" for row in rows]
    (folder / "labels.csv").write_text("\n".join(["image,patient,Effusion", *lines, ""]))
    manifest = tmp_path / "one.json"
    command("data", "create", folder, "-o", manifest)
    command("data", "split", manifest, "--folds", 2)
    checked = CliRunner().invoke(app, ["data", "check", str(manifest)])
    assert "28 cases, 0 errors" in checked.output  # and a warning: few images have the finding
    command("data", "show", manifest, "-o", tmp_path / "page")
    assert "written, for 1 finding\n" in command("plan", manifest, "-o", tmp_path / "planned")
    root = write_trial(tmp_path / "trial", manifest, weighting="$losses.finding_weights")

    run = train(root, "one", epochs=1, key_score="log_loss", dataset_dir=str(folder))
    where = ["--bundle", root, "--weights", run / "best.pt", "--device", "cpu"]
    command("predict", folder / "images", *where, "-o", tmp_path / "out")
    of_data = ["--manifest", manifest, "--dataset-dir", folder, "--split", 0]
    command("evaluate", *where, *of_data, "-o", tmp_path / "scores")

    assert {row["decision"] for row in rows_of(tmp_path / "out" / "predictions.csv")} <= {
        "Effusion",
        "No Finding",
    }
    held_out = [case for case in load_manifest(manifest).training if case.fold == 0]
    assert len(rows_of(tmp_path / "scores" / "metrics.csv")) == len(held_out)


def typed_training(root, *overrides):
    """Train as a user types it; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "segpipe", "train", str(root), "device=cpu", *overrides],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(("kind", "fold", "weights"), [("class", "0", "best"), ("findings", "all", "last")])
def test_a_training_measures_its_images_and_promote_takes_the_ranges(data, tmp_path, kind, fold, weights):
    """The images of the held-out fold are measured, too: they chose the epoch."""
    root = write_trial(tmp_path / "trial", data(kind))

    log = typed_training(root, "run_name=ranges", "epochs=1", f"fold={fold}")
    run = root / "runs" / "ranges"
    measured = ReferenceRanges.read(run / f"{weights}.reference_ranges.json")
    promoted = promote(run / f"{weights}.pt", root)

    assert log.index(f"{weights}.reference_ranges.json, measured in ") < log.index("next: segpipe predict")
    assert measured.cases == 24
    assert measured.weights_sha256 == (file_sha256(run / f"{weights}.pt"),)
    carried = ReferenceRanges.read(promoted.with_name("model.reference_ranges.json"))
    assert (carried.ranges, carried.weights_sha256) == (measured.ranges, (file_sha256(promoted),))

    given = {"epochs": 1, "fold": fold if fold == "all" else int(fold), "reference_ranges": True}
    assert "this run is finished" in refusal_of(train, root, "ranges", **given, resume=True)
    assert (run / f"{weights}.reference_ranges.json").is_file()


def test_a_failed_measuring_costs_the_training_nothing(data, tmp_path):
    """The bundle's inference.yaml has another network than the run."""
    root = write_trial(tmp_path / "trial", data("class"))
    inference = root / "configs" / "inference.yaml"
    inference.write_text(inference.read_text().replace("stages: [[4], [8]]", "stages: [[4], [6]]"))

    log = typed_training(root, "run_name=other", "epochs=1")

    assert "No reference ranges were made (exit status 2" in log
    assert "next: segpipe promote" in log
    assert not list((root / "runs" / "other").glob("*.reference_ranges.json"))

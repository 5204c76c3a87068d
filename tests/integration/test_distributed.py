"""`segpipe train --processes 2`: one run, one set of files, one log, and every case counts once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.metrics import METRICS
from segpipe.evaluation.summary import read_summary
from segpipe.networks import read_sidecar
from segpipe.volumes import read_volume

pytestmark = pytest.mark.slow

SEGPIPE = Path(sys.executable).with_name("segpipe")
SMALL = {
    "epochs": 2,
    "val_interval": 1,
    "patch_size": [32, 32, 32],
    "filters": [8, 16, 32, 64],
    "batch_size": 2,
}


def train(bundle, output_dir, processes=2, run_name="two", **overrides):
    """Run `segpipe train BUNDLE --processes N`."""
    small = SMALL if bundle.spatial_dims == 3 else {"epochs": 2, "val_interval": 1, **bundle.small_network}
    settings = {**bundle.training, **small, "output_dir": output_dir, "run_name": run_name, **overrides}
    for name in ("device", "bundle_root"):
        settings.pop(name)
    ids = [f"{name}={value}" for name, value in settings.items() if value is not None]
    return subprocess.run(
        [SEGPIPE, "train", bundle.root, "--processes", str(processes), *ids],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.fixture(scope="module")
def run(bundle, tmp_path_factory):
    """Return the folder of a run on two processes, which logs each line once, and warns of nothing."""
    output_dir = tmp_path_factory.mktemp("distributed")
    done = train(bundle, output_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "INFO Run folder: ",
        "INFO Epoch 1/2: loss ",
        "INFO Epoch 2: validation Dice ",
        "INFO next: segpipe predict",
    ):
        assert done.stdout.count(line) == 1, line
    assert done.stderr.count("UserWarning: parsing config_file") == 1, "MONAI's"
    assert "Gloo" not in done.stderr
    return output_dir / "two"


def test_there_is_one_run_with_one_set_of_files(run):
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    assert sorted(path.name for path in run.iterdir()) == [
        ".segpipe-lock",
        "best.json",
        "best.pt",
        "configuration.yaml",
        "environment.json",
        "last.json",
        "last.pt",
        "tensorboard",
        "training_state.pt",
    ]
    assert len(list((run / "tensorboard").iterdir())) == 1


def test_ranks_agree_on_a_name_that_nobody_gave(bundle, tmp_path):
    done = train(bundle, tmp_path, run_name=None, epochs=1)

    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = tmp_path.iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}", run.name)
    assert (run / "last.pt").is_file()


def test_every_epoch_is_logged_once(run):
    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()

    for tag in (
        "loss/train",
        "optimizer/gradient_norm",
        "speed/samples_per_second",
        "memory/peak_gb",
        "dice/mean",
    ):
        assert [event.step for event in log.Scalars(tag)] == [1, 2], tag
    for tag in ("validation/worst_case", "validation/confusion"):
        assert [event.step for event in log.Images(tag)] == [1, 2], tag
    samples = (
        log.Scalars("speed/samples_per_second")[0].value * log.Scalars("speed/seconds_per_epoch")[0].value
    )
    assert samples == pytest.approx(6, rel=1e-4), "of both processes"


def test_the_run_is_that_of_one_process_with_twice_the_batch(bundle, run, tmp_path):
    alone = bundle.train("one", **{**SMALL, "batch_size": 4, "epochs": 2, "output_dir": str(tmp_path)})

    logs = [EventAccumulator(str(folder / "tensorboard")) for folder in (run, alone)]
    for log in logs:
        log.Reload()
    # bfloat16, and Dice of a network that has learnt nothing yet
    tolerances = {"loss/train": 0, "voxel_accuracy/train": 0, "optimizer/gradient_norm": 0, "dice/mean": 2e-3}
    for tag, tolerance in tolerances.items():
        of_two, of_one = ([event.value for event in log.Scalars(tag)] for log in logs)
        assert of_two == pytest.approx(of_one, rel=5e-3, abs=tolerance), tag


def test_validation_counts_every_case_once(bundle, run):
    """Dice over both processes' cases equals Dice of one process with the same weights."""
    best = read_sidecar(run / "best.pt").training
    overrides = {**bundle.training, **SMALL, "output_dir": str(run.parent), "run_name": run.name}
    bundle.run("train", "evaluate", **overrides)

    scores = CaseScores.read(run / "evaluation" / "best-fold0")
    assert len(scores.cases) == 2
    dice = scores.values[:, METRICS.index("dice")]
    assert best["validation"]["val_mean_dice"] == pytest.approx(dice.mean(), abs=2e-3)
    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()
    logged = {event.step: event.value for event in log.Scalars("voxel_accuracy/validation")}
    pooled = read_summary(run / "evaluation" / "best-fold0")["pooled"]
    assert logged[best["epoch"]] == pytest.approx(pooled["accuracy"], abs=1e-4)


@pytest.mark.every_bundle("CT")
def test_slices_train_on_two_processes(bundle, tmp_path):
    """The validation loss covers every process's slices, each slice in a batch of one."""
    done = train(bundle, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

    alone = {**bundle.training, **bundle.small_network, "output_dir": str(tmp_path), "run_name": "one"}
    weights = [str(tmp_path / "two" / "last.pt")]
    # a validation after an epoch does not average over mirror images
    bundle.run("train", "evaluate", **{**alone, "run_name": "two"}, weights=weights, flips=[])

    log = EventAccumulator(str(tmp_path / "two" / "tensorboard"))
    log.Reload()
    logged = {tag: log.Scalars(tag)[-1].value for tag in ("voxel_accuracy/validation", "loss/validation")}
    pooled = read_summary(tmp_path / "two" / "evaluation" / "last-fold0")["pooled"]
    assert logged["voxel_accuracy/validation"] == pytest.approx(pooled["accuracy"], abs=1e-4)
    assert logged["loss/validation"] == pytest.approx(validation_loss(bundle, alone, weights[0]), rel=1e-3)


def validation_loss(bundle, overrides, weights):
    """Return the mean over the held-out slices, one at a time, in one process."""
    parser = bundle.parser("train", **overrides)
    network, loss, validate = (
        parser.get_parsed_content(name) for name in ("network", "loss", "validate#dataloader")
    )
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    with torch.no_grad():
        losses = [loss(network(batch["image"]), batch["label"]).item() for batch in validate]
    assert len(losses) == 2
    return sum(losses) / len(losses)


def test_its_weights_segment(bundle, run, phantom_scans, tmp_path):
    """The saved state is the network's, without the prefix of the wrapper."""
    bundle.run(
        "inference",
        bundle_root=str(bundle.root),
        dataset_dir=str(phantom_scans[0] / "nrrd"),
        output_dir=str(tmp_path / "out"),
        weights=[str(run / "best.pt")],
        filters=SMALL["filters"],
        device="cpu",
    )

    assert read_volume(tmp_path / "out" / "phantom.nrrd").array.max() <= 2


def test_more_processes_than_cases_to_validate_are_refused(bundle, tmp_path):
    """A process without a case would make the other processes wait forever for its share of the metric."""
    done = train(bundle, tmp_path, processes=3)

    assert done.returncode == 1
    assert done.stderr.count("segpipe: 3 processes but only 2 cases to validate with") == 1
    assert "Traceback" not in done.stderr
    assert "terminate called" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_resume_with_another_number_of_processes_is_refused(bundle, run):
    """The epochs would have another number of steps than the schedule expects."""
    state = torch.load(run / "training_state.pt", weights_only=True)
    before = state["epoch"]
    torch.save({**state, "epoch": 1}, run / "training_state.pt")

    done = train(bundle, run.parent, processes=1, resume=True)

    torch.save({**state, "epoch": before}, run / "training_state.pt")
    assert done.returncode != 0
    assert "as many processes as it began with" in done.stderr

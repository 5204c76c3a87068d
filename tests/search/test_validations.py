"""The score of a trial, from a run's log while it trains and from its weights when it has ended."""

import json
import math

import pytest
from tiny_bundle import write_bundle, write_weights
from torch.utils.tensorboard import SummaryWriter

from segpipe.errors import SegpipeError
from segpipe.search.validations import Validations, best_validation
from segpipe.training import RunFolder


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run that has not begun."""
    return RunFolder(tmp_path, "fold_0", resume=True)


def log(run, tag, values):
    """Log a value of each epoch, as a start of the training does."""
    with SummaryWriter(str(run.tensorboard)) as writer:
        for epoch, value in values.items():
            writer.add_scalar(tag, value, epoch)


def test_of_a_segmentation_it_is_the_mean_dice_and_epochs_that_were_repeated_count_once(run):
    validations = Validations(run, "segmentation", {})
    assert validations.by_epoch() == {}
    log(run, "loss/train", {1: 0.9})
    assert validations.by_epoch() == {}

    log(run, "dice/mean", {1: 0.25, 2: math.nan, 3: 0.5})
    log(run, "dice/mean", {3: 0.5, 4: 0.75})  # after a resume

    assert validations.by_epoch() == {1: 0.25, 3: 0.5, 4: 0.75}


@pytest.mark.parametrize(
    ("key_score", "tag", "value"),
    [
        ("auroc", "auroc/mean", 0.5),
        ("accuracy", "accuracy/validation", 0.5),
        ("log_loss", "log_loss/validation", -0.5),
    ],
)
def test_of_a_classification_a_higher_value_is_better_whatever_the_key_score(run, key_score, tag, value):
    log(run, tag, {1: 0.5})

    assert Validations(run, "classification", {"key_score": key_score}).by_epoch() == {1: value}


def test_the_best_validation_stands_beside_the_weights(run, tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    with pytest.raises(
        SegpipeError, match="fold_0: has no validation with a value, so that its trial has no score"
    ):
        best_validation(run)
    write_weights(bundle, run.best, 0, validation={"val_mean_dice": 0.75})

    assert best_validation(run) == 0.75

    sidecar = json.loads(run.best.with_suffix(".json").read_text())
    sidecar["training"]["validation"] = {}
    run.best.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(SegpipeError, match="give folds whose validation cases have the classes"):
        best_validation(run)

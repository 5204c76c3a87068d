"""The calibration of weights that saw every image, from runs that each held out a fold."""

import numpy as np
import pytest
import torch

from segpipe.bundle.pooled_calibration import pooled_calibration
from segpipe.calibration import fitted_calibration
from segpipe.categories import Categories
from segpipe.errors import SegpipeError
from segpipe.networks import Identity, save_weights
from segpipe.training.image_handlers import validation_table
from segpipe.training.image_scores import ImageScores

CLASSES = Categories(("healthy", "ill"), "class")
FINDINGS = Categories(("mass", "nodule"), "findings")
LOGITS = np.array([[2.0, -1.0], [0.5, 1.0], [-1.5, 0.0], [1.0, 3.0], [0.0, -2.0], [-0.5, 0.5]])


def write_weights(path, fold, labels, **configuration):
    network = torch.nn.Linear(1, 1)
    training = {"fold": fold, "configuration": {"epochs": 3, "fold": fold, **configuration}}
    save_weights(path, network, Identity.of(network, [], labels.rows()), training)


def write_run(folder, fold, rows, targets, labels, cases=None, **configuration):
    folder.mkdir()
    write_weights(folder / "best.pt", fold, labels, **configuration)
    names = tuple(f"case_{row}" for row in rows) if cases is None else cases
    table = validation_table(ImageScores(names, LOGITS[rows], np.asarray(targets)[rows], labels))
    (folder / "best_validation.csv").write_text(table)
    return folder


@pytest.fixture
def runs(tmp_path):
    """Return a function that writes two runs of three cases each, and the weights that saw all six."""

    def write(labels, targets, **changed):
        first = write_run(tmp_path / "fold0", 0, [0, 1, 2], targets, labels)
        second = write_run(tmp_path / "fold1", 1, [3, 4, 5], targets, labels, **changed)
        write_weights(tmp_path / "last.pt", "all", labels)
        return [first, second], tmp_path / "last.pt"

    return write


def test_the_logits_of_all_runs_are_pooled(runs):
    targets = np.array([0, 1, 1, 1, 0, 1])
    folders, weights = runs(CLASSES, targets)

    made = pooled_calibration(folders, weights, CLASSES)

    expected = fitted_calibration(LOGITS, targets, CLASSES)
    assert made.temperature == pytest.approx(expected.temperature)
    assert made.thresholds == pytest.approx(expected.thresholds)
    assert made.about == {"cases": 6, "validation": [0, 1], "runs": 2}


def test_unknown_findings_stay_unknown(runs):
    targets = np.array([[1, 0], [0, np.nan], [0, 1], [1, 1], [0, 0], [1, np.nan]], np.float32)
    folders, weights = runs(FINDINGS, targets)

    made = pooled_calibration(folders, weights, FINDINGS)

    expected = fitted_calibration(LOGITS, targets, FINDINGS)
    assert made.temperature == pytest.approx(expected.temperature)
    assert made.shift == pytest.approx(expected.shift)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 4}, "another configuration than .*last.pt: epochs differ"),
        ({"cases": ("case_0", "x", "y")}, "held out case_0, as .*fold0 did; give one run for each fold"),
    ],
)
def test_runs_that_do_not_fit_are_refused(runs, changed, message):
    folders, weights = runs(CLASSES, np.array([0, 1, 1, 1, 0, 1]), **changed)

    with pytest.raises(SegpipeError, match=message):
        pooled_calibration(folders, weights, CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no best_validation.csv"),
        ("case,logit_ill\na,1\n", "its columns are case, logit_ill, must be case, logit_healthy"),
        ("case,logit_healthy,logit_ill,target_healthy,target_ill\na,1,x,0,1\n", "is damaged"),
        ("case,logit_healthy,logit_ill,target_healthy,target_ill\na,1,2,0\n", "is damaged"),
    ],
)
def test_a_run_without_a_whole_table_is_refused(runs, text, message):
    folders, weights = runs(CLASSES, np.array([0, 1, 1, 1, 0, 1]))
    table = folders[1] / "best_validation.csv"
    table.unlink() if text is None else table.write_text(text)

    with pytest.raises(SegpipeError, match=message):
        pooled_calibration(folders, weights, CLASSES)


def test_weights_without_a_sidecar_are_refused(runs):
    folders, weights = runs(CLASSES, np.array([0, 1, 1, 1, 0, 1]))
    weights.with_suffix(".json").unlink()

    with pytest.raises(SegpipeError, match="has no sidecar"):
        pooled_calibration(folders, weights, CLASSES)

"""An evaluator's scores equal those of the same logits given at once."""

import json
import logging

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.dataset.manifest import Case
from segpipe.errors import SegpipeError
from segpipe.evaluation import ClassificationScores
from segpipe.evaluation.classification import ClassifiedImages, summarise_images, write_classification
from segpipe.evaluation.classification.image_table import read_images

CLASSES = Categories(("CNV", "DME", "NORMAL"), "class")
FINDINGS = Categories(("Effusion", "Nodule"), "findings")
CASES = [Case(f"c{number}", (f"c{number}.png",), patient=f"p{number // 2}") for number in range(12)]


def calibration_of(categories):
    count = 1 if categories.exclusive else categories.num
    return Calibration(
        categories.names, categories.target, (2.0,) * count, (0.0,) * count, (0.4,) * categories.num
    )


def decollated(target):
    """Return a target as MONAI's decollation does: a class index becomes a number."""
    return torch.tensor(target) if np.ndim(target) else int(target)


def run(handler, cases, logits, targets, batch_size=5):
    """Return after an evaluator's run over all cases."""

    def step(engine, batch):
        engine.state.batch = batch
        return [
            {"pred": torch.tensor(logits[row]), "label": decollated(targets[row])} for row in rows[id(batch)]
        ]

    batches, rows = [], {}
    for first in range(0, len(cases), batch_size):
        batch = [{"case": case.case} for case in cases[first : first + batch_size]]
        rows[id(batch)] = range(first, first + len(batch))
        batches.append(batch)
    engine = Engine(step)
    engine.logger = logging.getLogger("evaluator")
    handler.attach(engine)
    engine.run(batches)


@pytest.mark.parametrize("categories", [CLASSES, FINDINGS], ids=["class", "findings"])
def test_the_files_are_those_of_the_logits(categories, tmp_path, caplog):
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (12, categories.num))
    targets = (
        np.arange(12) % 3
        if categories.exclusive
        else np.where(random.random((12, 2)) < 0.1, np.nan, random.integers(0, 2, (12, 2)))
    )
    calibration = calibration_of(categories)
    order = random.permutation(12)
    handler = ClassificationScores(tmp_path / "run", {"part": "fold 0"}, CASES, categories, calibration)

    with caplog.at_level(logging.INFO):
        run(handler, [CASES[row] for row in order], logits[order], targets[order])

    names = sorted(case.case for case in CASES)
    rows = [int(name[1:]) for name in names]
    images = ClassifiedImages.of_logits(
        names,
        [CASES[row].patient for row in rows],
        logits[rows],
        targets[rows],
        calibration,
        [CASES[row].images[0] for row in rows],
    )
    summary = summarise_images(images)
    write_classification(images, summary, tmp_path / "at_once", {})
    assert (tmp_path / "run" / "metrics.csv").read_text() == (
        tmp_path / "at_once" / "metrics.csv"
    ).read_text()
    contents = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("run", "at_once")]
    assert contents[0]["overall"] == contents[1]["overall"]
    assert contents[0]["about"]["part"] == "fold 0"
    assert contents[0]["about"]["warnings"] == list(summary.cautions)
    assert read_images(tmp_path / "run").cases == tuple(names)
    assert f"12 images: accuracy {summary.overall['accuracy'].value:.4f}" in caplog.text


def test_a_case_that_was_not_scored_is_refused(tmp_path):
    handler = ClassificationScores(tmp_path, {}, CASES, CLASSES, calibration_of(CLASSES))

    with pytest.raises(SegpipeError, match="11 images were scored for 12 cases"):
        run(handler, CASES[:11], np.zeros((11, 3)), np.zeros(11, int))


def test_no_cases_and_another_calibration_are_refused(tmp_path):
    with pytest.raises(SegpipeError, match="has no cases"):
        ClassificationScores(tmp_path, {}, (), CLASSES, calibration_of(CLASSES))
    with pytest.raises(
        SegpipeError, match="labels are CNV, DME, NORMAL, the calibration is of Effusion, Nodule"
    ):
        ClassificationScores(tmp_path, {}, CASES, CLASSES, calibration_of(FINDINGS))

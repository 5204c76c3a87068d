"""Classified images whose scores can be worked out by hand."""

import numpy as np
import pytest

from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.evaluation.classification import ClassifiedImages

CLASSES = Categories(("CNV", "DME", "NORMAL"), "class")
FINDINGS = Categories(("Effusion", "Nodule"), "findings")


@pytest.fixture
def of_classes():
    """Return a function: probabilities and true classes -> images, one patient an image."""

    def made(probabilities, targets, patients=None, thresholds=(0.5, 0.5, 0.5), cases=None):
        logits = np.log(np.array(probabilities, float))
        cases = cases or [f"c{number}" for number in range(len(logits))]
        calibration = Calibration(CLASSES.names, "class", (1.0,), (0.0,), thresholds)
        return ClassifiedImages.of_logits(cases, patients or cases, logits, targets, calibration)

    return made


@pytest.fixture
def of_findings():
    """Return a function: probabilities and truth (1, 0, NaN) -> images, one patient an image."""

    def made(probabilities, truth, patients=None, thresholds=(0.5, 0.5), cases=None):
        values = np.array(probabilities, float)
        cases = cases or [f"c{number}" for number in range(len(values))]
        calibration = Calibration(FINDINGS.names, "findings", (1.0, 1.0), (0.0, 0.0), thresholds)
        logits = np.log(values / (1 - values))
        return ClassifiedImages.of_logits(cases, patients or cases, logits, truth, calibration)

    return made

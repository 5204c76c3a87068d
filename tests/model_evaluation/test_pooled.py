"""Images of several folds become one set, each with the decision of the weights that held it out."""

import numpy as np

from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.evaluation.classification import ClassifiedImages
from segpipe.model_evaluation.pooled import _pooled_images

FINDINGS = Categories(("Mass", "Edema"), "findings")


def images(cases, probability, threshold, patients=None):
    calibration = Calibration(FINDINGS.names, FINDINGS.target, (1.0, 1.0), (0.0, 0.0), (threshold, threshold))
    probabilities = np.full((len(cases), 2), probability)
    targets = np.array([[1.0, 0.0]] * len(cases))
    return ClassifiedImages.of_calibrated(cases, patients, probabilities, targets, calibration)


def test_each_image_keeps_the_decision_of_its_own_threshold():
    """Probability .4 is above the first fold's threshold of .3, and below the second's of .5."""
    together = _pooled_images([images(["b", "d"], 0.4, 0.3), images(["a", "c"], 0.4, 0.5)])

    assert together.cases == ("a", "b", "c", "d")
    assert together.decided[:, 0].tolist() == [False, True, False, True]
    assert together.thresholds is None
    assert together.patients is None
    np.testing.assert_allclose(together.before, 0.4)


def test_an_image_of_an_unknown_patient_counts_as_one_patient():
    together = _pooled_images([images(["b"], 0.4, 0.5, patients=["p1"]), images(["a"], 0.4, 0.5)])

    assert together.patients == ("a", "p1")
    assert together.thresholds == (0.5, 0.5)

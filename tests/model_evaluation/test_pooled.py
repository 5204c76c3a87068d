"""Images of several folds become one set, each with the decision of the weights that held it out."""

import numpy as np

from segpipe.bundle.train_overlap import TrainOverlap
from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.dataset import EvaluationSplit
from segpipe.evaluation.classification import ClassifiedImages
from segpipe.model_evaluation.description import EvaluatedBy
from segpipe.model_evaluation.pooled import _pooled_by, _pooled_images

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


def test_the_description_has_every_fold_and_no_forecast_of_one_fold_alone():
    overlap = TrainOverlap(total=1, trained=(), patients=(), chosen=(), unknown=())
    parts = [
        EvaluatedBy(
            opened=None,
            records=[f"weights {fold}"],
            overlap=overlap,
            manifest=None,
            part=EvaluationSplit(f"fold {fold}", (f"case {fold}",), ""),
            precisions=("float32",),
            warnings=["few cases", "of both"],
            scan_warnings={f"case {fold}": ["dark"]},
            program={},
            expected={"tumour": "of one fold"},
        )
        for fold in (0, 1)
    ]

    together = _pooled_by(["fold 0", "fold 1"], parts, [["few cases"], ["few cases"]], ["of all"])

    assert (together.part.name, together.part.cases) == ("folds 0, 1", ("case 0", "case 1"))
    assert together.records == ["weights 0", "weights 1"]
    assert together.overlap.total == 2
    assert together.warnings == ["of both", "of all"]
    assert together.scan_warnings == {"case 0": ["dark"], "case 1": ["dark"]}
    assert together.expected == {}

"""Logits of one image to calibrated probabilities, worked out by hand."""

from math import e

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from segpipe.calibration import Calibration
from segpipe.errors import SegpipeError
from segpipe.transforms import CalibratedProbabilitiesd

CLASSES = Calibration(("CNV", "DME", "NORMAL"), "class", (2.0,), (0.0,), (0.5,) * 3)
FINDINGS = Calibration(("Effusion", "Mass"), "findings", (2.0, 0.5), (1.0, -1.0), (0.5, 0.5))


@pytest.mark.parametrize("kind", [torch.tensor, MetaTensor], ids=["tensor", "metatensor"])
def test_classes_are_a_softmax_of_divided_logits(kind):
    made = CalibratedProbabilitiesd("pred", CLASSES)({"pred": kind([2.0, 0.0, 0.0]), "case": "a"})

    assert isinstance(made["pred"], MetaTensor), "MONAI Label's writer needs one"
    assert made["pred"].dtype == torch.float64
    np.testing.assert_allclose(made["pred"], np.array([e, 1, 1]) / (e + 2), rtol=1e-12)
    assert made["case"] == "a"


def test_findings_have_a_temperature_and_a_shift_each():
    """Effusion: 2 / 2 + 1 = 2; Mass: 1 / 0.5 - 1 = 1."""
    record = {"pred": torch.tensor([2.0, 1.0], dtype=torch.bfloat16)}

    made = CalibratedProbabilitiesd("pred", FINDINGS)(record)

    np.testing.assert_allclose(made["pred"], [1 / (1 + e**-2), 1 / (1 + e**-1)], rtol=1e-12)
    assert record["pred"].tolist() == [2.0, 1.0], "the record itself is unchanged"


def test_a_batch_is_calibrated_image_by_image_and_other_shapes_are_refused():
    rows = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    transform = CalibratedProbabilitiesd("pred", CLASSES)

    expected = [np.array([e, 1, 1]) / (e + 2), [1 / 3] * 3]
    np.testing.assert_allclose(transform({"pred": rows})["pred"], expected, rtol=1e-12)
    for shape in ((2,), (3, 1), (1, 1, 3)):
        with pytest.raises(SegpipeError, match=r"pred: values of shape .* must be \(3,\) or \(images, 3\)"):
            transform({"pred": torch.zeros(shape)})


def test_a_missing_key():
    with pytest.raises(KeyError):
        CalibratedProbabilitiesd("pred", CLASSES)({})
    assert CalibratedProbabilitiesd("pred", CLASSES, allow_missing_keys=True)({}) == {}

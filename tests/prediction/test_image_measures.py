"""Measures of classified images."""

import numpy as np
import pytest
import torch

from segpipe.prediction.image_measures import measured_image


@pytest.mark.parametrize(
    ("probabilities", "exclusive", "doubt"),
    [
        ([1.0, 0.0, 0.0, 0.0], True, 0.0),
        ([0.25] * 4, True, 1.0),
        ([0.5, 0.5, 0.0, 0.0], True, 0.5),  # one bit of two
        ([0.5, 0.5], False, 1.0),
        ([0.0, 1.0], False, 0.0),
        ([0.5, 1.0], False, 0.5),
    ],
)
def test_doubt_is_the_entropy_of_classes_or_the_mean_of_findings(probabilities, exclusive, doubt):
    measured = measured_image(torch.rand(3, 16, 16), np.array(probabilities), exclusive=exclusive)

    assert measured.values["doubt"] == pytest.approx(doubt, abs=1e-9)


def test_an_image_is_measured_as_the_mean_of_its_channels():
    """Three channels whose mean runs from 0 to 1 along the columns: the median is one half."""
    ramp = torch.linspace(0, 1, 16).expand(16, 16)
    image = torch.stack([ramp - 1, ramp, ramp + 1])

    measured = measured_image(image, np.array([1.0, 0.0]), exclusive=True)

    assert measured.values["normalised/median"] == pytest.approx(0.5, abs=1e-6)
    assert measured.values["tone/median"] == pytest.approx(0.5, abs=0.01)
    assert measured.coarse_images.shape == (1, 1, 12, 12)
    assert not any("channel" in name for name in measured.values)

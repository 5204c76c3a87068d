"""The temperature of the probabilities of voxels."""

import numpy as np
import pytest
import torch

from segpipe.confidence.temperature import fitted_temperature, tempered


def test_classes_at_a_temperature_are_those_of_divided_logits():
    logits = torch.randn((3, 50), generator=torch.Generator().manual_seed(0)) * 4

    torch.testing.assert_close(tempered(logits.softmax(0), 2.5, exclusive=True), (logits / 2.5).softmax(0))


def test_regions_at_a_temperature_are_those_of_divided_logits():
    logits = torch.randn((2, 50), generator=torch.Generator().manual_seed(0)) * 4

    torch.testing.assert_close(tempered(logits.sigmoid(), 0.5, exclusive=False), (logits / 0.5).sigmoid())


def test_outside_the_image_probabilities_stay_zero():
    probabilities = torch.tensor([[0.0, 0.8], [0.0, 0.2]])

    # 0.8 and 0.2 at temperature 2: square roots 0.894 and 0.447, which sum to 1.342
    torch.testing.assert_close(
        tempered(probabilities, 2, exclusive=True), torch.tensor([[0.0, 2 / 3], [0.0, 1 / 3]])
    )


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_temperature_of_logits_that_are_too_large_is_found(exclusive):
    """Labels are drawn from the probabilities; the network's logits are three times as large."""
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(3, 20_000)))
    if exclusive:
        true = logits.softmax(0).numpy().cumsum(axis=0) > random.uniform(size=20_000)
        present = np.arange(3)[:, None] == true.argmax(axis=0)
        given = (3 * logits).softmax(0)
    else:
        present = logits.sigmoid().numpy() > random.uniform(size=logits.shape)
        given = (3 * logits).sigmoid()

    found = fitted_temperature([given.numpy()], [present], exclusive=exclusive)

    assert found == pytest.approx(3, rel=0.05)


def test_without_voxels_nothing_changes():
    assert fitted_temperature([np.zeros((2, 0))], [np.zeros((2, 0), bool)], exclusive=True) == 1

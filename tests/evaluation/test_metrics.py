"""Dice against paper and against an independent implementation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segpipe.errors import SegpipeError
from segpipe.evaluation.metrics import dice_per_class


def test_dice_by_hand():
    reference = np.array([[0, 1, 1], [2, 2, 0]])
    prediction = np.array([[0, 1, 0], [2, 2, 2]])

    # class 1: 2 * 1 / (1 + 2); class 2: 2 * 2 / (3 + 2)
    np.testing.assert_allclose(dice_per_class(prediction, reference, 3), [2 / 3, 4 / 5])


def test_class_in_neither_map_is_nan():
    """There was nothing to find, and nothing was found: no score, so that no mean is flattered."""
    np.testing.assert_array_equal(dice_per_class(np.array([0, 1]), np.array([0, 1]), 3), [1, np.nan])


@pytest.mark.parametrize(("prediction", "reference"), [([0, 1], [0, 0]), ([0, 0], [0, 1])])
def test_class_in_one_map_only_is_zero(prediction, reference):
    assert dice_per_class(np.array(prediction), np.array(reference), 2) == [0]


def test_empty_maps_are_nan():
    assert np.isnan(dice_per_class(np.zeros(0, int), np.zeros(0, int), 2)).all()


def test_shapes_must_agree():
    with pytest.raises(SegpipeError, match=r"shapes \(2,\) and \(3,\); both must lie on one grid"):
        dice_per_class(np.zeros(2, int), np.zeros(3, int), 2)


@pytest.mark.parametrize(
    ("prediction", "name"), [([0, 2], "prediction has classes 0 to 2"), ([-1, 0], "-1 to 0")]
)
def test_index_of_no_class(prediction, name):
    with pytest.raises(SegpipeError, match=f"{name}; needs 0 to 1"):
        dice_per_class(np.array(prediction), np.zeros(2, int), 2)


label_maps = hnp.arrays(np.uint8, (3, 4), elements=st.integers(0, 3))


@given(label_maps, label_maps)
def test_agrees_with_sets_of_voxels(prediction, reference):
    found = dice_per_class(prediction, reference, 4)

    for index in (1, 2, 3):
        p = {tuple(place) for place in np.argwhere(prediction == index)}
        r = {tuple(place) for place in np.argwhere(reference == index)}
        if p or r:
            assert found[index - 1] == pytest.approx(2 * len(p & r) / (len(p) + len(r)))
        else:
            assert np.isnan(found[index - 1])


def test_agrees_with_monai():
    import torch
    from monai.metrics import compute_dice

    random = np.random.default_rng(0)
    prediction, reference = random.integers(0, 3, (2, 6, 7, 8))

    one_hot = [
        torch.nn.functional.one_hot(torch.from_numpy(indices), 3).movedim(-1, 0)[None]
        for indices in (prediction, reference)
    ]
    np.testing.assert_allclose(
        dice_per_class(prediction, reference, 3),
        compute_dice(*one_hot, include_background=False)[0].numpy(),
        rtol=1e-6,
    )

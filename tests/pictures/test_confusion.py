"""The picture of a confusion matrix with few and with many classes."""

import numpy as np
import pytest

from segpipe.pictures import confusion_picture

FULL = (8, 69, 148)


def colours(picture):
    return set(map(tuple, picture.reshape(-1, 3).tolist()))


def test_a_row_is_shares_of_its_class():
    """All of class 0 and half of class 1 are predicted correctly: full colour, and half way to it."""
    picture = confusion_picture(np.array([[4, 0], [1, 1]]), ["background", "ball"], "epoch 1")

    assert FULL in colours(picture)
    assert {tuple(round(255 + (end - 255) / 2) for end in FULL)} <= colours(picture)


def test_the_row_of_a_class_without_voxels_is_empty():
    without = confusion_picture(np.zeros((2, 2), np.int64), ["background", "ball"], "epoch 1")

    assert FULL not in colours(without)


def test_numbers_of_voxels_do_not_matter_but_shares():
    counts = np.array([[3, 1], [0, 2]])

    one, other = (confusion_picture(counts * factor, ["a", "b"], "t") for factor in (1, 10**9))

    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_many_classes_with_long_names_stay_a_picture():
    names = [f"the {index}th of the structures with long names" for index in range(60)]

    picture = confusion_picture(np.eye(60, dtype=np.int64), names, "epoch 1")

    assert 1000 < picture.shape[0] < 2500
    assert 1000 < picture.shape[1] < 2500
    assert FULL in colours(picture)

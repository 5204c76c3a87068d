"""Counts and Dice of two rows of four voxels, computed by hand."""

import numpy as np
import pytest

from segpipe.confusion import confusion_matrix, foreground_dice
from segpipe.errors import SegpipeError


def test_rows_are_true_and_columns_predicted_classes():
    counts = confusion_matrix(np.array([1, 1, 2, 0]), np.array([1, 2, 2, 0]), num_classes=3)

    np.testing.assert_array_equal(counts, [[1, 0, 0], [0, 1, 0], [0, 1, 1]])


def test_dice_is_that_of_the_counts_and_nan_where_there_is_nothing():
    # class 1: 2*1 / (2+1); class 2: 2*1 / (1+2); class 3 is nowhere; class 4 is there and not found
    counts = confusion_matrix(np.array([1, 1, 2, 0, 0]), np.array([1, 2, 2, 0, 4]), num_classes=5)

    np.testing.assert_allclose(foreground_dice(counts), [2 / 3, 2 / 3, np.nan, 0])


def test_an_index_that_is_no_class_is_refused():
    with pytest.raises(SegpipeError, match="prediction has classes 0 to 3; needs 0 to 2"):
        confusion_matrix(np.array([0, 3]), np.array([0, 1]), num_classes=3)

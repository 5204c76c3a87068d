"""Detected, missed and false components, on grids drawn by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label

from segpipe.evaluation.lesions import LesionCounts, lesion_counts


def drawn(*rows):
    return np.array([[voxel == "#" for voxel in row] for row in rows])


def test_pieces_by_hand():
    reference = drawn("##...#.", "##.....", ".....##", ".......")
    prediction = drawn(".......", ".##..#.", ".....#.", "#......")
    # found: the square and the pair; missed: the voxel at the top; made up: the one at the bottom

    result = lesion_counts(prediction, reference)

    assert result == LesionCounts(found=2, missed=1, false=1)
    assert result.f1 == pytest.approx(4 / 6)


def test_voxels_that_share_a_corner_are_of_one_piece():
    assert lesion_counts(drawn("#..", "..."), drawn("#..", ".#.")) == LesionCounts(1, 0, 0)


def test_one_piece_may_find_several():
    assert lesion_counts(drawn("#####"), drawn("#.#.#")) == LesionCounts(3, 0, 0)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"), [("#", ".", 0), (".", "#", 0), (".", ".", np.nan)]
)
def test_what_is_missing(prediction, reference, expected):
    np.testing.assert_equal(lesion_counts(drawn(prediction), drawn(reference)).f1, expected)


shapes = hnp.array_shapes(min_dims=2, max_dims=3, max_side=6)


@given(st.data(), hnp.arrays(bool, shapes))
def test_agrees_with_going_through_the_pieces(data, reference):
    prediction = data.draw(hnp.arrays(bool, reference.shape))

    def split(mask, other):
        pieces = label(mask, connectivity=mask.ndim)
        hits = [bool(other[pieces == number].any()) for number in range(1, pieces.max() + 1)]
        return sum(hits), len(hits) - sum(hits)

    assert lesion_counts(prediction, reference) == LesionCounts(
        *split(reference, prediction), split(prediction, reference)[1]
    )

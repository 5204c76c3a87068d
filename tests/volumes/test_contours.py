"""Contours on one slice, by hand-drawn grids: which pixels they hold, and that a mask returns from its contours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.volumes.contours import contours_of, filled

SQUARE = np.array([[1, 1], [4, 1], [4, 4], [1, 4]], float)


def test_a_contour_on_pixel_centres_holds_two_of_its_four_sides():
    """The square from (1, 1) to (4, 4) holds 3 x 3 pixels: its lower sides count, its upper sides do not."""
    mask = filled([SQUARE], (6, 6))

    assert np.argwhere(mask).tolist() == [[x, y] for x in (1, 2, 3) for y in (1, 2, 3)]


def test_two_contours_that_share_an_edge_hold_no_pixel_twice():
    right = SQUARE + np.array([3, 0])

    left_mask, right_mask = filled([SQUARE], (9, 6)), filled([right], (9, 6))

    assert not (left_mask & right_mask).any()
    assert (left_mask | right_mask).sum() == 18


def test_a_contour_inside_another_is_a_hole():
    mask = filled([SQUARE, np.array([[1.5, 1.5], [2.5, 1.5], [2.5, 2.5], [1.5, 2.5]])], (6, 6))

    assert mask.sum() == 8
    assert not mask[2, 2]


def test_what_lies_beyond_the_slice_is_cut():
    mask = filled([np.array([[-5, -5], [2, -5], [2, 20], [-5, 20]], float)], (4, 3))

    assert mask.tolist() == [[True] * 3, [True] * 3, [False] * 3, [False] * 3]


def test_a_direction_of_the_points_changes_nothing():
    np.testing.assert_array_equal(filled([SQUARE], (6, 6)), filled([SQUARE[::-1]], (6, 6)))


def test_a_ring_is_one_contour_with_a_channel_to_its_hole():
    ring = np.zeros((7, 7), bool)
    ring[1:6, 1:6] = True
    ring[3, 3] = False

    (contour,) = contours_of(ring)

    # 8 corners outside, 4 around the hole, and two points at which the channel ends
    assert len(contour) == 14
    np.testing.assert_array_equal(filled([contour], ring.shape), ring)


def test_an_island_in_a_hole_is_a_contour_of_its_own():
    island = np.zeros((9, 9), bool)
    island[1:8, 1:8] = True
    island[2:7, 2:7] = False
    island[4, 4] = True

    contours = contours_of(island)

    assert len(contours) == 2
    np.testing.assert_array_equal(filled(contours, island.shape), island)


def test_pixels_that_share_a_corner_are_two_contours():
    assert len(contours_of(np.eye(2, dtype=bool))) == 2


def test_an_empty_mask_has_no_contour():
    assert contours_of(np.zeros((4, 5))) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.5, 0.8]))
def test_a_mask_returns_from_its_contours_rounded_to_micrometres(seed, share):
    mask = np.random.default_rng(seed).random((13, 9)) < share

    contours = [np.round(contour, 3) for contour in contours_of(mask)]

    np.testing.assert_array_equal(filled(contours, mask.shape), mask)


@pytest.mark.parametrize("value", [1, 255])
def test_any_value_but_0_is_inside(value):
    mask = np.zeros((4, 4), np.uint8)
    mask[1, 2] = value

    assert len(contours_of(mask)) == 1

"""Grids: their content, comparison and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_grids import rotation

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, lps_to_ras, ras_to_lps
from segpipe.volumes.geometry import checked_axes

angles = st.floats(-3.1, 3.1)
spacings = st.tuples(*[st.floats(0.01, 20.0)] * 3)
origins = st.tuples(*[st.floats(-2000.0, 2000.0)] * 3)


@given(st.tuples(angles, angles, angles), spacings, origins)
def test_what_itk_stores_comes_back_from_a_grid(turn, spacing, origin):
    direction = rotation(*turn)

    grid = Grid.from_lps((3, 4, 5), spacing, origin, direction)

    np.testing.assert_allclose(grid.spacing_mm, spacing, rtol=1e-12)
    np.testing.assert_allclose(grid.origin_lps, origin, atol=1e-9)
    np.testing.assert_allclose(grid.direction_lps, direction, atol=1e-12)
    assert not grid.is_sheared
    assert grid.matches(Grid.from_affine((3, 4, 5), grid.affine))


def test_lps_and_ras_differ_in_the_sign_of_x_and_y():
    """10 mm left, 20 mm behind and 30 mm above is (10, 20, 30) in LPS and (-10, -20, 30) in RAS."""
    grid = Grid.from_lps((2, 2, 2), (1, 1, 1), (10, 20, 30), np.eye(3))

    np.testing.assert_array_equal(grid.affine @ [0, 0, 0, 1], [-10, -20, 30, 1])
    np.testing.assert_array_equal(grid.affine @ [1, 0, 0, 1], [-11, -20, 30, 1])
    np.testing.assert_array_equal(lps_to_ras(ras_to_lps(grid.affine)), grid.affine)


def test_a_2d_grid_keeps_its_place_and_gets_a_third_axis():
    mirrored = Grid.from_lps((3, 4), (0.5, 0.7), (1, 2), [-1, 0, 0, 1])

    assert mirrored.spatial_dims == 2
    assert mirrored.spacing_mm == (0.5, 0.7)
    np.testing.assert_array_equal(mirrored.origin_lps, [1, 2, 0])
    assert np.linalg.det(mirrored.direction_lps) == pytest.approx(1.0)
    assert mirrored.is_axial_plane


def test_the_unused_third_column_of_a_2d_grid_is_not_compared():
    plain, thick = np.eye(4), np.diag([1.0, 1.0, 5.0, 1.0])

    assert Grid.from_affine((3, 4), plain).matches(Grid.from_affine((3, 4), thick))
    assert not Grid.from_affine((3, 4, 1), plain).matches(Grid.from_affine((3, 4, 1), thick))


def test_differences_name_both_values_with_units():
    """The corner (511, 511, 119) lies at y = 511 and z = 119, or at y = -511 and z = 7 + 148.75."""
    one = Grid.from_lps((512, 512, 120), (1, 1, 1), (0, 0, 0), np.eye(3))
    other = Grid.from_lps((512, 512, 119), (1, 1, 1.25), (0, 0, 7), np.diag([1, -1, 1]))

    assert np.hypot(1022, 7 + 119 * 0.25) == pytest.approx(1022.66, abs=0.01)
    assert one.differences(other) == [
        "size (512, 512, 120) vs (512, 512, 119) voxels (x, y, z)",
        "spacing (1, 1, 1) vs (1, 1, 1.25) mm (x, y, z)",
        "origin (0, 0, 0) vs (0, 0, 7) mm (LPS)",
        "direction ((1, 0, 0), (0, 1, 0), (0, 0, 1)) vs ((1, 0, 0), (0, -1, 0), (0, 0, 1)) (LPS, rows)",
        "the farthest voxel lies 1.02e+03 mm apart (limit 0.01 mm, 1% of the smallest spacing)",
    ]
    assert one.differences(one) == []


def test_2d_and_3d_grids_differ_in_size_alone():
    flat = Grid.from_affine((3, 4), np.eye(4))

    assert flat.differences(Grid.from_affine((3, 4, 1), np.eye(4))) == [
        "size (3, 4) vs (3, 4, 1) voxels (x, y, z)"
    ]


@pytest.mark.parametrize(("shift_mm", "same"), [(0.0079, True), (0.0081, False), (0.08, False)])
def test_grids_match_to_a_hundredth_of_the_smallest_spacing(shift_mm, same):
    grid = Grid.from_lps((2, 2, 2), (1, 0.8, 3), (0, 0, 0), np.eye(3))
    shifted = Grid.from_lps((2, 2, 2), (1, 0.8, 3), (shift_mm, 0, 0), np.eye(3))

    assert grid.matches(shifted) is same
    assert grid != shifted


@pytest.mark.parametrize(("length", "same"), [(11, True), (12, False)])
def test_a_small_error_of_spacing_adds_up_to_the_farthest_voxel(length, same):
    """Ten steps of 1.001 mm end 0.01 mm from ten steps of 1 mm, and eleven steps 0.011 mm."""
    grid = Grid.from_lps((length, 2, 2), (1, 1, 1), (0, 0, 0), np.eye(3))
    other = Grid.from_lps((length, 2, 2), (1.001 - 1e-9, 1, 1), (0, 0, 0), np.eye(3))

    assert grid.farthest_mm(other) == pytest.approx((length - 1) * 0.001, abs=1e-6)
    assert grid.matches(other) is same


@given(st.tuples(angles, angles, angles), spacings, origins, st.floats(0, 6.28), st.floats(0.0, 1.0))
def test_a_shift_counts_alike_in_every_orientation(turn, spacing, origin, towards, share):
    shift = share * 0.02 * min(spacing) * np.array([np.cos(towards), np.sin(towards), 0])
    grid = Grid.from_lps((30, 40, 50), spacing, origin, rotation(*turn))
    shifted = Grid.from_lps((30, 40, 50), spacing, np.array(origin) + shift, rotation(*turn))

    assert grid.farthest_mm(shifted) == pytest.approx(np.linalg.norm(shift), abs=1e-9)
    assert grid.matches(shifted) == (grid.farthest_mm(shifted) <= 0.01 * min(grid.spacing_mm))


def test_numbers_rounded_to_six_digits_are_one_grid():
    exact = Grid.from_lps((40, 40, 40), (1, 1, 1), (-280.5468, -280.5468, 964.3017), np.eye(3))
    rounded = Grid.from_lps((40, 40, 40), (1, 1, 1), (-280.547, -280.547, 964.302), np.eye(3))

    assert exact.matches(rounded)


def test_equal_grids_are_equal_and_hash_alike():
    assert len({Grid.from_affine((2, 2, 2), np.eye(4)), Grid.from_affine([2, 2, 2], np.eye(4).tolist())}) == 1


def test_shear_shows():
    sheared = np.eye(4)
    sheared[0, 1] = 0.1

    assert Grid.from_affine((2, 2, 2), sheared).is_sheared


def test_a_2d_grid_out_of_the_axial_plane_shows():
    assert not Grid.from_lps((2, 2), (1, 1), (0, 0, 5), np.eye(3)).is_axial_plane
    assert not Grid.from_lps((2, 2), (1, 1), (0, 0, 0), rotation(0.2, 0, 0)).is_axial_plane


def _affine(**cells: float) -> np.ndarray:
    affine = np.eye(4)
    for cell, value in cells.items():
        affine[int(cell[1]), int(cell[2])] = value
    return affine


@pytest.mark.parametrize(
    ("affine", "rule"),
    [
        (_affine(a00=np.nan), "every value must be finite"),
        (_affine(a03=np.inf), "every value must be finite"),
        (_affine(a11=0.0), "spacing (1, 0, 1) mm (x, y, z): must be above 0"),
        (_affine(a11=0.0, a01=1.0), "singular, its axes lie in one plane"),
        (_affine(a30=1.0), "last row (0, 0, 0, 1)"),
        (np.eye(3), "must be 4 x 4"),
    ],
)
def test_an_unusable_affine_is_refused_by_the_rule_it_breaks(affine, rule):
    with pytest.raises(SegpipeError) as caught:
        Grid.from_affine((2, 2, 2), affine)
    assert rule in str(caught.value)


@pytest.mark.parametrize("size", [(2,), (2, 2, 2, 2), (2, 0, 2)])
def test_sizes_other_than_2d_or_3d_are_refused(size):
    with pytest.raises(SegpipeError, match="2 or 3 axes of at least 1 voxel"):
        Grid.from_affine(size, np.eye(4))


@pytest.mark.parametrize("spacing", [(1, 0, 1), (1, 1, -2)])
def test_spacing_must_be_above_zero(spacing):
    with pytest.raises(SegpipeError, match="must be above 0"):
        Grid.from_lps((2, 2, 2), spacing, (0, 0, 0), np.eye(3))


@given(st.tuples(angles, angles, angles), st.sampled_from([4, 5, 6, 9]))
def test_axes_of_rounded_digits_become_the_rotation_nearest_to_them(turn, digits):
    true = rotation(*turn)

    axes = checked_axes(np.round(true, digits))

    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.abs(axes - true).max() < 1.5 * 10.0**-digits


@pytest.mark.parametrize(
    "axes",
    [
        [[1, 0.005, 0], [0, 1, 0], [0, 0, 1]],  # bent by 0.3 degrees
        [[1, 0, 0], [0, 0.998, 0], [0, 0, 1]],  # no unit vector
        [[1, 0, 0], [0, 1, 5], [0, 0, 1]],
        [[1, 0, 0], [0, np.nan, 0], [0, 0, 1]],
    ],
)
def test_axes_that_rounding_does_not_explain_are_refused(axes):
    with pytest.raises(SegpipeError, match="must be perpendicular unit vectors"):
        checked_axes(axes)


def test_axes_at_another_angle_stay_where_rows_and_columns_are_unit_vectors():
    stored = np.array([[0.9952, 0.0098, -0.0975], [-0.0475, 0.9188, 0.3919], [0.0857, -0.3946, 0.9148]])

    np.testing.assert_array_equal(checked_axes(stored), stored)


def test_exact_axes_keep_their_digits():
    np.testing.assert_array_equal(checked_axes(rotation(0.3, -0.2, 0.4)), rotation(0.3, -0.2, 0.4))

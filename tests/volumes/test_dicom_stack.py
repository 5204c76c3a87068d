"""Rounded slice positions are fitted by a regular line; true gaps, shifts and tilts are refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_header, write_series

PIXEL_MM = 0.7
OBLIQUE = Rotation.from_euler("xyz", [23.3, -5.1, 4.4], degrees=True).as_matrix()


def series(folder, heights_mm, digits=1, **kwargs):
    """Write slices at heights along z, with positions rounded to some digits, and return the header as read."""
    return write(folder, [(-100.0, 20.0, height) for height in heights_mm], digits, **kwargs)


def write(folder, positions, digits, orientation=(1, 0, 0, 0, 1, 0), columns=5, **tags):
    count = len(positions)
    grid = Grid.from_lps((columns, 4, count), (PIXEL_MM, PIXEL_MM, 1), (0, 0, 0), np.eye(3))
    paths = write_series(np.zeros(grid.size, np.int16), grid, folder, "CT")
    for index, (path, position) in enumerate(zip(paths, positions, strict=True)):
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient = [f"{value:.{digits}f}" for value in position]
        dataset.ImageOrientationPatient = list(orientation)
        for tag, values in tags.items():
            setattr(dataset, tag, values[index])
        dataset.save_as(path)
    return read_header(folder)


def refusal(*args, **kwargs) -> str:
    with pytest.raises(SegpipeError) as caught:
        series(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("distance_mm", [0.625, 1.25, 3.27, 4.999, 6.6667])
@pytest.mark.parametrize("count", [3, 6, 40])
def test_positions_of_one_decimal_are_read_as_what_they_round(distance_mm, count, tmp_path):
    """No slice is more than 0.05 mm off; the fitted distance is off by less than 0.1 mm over the stack."""
    header = series(tmp_path, -133.125 + distance_mm * np.arange(count))

    assert abs(header.grid.spacing_mm[2] - distance_mm) * (count - 1) <= 0.1
    assert abs(header.grid.origin_lps[2] + 133.125) <= 0.1
    assert not header.grid.is_sheared


def test_each_coordinate_has_its_own_digits(tmp_path):
    """Six decimals of x and y do not make z with one decimal exact."""
    positions = [(-123.046875, 20.703125, float(f"{-133.125 + 3.27 * index:.1f}")) for index in range(20)]

    assert write(tmp_path, positions, 6).grid.spacing_mm[2] == pytest.approx(3.27, abs=0.005)


@pytest.mark.parametrize("digits", [1, 3])
@pytest.mark.parametrize("count", [3, 4, 12])
@pytest.mark.parametrize("shifted", [0, 1, -1])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_shift_of_a_tenth_of_the_distance_is_refused(digits, count, shifted, sign, tmp_path):
    """Slices are 5 mm apart, and one slice, wherever it lies, is 0.5 mm off."""
    heights = 5.0 * np.arange(count)
    heights[shifted] += sign * 0.5

    assert "off the line of the other slices" in refusal(tmp_path, heights, digits)


def test_digits_of_one_coordinate_do_not_excuse_another(tmp_path):
    """x has steps of 0.1 mm and y of 0.01 mm: 0.05 mm in y is no rounding."""
    positions = [(-100.5, 20.25 - 0.05 * (index == 1), 2.5 * index) for index in range(6)]

    with pytest.raises(SegpipeError, match=r"slice_0001.dcm lies 0.05 mm off"):
        write(tmp_path, positions, 2)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_shift_of_a_tenth_of_a_pixel_in_the_plane_is_refused(axis, tmp_path):
    positions = np.array([[-100.0, 20.0, 5.0 * index] for index in range(6)])
    positions[2, axis] += 0.1 * PIXEL_MM

    with pytest.raises(
        SegpipeError, match=r"slice_0002.dcm lies 0.07 mm off .* 10.0% of the pixel spacing of 0.7 mm"
    ):
        write(tmp_path, positions, 2)


@pytest.mark.parametrize("count", [4, 25])
def test_a_missing_and_a_doubled_slice_are_refused_however_long_the_series(count, tmp_path):
    heights = 3.27 * np.arange(count)

    assert "gap in the series" in refusal(tmp_path / "missing", np.delete(heights, 1))
    doubled = np.sort([*heights, heights[1]])
    assert "at the position of another" in refusal(tmp_path / "doubled", doubled)
    between = np.sort([*heights, heights[1] + 1.6])
    assert "gap in the series" in refusal(tmp_path / "between", between)


def test_uneven_distances_are_refused(tmp_path):
    assert "off the line" in refusal(tmp_path / "a", [0, 1, 2, 3, 5, 7, 9, 11, 13])
    assert "off the line" in refusal(tmp_path / "b", [0, 1, 2, 3.2, 4.4, 5.6])


def test_an_oblique_series_of_four_digits_becomes_a_right_angled_grid(tmp_path):
    """Cosines of 4 digits are 1e-4 off a right angle, and positions of 1 digit 0.05 mm off their line."""
    row, column = np.round(OBLIQUE[:, 0], 4), np.round(OBLIQUE[:, 1], 4)
    normal = np.cross(row, column)
    positions = [np.array([-50.0, 12.3, 7.7]) + 3 * index * normal for index in range(12)]

    header = write(tmp_path, positions, 1, orientation=(*row, *column))

    axes = header.grid.direction_lps
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(axes[:, 0], row, atol=1e-4)
    assert header.grid.spacing_mm[2] == pytest.approx(3, abs=0.01)


def test_orientations_and_spacings_may_differ_by_rounding(tmp_path):
    """511 pixels of 0.7 mm: 1e-6 in a cosine moves the last one 0.0004 mm, 1e-4 in PixelSpacing 0.05 mm."""
    orientations = [[1, 1e-6 * (index % 2), 0, 0, 1, 0] for index in range(5)]
    spacings = [[0.7, 0.7 + 1e-6 * (index == 3)] for index in range(5)]
    tags = {"ImageOrientationPatient": orientations, "PixelSpacing": spacings}
    heights = np.arange(5.0)
    series(tmp_path / "a", heights, columns=512, **tags)

    tags["PixelSpacing"] = [[0.7, 0.7 + 1e-4 * (index == 3)] for index in range(5)]
    message = refusal(tmp_path / "b", heights, columns=512, **tags)
    assert (
        "slices of different pixel spacing: (0.7, 0.7) mm (x, y) in slice_0000.dcm vs (0.7001, 0.7)"
        in message
    )
    assert "PixelSpacing moves a voxel by 0.051 mm" in message


@pytest.mark.parametrize("end", [0, -1])
def test_an_end_slice_that_jumps_to_the_other_end_leaves_no_gap_and_is_refused(end, tmp_path):
    """Of slices at 0 to 5, the first has position 6 or the last -1: InstanceNumber shows the true place."""
    heights = np.arange(6.0)
    heights[end] = 6 if end == 0 else -1

    message = refusal(tmp_path, heights, InstanceNumber=range(1, 7))
    assert f"InstanceNumber {1 if end == 0 else 6} belongs at the other" in message
    assert series(tmp_path / "unnumbered", heights, InstanceNumber=[9, 2, 7, 1, 3, 4]).grid.size[2] == 6


def test_a_small_tilt_of_a_few_rounded_slices_is_none(tmp_path):
    """The last of four slices 1 mm apart is 0.1 mm aside: rounding of x to one digit explains this."""
    header = write(tmp_path, [(10.0, 0, 0), (10.0, 0, 1), (10.1, 0, 2), (10.1, 0, 3)], 1)
    assert not header.grid.is_sheared

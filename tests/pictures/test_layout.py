"""Which planes are shown, worked out by hand: three planes, or all slices of a stack."""

import numpy as np
import pytest

from segpipe.pictures import overlay_planes
from segpipe.pictures.layout import GAP, Panel, panels, slice_axis, stack_axis
from segpipe.pictures.scan_picture import scan_picture


@pytest.mark.parametrize(
    ("size", "spacing", "axis"),
    [
        ((40, 50, 30), (1, 1, 1), 2),
        ((512, 512, 30), (0.8, 0.8, 5), 2),
        ((30, 256, 256), (4, 1, 1), 0),
        ((256, 20, 256), (1, 1, 1), 1),
        ((1, 512, 512), (1, 1, 1), 0),
    ],
)
def test_slices_lie_across_the_coarse_or_thin_axis(size, spacing, axis):
    assert slice_axis(size, spacing) == axis


@pytest.mark.parametrize(
    ("size", "spacing", "axis"),
    [
        ((140, 160, 8), (1.4, 1.4, 8), 2),  # short axis of the heart
        ((216, 256, 6), (1.92, 1.92, 5), 2),
        ((10, 256, 256), (6, 1, 1), 0),
        ((512, 512, 1), (1, 1, 1), 2),
        ((100, 8, 90), (1, 1, 1), 1),  # a thin slab of equal spacing
        ((35, 51, 35), (1, 1, 1), None),
        ((512, 512, 21), (0.8, 0.8, 5), None),  # too many slices for a picture
        ((40, 40, 20), (1, 1, 2.5), None),
        ((12, 10, 8), (1, 1, 2), None),
    ],
)
def test_a_stack_has_few_slices_that_are_coarse_or_make_a_thin_slab(size, spacing, axis):
    assert stack_axis(size, spacing) == axis


def test_eight_slices_stand_in_two_rows_of_four():
    """960 pixels hold 4 slices of 240; 120 x 60 mm are 240 x 120 pixels, and the centre changes nothing."""
    expected = [
        Panel(2, number, 124 * (number // 4), 244 * (number % 4), height=120, width=240)
        for number in range(8)
    ]

    assert panels((60, 30, 8), (2, 2, 10), (3, 3, 3)) == expected
    assert panels((60, 30, 8), (2, 2, 10), (9, 9, 7)) == expected


@pytest.mark.parametrize(
    ("slices", "shown"),
    [(1, [0]), (5, [0, 1, 2, 3, 4]), (20, [0, 2, 3, 5, 7, 9, 10, 12, 14, 16, 17, 19])],
)
def test_at_most_twelve_slices_are_shown_evenly_chosen_from_first_to_last(slices, shown):
    placed = panels((100, 100, slices), (1, 1, 5), (0, 0, 0))

    assert [panel.index for panel in placed] == shown
    assert {panel.top for panel in placed} == ({0} if slices < 6 else {0, 244, 488})


def test_each_slice_of_a_stack_is_drawn_with_its_own_labels():
    """The label of slice k covers its k-th column, counted from the patient's right on the left."""
    image = np.zeros((8, 8, 8), np.float32)
    labels = np.zeros(image.shape, np.uint8)
    for index in range(8):
        labels[7 - index, :, index] = 1

    picture = overlay_planes(image, labels, [(0, 0, 0), (230, 159, 0)], (4, 4, 4), (1, 1, 8))

    assert picture.shape == (2 * 240 + GAP, 4 * 240 + 3 * GAP, 3)
    for index in range(8):
        top, left = 244 * (index // 4), 244 * (index % 4)
        drawn = picture[top : top + 240, left : left + 240].any(axis=(0, 2))
        assert np.flatnonzero(drawn).tolist() == list(range(30 * index, 30 * (index + 1)))


def test_a_sagittal_stack_has_the_patients_front_marked_on_every_slice():
    blank = np.zeros((3, 64, 64), np.float32)

    picture = scan_picture(blank, blank.astype(np.uint8), np.diag([9.0, 1, 1, 1]), "a", [], [(0, 0, 0)])

    marks = [picture[28:48, 8 + 324 * number :][:, :20] for number in range(3)]
    assert marks[0].any()
    assert all(np.array_equal(mark, marks[0]) for mark in marks)

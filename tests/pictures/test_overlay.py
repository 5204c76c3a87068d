"""Pictures of volumes drawn by hand: orientation, colours, scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segpipe.pictures import grey_levels, label_centre, largest_slice, overlay_planes, overlay_slice
from segpipe.pictures.overlay import overlay_pair

COLORS = [(0, 0, 0), (230, 159, 0), (86, 180, 233)]
GAP = 4
SIDE = 320  # pixels of the longest side


def planes(picture, *widths):
    """Cut a picture of planes side by side into its planes of these widths."""
    assert picture.shape[1] == sum(widths) + GAP * (len(widths) - 1)
    starts = np.cumsum([0, *[width + GAP for width in widths]])
    return [picture[:, start : start + width] for start, width in zip(starts, widths, strict=False)]


def where(plane, mask):
    """Return the (row, column) of a mask's centre, each from 0 to 1."""
    rows, columns = np.nonzero(mask)
    return rows.mean() / plane.shape[0], columns.mean() / plane.shape[1]


def bright(plane):
    return plane.min(axis=-1) > 200


def coloured(plane):
    return plane.max(axis=-1).astype(int) - plane.min(axis=-1) > 20


@pytest.fixture
def landmarks():
    """Return a function that draws a bright block at the far end of an axis: right, front or top."""

    def volume(axis):
        image = np.zeros((32, 32, 32), np.float32)
        block = [slice(12, 20)] * 3
        block[axis] = slice(26, 32)
        image[tuple(block)] = 1.0
        return image

    return volume


def draw(image, label_map=None, centre=None, spacing=(1, 1, 1)):
    centre = centre or [size // 2 for size in image.shape]
    return overlay_planes(image, label_map, COLORS, centre, spacing)


def test_the_patients_right_is_on_the_left(landmarks):
    axial, coronal, sagittal = planes(draw(landmarks(0)), SIDE, SIDE, SIDE)

    assert where(axial, bright(axial))[1] < 0.2
    assert where(coronal, bright(coronal))[1] < 0.2
    assert not bright(sagittal).any()


def test_the_front_is_at_the_top_and_on_the_left_of_sagittal_planes(landmarks):
    axial, coronal, sagittal = planes(draw(landmarks(1)), SIDE, SIDE, SIDE)

    assert where(axial, bright(axial))[0] < 0.2
    assert not bright(coronal).any()
    assert where(sagittal, bright(sagittal))[1] < 0.2


def test_the_head_is_at_the_top(landmarks):
    axial, coronal, sagittal = planes(draw(landmarks(2)), SIDE, SIDE, SIDE)

    assert not bright(axial).any()
    assert where(coronal, bright(coronal))[0] < 0.2
    assert where(sagittal, bright(sagittal))[0] < 0.2


def test_labels_lie_where_their_image_lies(landmarks):
    """A label equal to the bright block covers the block in every plane."""
    for axis in range(3):
        image = landmarks(axis)
        picture = draw(image, (image > 0).astype(np.uint8))

        alone = draw(image)
        assert where(picture, coloured(picture)) == pytest.approx(where(alone, bright(alone)), abs=0.01)


def test_planes_go_through_the_centre():
    image = np.zeros((32, 32, 32), np.float32)
    image[5, 20, 9] = 1.0
    label = (image > 0).astype(np.uint8)

    for plane in planes(draw(image, label, centre=(5, 20, 9)), SIDE, SIDE, SIDE):
        assert coloured(plane).any()
    for plane in planes(draw(image, label, centre=(6, 21, 10)), SIDE, SIDE, SIDE):
        assert not coloured(plane).any()


@pytest.mark.parametrize("index", [1, 2])
def test_a_class_has_its_colour_whichever_classes_there_are(index):
    label = np.zeros((32, 32, 32), np.uint8)
    label[8:24, 8:24, 8:24] = index

    picture = draw(np.zeros((32, 32, 32)), label)

    result = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    tint = tuple(round(0.35 * part) for part in COLORS[index])
    assert result == {(0, 0, 0), COLORS[index], tint}


def test_an_outline_stands_round_the_class_and_a_tint_in_it():
    label = np.zeros((32, 32, 32), np.uint8)
    label[8:24, 8:24, 8:24] = 1

    axial = planes(draw(np.zeros((32, 32, 32)), label), SIDE, SIDE, SIDE)[0]

    assert tuple(axial[80, 160]) == COLORS[1]  # 8 voxels of 10 pixels from the top
    assert tuple(axial[79, 160]) == (0, 0, 0)
    assert tuple(axial[160, 160]) == tuple(round(0.35 * part) for part in COLORS[1])


def test_planes_are_to_one_scale():
    """20 x 40 voxels of 1 x 2 mm and 10 of 4 mm are 20 x 80 x 40 mm, at 4 pixels a mm."""
    picture = draw(np.random.default_rng(0).random((20, 40, 10)), spacing=(1, 2, 4))

    axial, coronal, sagittal = planes(picture, 80, 80, 320)
    assert picture.shape[0] == 320
    for plane, height in ((axial, 320), (coronal, 160), (sagittal, 160)):
        drawn = plane.any(axis=(1, 2))
        assert drawn[:height].mean() > 0.9
        assert not drawn[height:].any()


def test_a_few_thick_slices_of_a_large_scan_make_no_giant_picture():
    picture = draw(np.zeros((256, 256, 3), np.float32), spacing=(1, 1, 5))

    assert picture.shape == (SIDE, 3 * SIDE + 2 * GAP, 3)


def test_a_2d_image_is_drawn_as_it_lies():
    """x points right and y down, as in the image's file; pixels are 2 : 1."""
    image = np.zeros((40, 20), np.float32)
    image[30:, :5] = 1.0
    label = (image > 0).astype(np.uint8) * 2

    picture = draw(image, label, centre=(0, 0), spacing=(1, 1))

    assert picture.shape == (160, 320, 3)
    row, column = where(picture, coloured(picture))
    assert (row, column) == pytest.approx((0.125, 0.875), abs=0.02)
    assert draw(image, spacing=(1, 2), centre=(0, 0)).shape == (320, 320, 3)


def test_an_empty_label_map_draws_the_image_alone():
    image = np.random.default_rng(0).random((12, 16, 8))

    np.testing.assert_array_equal(draw(image, np.zeros(image.shape, np.uint8)), draw(image))


@pytest.mark.parametrize("value", [0, -1000, 7.5])
def test_a_constant_image_is_black(value):
    picture = draw(np.full((12, 16, 8), value))

    assert picture.dtype == np.uint8
    assert not picture.any()


def test_grey_follows_the_scan_not_its_unit():
    """One bright voxel does not make all other voxels black, and the range may be small."""
    image = np.random.default_rng(0).random((32, 32, 32))
    image[0, 0, 0] = 1e6

    picture = draw(image)

    assert 100 < picture.mean() < 150
    np.testing.assert_array_equal(draw(image * 1e-9), picture)


def test_the_centre_is_a_voxel_of_the_label():
    """The centre of gravity of a ring lies in its hole."""
    ring = np.zeros((9, 9, 3), np.uint8)
    ring[1:8, 1:8, 1] = 1
    ring[2:7, 2:7, 1] = 0

    centre = label_centre(ring)

    assert ring[centre] == 1
    assert centre[2] == 1


@given(
    label_map=arrays(
        np.uint8, st.lists(st.integers(1, 7), min_size=2, max_size=3).map(tuple), elements=st.integers(0, 2)
    ).filter(np.any)
)
@settings(max_examples=200, deadline=None)
def test_the_centre_is_the_voxel_of_any_class_that_lies_nearest_the_centre_of_gravity(label_map):
    voxels = np.argwhere(label_map)
    distances = np.linalg.norm(voxels - voxels.mean(axis=0), axis=1)

    centre = label_centre(label_map)

    assert label_map[centre] > 0
    assert np.linalg.norm(np.array(centre) - voxels.mean(axis=0)) == pytest.approx(distances.min())


def test_a_class_weighs_by_its_voxels_not_by_its_index():
    """The centre of one voxel of class 1 at 0 and one of class 9 at 8 is 4, where a third voxel lies."""
    line = np.zeros((9, 1, 1), np.uint8)
    line[[0, 4, 8], 0, 0] = 1, 1, 9

    assert label_centre(line) == (4, 0, 0)


def test_the_centre_of_an_empty_map_is_its_middle():
    assert label_centre(np.zeros((9, 8, 3), np.uint8)) == (4, 4, 1)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_grey_levels_draw_the_same_picture_as_the_scan(dtype):
    """Rounding to a byte moves a grey value by at most one, and the percentiles by the same."""
    scan = np.random.default_rng(0).normal(120, 30, (24, 20, 16)).clip(0, 255).astype(dtype)
    scan[0] = 0

    levels = grey_levels(scan)

    assert (levels.dtype, levels.min(), levels.max()) == (np.uint8, 0, 255)
    drawn, expected = (
        overlay_planes(image, None, [(0, 0, 0)], (12, 10, 8), (1.0, 1.0, 1.0)).astype(int)
        for image in (levels, scan)
    )
    assert np.abs(drawn - expected).max() <= 3


def test_grey_levels_of_a_blank_scan_are_black():
    assert not grey_levels(np.full((3, 4, 5), 700, np.int16)).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_plane_is_that_of_the_three_planes(landmarks, axis):
    """The grey window is that of the whole volume: two levels of grey, half and half."""
    image = np.zeros((32, 32, 32), np.float32)
    image[(slice(None),) * axis + (slice(16, 32),)] = 1
    image = np.moveaxis(image, axis, (axis + 1) % 3)
    labels = np.zeros(image.shape, np.uint8)
    labels[8:24, 8:24, 8:24] = 2
    centre = (9, 12, 20)
    three = planes(draw(image, labels, centre), SIDE, SIDE, SIDE)

    plain, tinted = overlay_slice(image, labels, COLORS, (1, 1, 1), axis, centre[axis])

    np.testing.assert_array_equal(tinted, three[2 - axis])
    np.testing.assert_array_equal(plain, planes(draw(image, None, centre), SIDE, SIDE, SIDE)[2 - axis])


def test_grey_is_set_for_what_lies_around_the_classes():
    """Soft tissue of 0 to 100 HU sets the window; air and bone beside it are black and white."""
    image = np.full((60, 60), -1000, np.int16)
    image[20:] = np.random.default_rng(0).integers(0, 101, (40, 60))
    image[56:] = 1500
    labels = np.zeros(image.shape, np.uint8)
    labels[35:41, 25:35] = 1

    plain, _ = overlay_slice(image, labels, COLORS, (1, 1), -1, 0)
    flat, tinted = overlay_slice(image, None, COLORS, (1, 1), -1, 0)

    assert tinted is None
    assert np.ptp(plain[:, 150:270].astype(int)) > 200  # columns 28 to 50: tissue alone
    assert np.ptp(flat[:, 150:270].astype(int)) < 30
    assert plain[:, :90].max() == 0
    assert plain[:, 305:].min() == 255


def test_pixels_of_a_plane_are_as_high_and_wide_as_they_are():
    image = np.random.default_rng(0).random((40, 20, 10))

    for axis, size in ((2, (160, 320)), (1, (320, 320)), (0, (320, 160))):
        plain, _ = overlay_slice(image, None, COLORS, (1.0, 1.0, 4.0), axis, 3)
        assert plain.shape == (*size, 3)


def test_the_largest_slice_has_most_foreground_of_all_classes():
    labels = np.zeros((6, 6, 9), np.uint8)
    labels[:2, :2, 3] = 1
    labels[:2, :2, 7] = 1
    labels[5, 5, 7] = 2

    assert largest_slice(labels, 2) == 7
    assert largest_slice(labels, 0) == 0
    assert largest_slice(np.zeros_like(labels), 2) == 4


def test_a_pair_is_the_scan_alone_and_with_its_labels(landmarks):
    """The scan is enlarged once for both; a class at the border of the volume keeps its outline."""
    image = landmarks(1) + np.random.default_rng(0).random((32, 32, 32), np.float32) / 4
    labels = np.zeros(image.shape, np.uint8)
    labels[12:32, 20:32, 10:18] = 2
    centre, spacing = (20, 28, 14), (1, 1, 2)

    plain, tinted = overlay_pair(image, labels, COLORS, centre, spacing)

    np.testing.assert_array_equal(plain, draw(image, None, centre, spacing))
    np.testing.assert_array_equal(tinted, draw(image, labels, centre, spacing))
    changed = (plain != tinted).any(axis=-1)
    assert changed.any()
    assert coloured(tinted)[changed].mean() > 0.9
    assert not coloured(plain).any()

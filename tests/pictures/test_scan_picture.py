"""Pictures of scans drawn by hand: independence of the array's orientation, rows, legend and marks."""

from itertools import permutations, product

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from segpipe.pictures import overlay_planes
from segpipe.pictures.scan_picture import scan_picture

COLORS = [(0, 0, 0), (230, 159, 0), (86, 180, 233)]
LEGEND = [("tumour", "1.5 ml", COLORS[1]), ("cyst", "0 ml", COLORS[2])]
MARGIN, LINE, GAP, SIDE = 8, 20, 4, 320  # pixels
TOP = MARGIN + LINE  # of the upper row, below the title


def draw(image, label_map, affine=None, title="case_017", legend=LEGEND):
    affine = np.eye(4) if affine is None else np.asarray(affine, float)
    return scan_picture(image, label_map, affine, title, legend, COLORS)


def rows(picture, height, width):
    """Return the upper row, the lower row, and the area below them."""
    lower = TOP + height + MARGIN
    columns = slice(MARGIN, MARGIN + width)
    return (
        picture[TOP : TOP + height, columns],
        picture[lower : lower + height, columns],
        picture[lower + height + MARGIN :],
    )


def coloured(plane):
    return plane.max(axis=-1).astype(int) - plane.min(axis=-1) > 20


def has(picture, color):
    return bool((picture == color).all(axis=-1).any())


def where(mask):
    """Return the (row, column) of a mask's centre, each from 0 to 1."""
    centre = np.argwhere(mask).mean(axis=0) / mask.shape
    return tuple(centre.tolist())


def stored(array, affine, order, flipped):
    """Return a volume with its axes in another order and direction, as another scanner stores it."""
    turned, columns = array.transpose(order), affine[:, [*order, 3]].copy()
    for axis in flipped:
        turned = np.flip(turned, axis)
        columns[:, 3] += columns[:, axis] * (turned.shape[axis] - 1)
        columns[:, axis] *= -1
    return turned, columns


@pytest.fixture(scope="module")
def patient():
    """Return an image, a label map and its affine in RAS order, with voxels of 1 x 2 x 3 mm."""
    image = np.random.default_rng(0).random((30, 12, 8)).astype(np.float32)
    label_map = np.zeros(image.shape, np.uint8)
    label_map[21:26, 7:11, 5:7] = 1  # to the right, the front and the top
    label_map[22, 8, 6] = 2
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = -40, 13, 7
    return image, label_map, affine


@pytest.fixture(scope="module")
def picture_in_ras_order(patient):
    return draw(*patient)


ALL_ORDERS = [
    (order, tuple(axis for axis in range(3) if flips[axis]))
    for order in permutations(range(3))
    for flips in product((False, True), repeat=3)
]


@pytest.mark.parametrize(("order", "flipped"), ALL_ORDERS)
def test_the_picture_is_one_whichever_way_the_array_lies(patient, picture_in_ras_order, order, flipped):
    image, label_map, affine = patient
    turned, turned_affine = stored(image, affine, order, flipped)
    turned_labels, _ = stored(label_map, affine, order, flipped)
    voxel = [np.argwhere(turned_labels == 2)[0].tolist(), np.argwhere(label_map == 2)[0].tolist()]
    np.testing.assert_allclose(turned_affine @ [*voxel[0], 1], affine @ [*voxel[1], 1])

    np.testing.assert_array_equal(draw(turned, turned_labels, turned_affine), picture_in_ras_order)


def test_the_rows_are_the_planes_through_the_labels_without_and_with_them(patient):
    """30 x 24 x 24 mm in three planes, 320 pixels for 30 mm; the upper row also has marks."""
    image, label_map, affine = patient
    spacing = (1, 2, 3)
    centre = (23, 8, 5)  # gravity at (23, 8.5, 5.5): the first of the voxels that are nearest
    plain, tinted = (overlay_planes(image, labels, COLORS, centre, spacing) for labels in (None, label_map))

    upper, lower, _ = rows(draw(image, label_map, affine), *plain.shape[:2])

    assert plain.shape[:2] == (256, 320 + 320 + 256 + 2 * GAP)
    np.testing.assert_array_equal(lower, tinted)
    np.testing.assert_array_equal(upper[LINE:], plain[LINE:])


def test_the_patients_right_is_on_the_left_the_front_and_the_head_at_the_top(patient):
    """In an array in LPS order, as in DICOM, the label lies at low x and y, and at high z."""
    label_map = np.zeros((32, 32, 32), np.uint8)
    label_map[3:7, 3:7, 25:29] = 1

    picture = draw(np.zeros((32, 32, 32), np.int16), label_map, np.diag([-1.0, -1.0, 1.0, 1.0]))

    _, lower, _ = rows(picture, SIDE, 3 * SIDE + 2 * GAP)
    axial, coronal, sagittal = (lower[:, i * (SIDE + GAP) :][:, :SIDE] for i in range(3))
    assert where(coloured(axial)) == pytest.approx((5 / 32, 5 / 32), abs=0.01)  # front, right
    assert where(coloured(coronal)) == pytest.approx((5 / 32, 5 / 32), abs=0.01)  # top, right
    assert where(coloured(sagittal)) == pytest.approx((5 / 32, 5 / 32), abs=0.01)  # top, front


@pytest.mark.parametrize("degrees", [-30, 30])
def test_an_oblique_scan_is_drawn_along_its_nearest_axes(patient, picture_in_ras_order, degrees):
    image, label_map, affine = patient
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    tilted = np.eye(4)
    tilted[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]

    np.testing.assert_array_equal(draw(image, label_map, tilted @ affine), picture_in_ras_order)


@pytest.mark.parametrize("index", [1, 2])
def test_a_class_has_its_colour_in_the_lower_row_alone(index):
    label_map = np.zeros((32, 32, 32), np.uint8)
    label_map[9, 20, 13] = index

    upper, lower, _ = rows(draw(np.zeros(label_map.shape), label_map, legend=[]), SIDE, 3 * SIDE + 2 * GAP)

    assert not coloured(upper).any()
    for i in range(3):
        plane = lower[:, i * (SIDE + GAP) :][:, :SIDE]
        assert has(plane, COLORS[index])
        assert coloured(plane).sum() == 100  # one voxel of 10 x 10 pixels
    assert not has(lower, COLORS[3 - index])


def test_planes_of_unequal_voxels_are_to_one_scale():
    """20 x 40 voxels of 1 x 2 mm and 10 of 4 mm, stored as z, x, y, are 20 x 80 x 40 mm, at 4 pixels a mm."""
    image = np.random.default_rng(0).random((20, 40, 10)).astype(np.float32) + 1
    label_map = np.zeros(image.shape, np.uint8)
    label_map[10, 20, 5] = 1
    turned, affine = stored(image, np.diag([1.0, 2.0, 4.0, 1.0]), (2, 0, 1), (0,))
    turned_labels, _ = stored(label_map, np.eye(4), (2, 0, 1), (0,))

    _, lower, _ = rows(draw(turned, turned_labels, affine), 320, 80 + GAP + 80 + GAP + 320)

    # the labelled voxel is drawn as large as it is, in each plane
    for first, width, voxel in ((0, 80, (8, 4)), (84, 80, (16, 4)), (168, 320, (16, 8))):
        mask = coloured(lower[:, first : first + width])
        assert mask.sum() == voxel[0] * voxel[1]
        assert mask.any(axis=1).sum() == voxel[0]
        assert mask.any(axis=0).sum() == voxel[1]


def test_an_empty_label_map_shows_the_middle_twice():
    image = np.random.default_rng(0).random((32, 32, 32)).astype(np.float32)
    image[16, 16, 16] = 0

    upper, lower, _ = rows(draw(image, np.zeros(image.shape, np.uint8)), SIDE, 3 * SIDE + 2 * GAP)

    np.testing.assert_array_equal(upper[LINE:], lower[LINE:])
    np.testing.assert_array_equal(lower, overlay_planes(image, None, COLORS, (16, 16, 16), (1, 1, 1)))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float64])
def test_intensities_of_any_type_give_the_same_picture(patient, dtype):
    image, label_map, affine = patient
    whole = np.round(image * 3000)

    picture = draw(whole.astype(dtype), label_map.astype(np.int16), affine)

    np.testing.assert_array_equal(picture, draw(whole.astype(np.float32), label_map, affine))


def test_negative_intensities_are_no_large_ones():
    """In Hounsfield units, air is black and bone is white."""
    image = np.full((32, 32, 32), -1000, np.int16)
    image[:, :, :16] = 1000

    _, lower, _ = rows(draw(image, np.zeros(image.shape, np.uint8)), SIDE, 3 * SIDE + 2 * GAP)

    coronal = lower[:, SIDE + GAP :][:, :SIDE]
    assert not coronal[:155].any()
    assert (coronal[165:] == 255).all()


@pytest.mark.parametrize("spacing", [(1, 1), (1, 2)])
def test_a_slice_is_drawn_as_it_lies_twice_without_marks(spacing):
    """x points right and y down, whatever the affine."""
    image = np.random.default_rng(0).random((40, 20)).astype(np.float32)
    label_map = np.zeros(image.shape, np.uint8)
    label_map[30:, :5] = 2
    affine = np.diag([-spacing[0], -spacing[1], 1, 1])

    height = 160 * spacing[1]
    upper, lower, _ = rows(draw(image, label_map, affine), height, SIDE)

    expected = [overlay_planes(image, labels, COLORS, (0, 0), spacing) for labels in (None, label_map)]
    assert expected[0].shape == (height, SIDE, 3)
    np.testing.assert_array_equal(upper, expected[0])
    np.testing.assert_array_equal(lower, expected[1])
    assert where((lower == COLORS[2]).all(axis=-1))[1] > 0.75


def letter(text):
    """Return a letter's pixels, cropped to its outline."""
    canvas = Image.new("L", (40, 40))
    ImageDraw.Draw(canvas).text(
        (10, 10), text, 235, ImageFont.load_default(14), stroke_width=1, stroke_fill=0
    )
    return cut(np.asarray(canvas))


def cut(pixels):
    inside = np.argwhere(pixels > 0)
    (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0)
    return pixels[top : bottom + 1, left : right + 1]


def test_marks_name_the_sides_of_each_plane():
    """Axial and coronal planes are seen from the feet and from the front, sagittal ones from the patient's left."""
    upper, _, _ = rows(
        draw(np.zeros((32, 32, 32)), np.zeros((32, 32, 32), np.uint8)), SIDE, 3 * SIDE + 2 * GAP
    )

    for i, (left, right) in enumerate(("RL", "RL", "AP")):
        plane = upper[:LINE, i * (SIDE + GAP) :][:, :SIDE, 0]
        np.testing.assert_array_equal(cut(plane[:, :20]), letter(left))
        np.testing.assert_array_equal(cut(plane[:, -20:]), letter(right))
        assert not plane[:, 20:-20].any()
    assert not upper[LINE:].any()


def test_the_legend_has_a_row_for_each_class_in_its_colour():
    label_map = np.zeros((32, 32, 32), np.uint8)

    _, _, below = rows(draw(np.zeros(label_map.shape), label_map), SIDE, 3 * SIDE + 2 * GAP)

    assert [tuple(below[i * LINE + LINE // 2, MARGIN + 6].tolist()) for i in range(2)] == COLORS[1:]
    assert len(below) == 2 * LINE + MARGIN
    for i in range(2):
        text = below[i * LINE : (i + 1) * LINE, MARGIN + LINE :]
        assert text.max() > 200
        assert not coloured(text).any()


@pytest.mark.parametrize("row", [0, 1])
def test_what_is_said_of_a_class_stands_in_its_row(row):
    label_map = np.zeros((32, 32, 32), np.uint8)
    other = [(name, "7.25 ml" if i == row else text, color) for i, (name, text, color) in enumerate(LEGEND)]

    pictures = [draw(np.zeros(label_map.shape), label_map, legend=legend) for legend in (LEGEND, other)]

    _, _, differs = rows((pictures[0] != pictures[1]).any(axis=-1), SIDE, 3 * SIDE + 2 * GAP)
    assert differs[row * LINE : (row + 1) * LINE].any()
    assert (pictures[0] != pictures[1]).any(axis=-1).sum() == differs[row * LINE : (row + 1) * LINE].sum()


def test_the_title_stands_above_the_planes():
    label_map = np.zeros((32, 32, 32), np.uint8)

    one, two = (draw(np.zeros(label_map.shape), label_map, title=title) for title in ("p1/ct", "p2/ct"))

    differs = np.flatnonzero((one != two).any(axis=(1, 2)))
    assert differs.min() >= MARGIN
    assert differs.max() < TOP


@pytest.mark.parametrize("where_long", ["title", "legend"])
def test_long_texts_are_not_cut(where_long):
    """The end of a text is visible; the picture grows to hold it."""
    ends = []
    for end in "AB":
        text = "a name that goes on and on " * 8 + end
        title, legend = (
            (text, LEGEND) if where_long == "title" else ("x", [(text, "1 ml", COLORS[1]), LEGEND[1]])
        )
        ends.append(draw(np.zeros((16, 16)), np.zeros((16, 16), np.uint8), title=title, legend=legend))

    assert ends[0].shape[1] > SIDE + 2 * MARGIN
    assert not np.array_equal(*(cut(end.max(axis=-1)) for end in ends))
    assert all(not end[:, -3:].any() for end in ends)

"""Label tables: classes are identified by name, stored values are a file's encoding, and other values are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segpipe.errors import SegpipeError
from segpipe.label_values import whole_numbers
from segpipe.labels import LabelTable, check_same_labels, class_color


def row(index, name, value, color=(0, 0, 0)):
    return {"index": index, "name": name, "color": list(color), "value": value}


def lung_table():
    return LabelTable.from_rows(
        [row(0, "background", 0), row(1, "ground-glass", 85, (0, 255, 0)), row(2, "effusion", 255, (9, 8, 7))]
    )


def test_table_reads_what_it_writes():
    table = lung_table()

    assert LabelTable.from_rows(table.rows()) == table
    assert table.num_classes == 3
    assert table.names == ("background", "ground-glass", "effusion")
    assert table.foreground_names == ("ground-glass", "effusion")
    assert table.colors == ((0, 0, 0), (0, 255, 0), (9, 8, 7))
    assert table.values == (0, 85, 255)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(0, "background", 0)], r"at least one class, has 1 row"),
        ([row(0, "background", 0), row(1, "$exit()", 1)], r"row 1: the name '\$exit\(\)' begins with \$"),
        ([row(0, "background", 0), row(1, "a\x1b[2J", 1)], r"row 1: .* holds the control character U\+001B"),
        (
            [row(1, "background", 0), row(0, "tumour", 1)],
            r"indices must be 0 to 1 in this order, are \[1, 0\]",
        ),
        ([row(0, "tumour", 0), row(1, "Tumour ", 1)], r"the name tumour stands in more than one row"),
        ([row(0, "background", 3), row(1, "tumour", 3)], r"the value 3 stands in more than one row"),
        (
            [row(0, "a", 0), row(1, "b", 1, (0, 0, 256))],
            r"row 1 \(b\): color must be three .* is \[0, 0, 256\]",
        ),
        ([row(0, "a", 0), row(1, "b", 1, (0, 0))], r"row 1 \(b\): color must be three"),
        ([row(0, "a", 0), row(1, "b", 1.0)], r"row 1 \(b\): index and value must be whole numbers"),
        ([row(0, "a", 0), row(True, "b", 1)], r"row 1 \(b\): index and value must be whole numbers"),
        ([row(0, "a", 0), row(1, " ", 1)], r"row 1: name must be a text"),
        (
            [row(0, "a", 0), {"index": 1, "name": "b"}],
            r"row 1 has the keys index, name; needs index, name, color",
        ),
        ([row(0, "a", 0), {**row(1, "b", 1), "colour": "red"}], r"row 1 has the keys color, colour"),
    ],
)
def test_bad_rows_are_refused(rows, message):
    with pytest.raises(SegpipeError, match=message):
        LabelTable.from_rows(rows)


def test_stored_values_become_indices():
    stored = np.array([[0, 255], [85, 85]], np.uint8)

    indices = lung_table().to_indices(stored)

    np.testing.assert_array_equal(indices, [[0, 2], [1, 1]])
    assert indices.dtype == np.uint8


@pytest.mark.parametrize("value", [1.0000001, 0.9990001, 1.0009])
def test_a_value_that_a_slope_rounded_is_its_whole_number(value):
    stored = np.array([0.0, value])

    np.testing.assert_array_equal(whole_numbers(stored), [0.0, 1.0])
    np.testing.assert_array_equal(stored, [0.0, value])  # the caller's array is left as it was


@pytest.mark.parametrize("value", [1.002, 0.99, 0.0011])
def test_more_than_rounding_is_a_fraction(value):
    with pytest.raises(SegpipeError, match="not whole numbers"):
        whole_numbers(np.array([0.0, value]))


def test_whole_floats_are_labels_too():
    """NIfTI label maps are often stored as float32."""
    np.testing.assert_array_equal(lung_table().to_indices(np.array([0.0, 85.0], np.float32)), [0, 1])


@pytest.mark.parametrize(
    "stored", [np.array(True), np.array([[True], [False]]), np.zeros((0, 3), np.int8)], ids=str
)
def test_any_shape_and_type_of_integers(stored):
    table = LabelTable.from_rows([row(0, "background", 0), row(1, "tumour", 1)])

    indices = table.to_indices(stored)

    assert indices.shape == stored.shape
    np.testing.assert_array_equal(indices, stored.astype(int))


@pytest.mark.parametrize("far", [300, 10**7], ids=["near", "far"])
@pytest.mark.parametrize("value", [-1, 5, 10**9])
def test_a_value_below_between_or_above_those_of_classes_is_refused(value, far):
    table = LabelTable.from_rows([row(0, "background", 0), row(1, "tumour", far)])

    np.testing.assert_array_equal(table.to_indices(np.array([0, far])), [0, 1])
    with pytest.raises(SegpipeError, match=rf"value\(s\) {value} in 1 voxel"):
        table.to_indices(np.array([0, value, far]))


def test_names_decide_where_a_file_stores_other_values():
    stored = np.array([3, 2, 1])

    indices = lung_table().to_indices(stored, {1: "Effusion", 2: "background", 3: "Ground-Glass"})

    np.testing.assert_array_equal(indices, [1, 0, 2])


def test_unknown_value_names_values_voxels_and_what_is_allowed():
    stored = np.array([0, 85, 7, 7, 200], np.uint8)

    with pytest.raises(SegpipeError, match=r"value\(s\) 7, 200 in 3 voxel\(s\); allowed are 0, 85, 255"):
        lung_table().to_indices(stored)


def test_an_image_given_as_label_map_lists_ten_values_only():
    with pytest.raises(SegpipeError, match=r"1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 74 more in 84 voxel"):
        lung_table().to_indices(np.arange(85))


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf])
def test_fractions_are_no_labels(bad):
    with pytest.raises(
        SegpipeError, match=rf"not whole numbers \({bad}\) in 1 voxel\(s\).*nearest neighbour"
    ):
        lung_table().to_indices(np.array([0.0, bad]))


def test_colour_pixels_are_no_labels():
    with pytest.raises(SegpipeError, match="complex64 values; needs whole numbers"):
        lung_table().to_indices(np.zeros(2, np.complex64))


def test_file_values_of_other_classes_are_refused():
    with pytest.raises(
        SegpipeError, match=r"table has background, ground-glass, effusion.*has background, nodule"
    ):
        lung_table().to_indices(np.zeros(1), {0: "background", 1: "nodule"})


def test_several_values_can_be_one_class():
    """A table may unite classes of a data set: infected or not."""
    values = {0: "background", 1: "ground-glass", 2: "effusion", 3: "ground-glass"}

    indices = lung_table().to_indices(np.array([3, 1, 0, 2], np.uint8), values)

    np.testing.assert_array_equal(indices, [1, 1, 0, 2])


def test_indices_become_values():
    values = lung_table().to_values(np.array([2, 0, 1]))

    np.testing.assert_array_equal(values, [255, 0, 85])
    assert values.dtype == np.uint8


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(255, np.uint8), (256, np.uint16), (70000, np.uint32), (-1, np.int16), (-200, np.int16)],
)
def test_values_take_a_small_type_that_holds_them(value, dtype):
    table = LabelTable.from_rows([row(0, "background", 0), row(1, "bone", value)])

    values = table.to_values(np.array([1]))

    assert values.dtype == dtype
    assert values[0] == value


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_of_no_class_is_refused(index):
    with pytest.raises(SegpipeError, match=r"do not fit 3 classes \(0 to 2\)"):
        lung_table().to_values(np.array([0, index]))


@given(
    st.lists(st.integers(-(2**31), 2**31), min_size=2, max_size=9, unique=True),
    st.data(),
)
def test_values_and_indices_are_each_others_inverse(values, data):
    table = LabelTable.from_rows([row(index, f"class {index}", value) for index, value in enumerate(values)])
    shape = hnp.array_shapes(max_dims=3, max_side=4)
    indices = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, len(values) - 1)))

    np.testing.assert_array_equal(table.to_indices(table.to_values(indices)), indices)


def test_same_names_under_other_values_pass():
    check_same_labels(lung_table(), {2: "effusion", 1: "Ground-glass", 0: "background"})


def test_other_names_are_refused_and_both_are_shown():
    with pytest.raises(SegpipeError) as caught:
        check_same_labels(lung_table(), {0: "background", 1: "nodule"})

    assert "label table has background, ground-glass, effusion" in str(caught.value)
    assert "manifest has background, nodule" in str(caught.value)
    assert "metadata.json" in str(caught.value)


def test_classes_without_a_colour_get_some_that_differ():
    colors = [class_color(index) for index in range(22)]

    assert colors[:2] == [(0, 0, 0), (230, 159, 0)]
    assert len(set(colors)) == 22
    assert all(0 <= part <= 255 for color in colors for part in color)
    assert class_color(22) == class_color(1)

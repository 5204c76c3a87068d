"""A locator's label table and its spacing."""

import numpy as np
import pytest

from segpipe.labels import Label, LabelTable, class_color
from segpipe.planning.locator import locator_groups, locator_labels, locator_spacing


def test_all_foreground_is_one_class():
    table = LabelTable(
        tuple(
            Label(index, name, class_color(index), 2 * index) for index, name in enumerate(["air", "a", "b"])
        ),
        ignore_value=9,
    )

    assert locator_labels(table).names == ("air", "foreground")
    assert locator_labels(table).ignore_value == 9
    assert locator_groups(table) == {"foreground": ["a", "b"]}


@pytest.mark.parametrize(
    ("extent_mm", "planned_mm", "expected"),
    [
        # 400 x 400 x 500 mm3 in 65,536 cubes of 10.69 mm
        ((400, 400, 500), (1, 1, 2), [10.7, 10.7, 10.7]),
        # 30 slices of 60 mm stay; 65,536 / 30 squares of 8.558 mm in the plane
        ((400, 400, 1800), (1, 1, 60), [8.56, 8.56, 60.0]),
        ((24, 20, 27), (1, 1, 1.5), [1.0, 1.0, 1.5]),
    ],
)
def test_its_voxels_are_cubes_but_for_coarse_axes(extent_mm, planned_mm, expected):
    assert locator_spacing(np.array(extent_mm, float), np.array(planned_mm, float)) == expected

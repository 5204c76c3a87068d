"""The margin of a locator is the largest distance of foreground outside its box, and a voxel."""

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.prediction.locator import NOTHING_FOUND, Edges
from segpipe.prediction.measured_margin import Missed, margin_of, margin_text, missed_mm

VOXEL_MM = np.array([5.0, 5.0, 2.0])


def edges(low, high):
    return Edges(np.array(low, float), np.array(high, float))


def test_the_farther_side_of_each_axis_counts_in_mm():
    found, truth = edges([2, 2, 2], [6, 6, 6]), edges([1, 3, 2], [6, 8, 6])

    # x: 1 voxel below; y: 2 voxels above; z: equal
    assert missed_mm(found, truth, VOXEL_MM).tolist() == [5.0, 10.0, 0.0]
    assert missed_mm(edges([0, 0, 0], [9, 9, 9]), truth, VOXEL_MM).tolist() == [0.0, 0.0, 0.0]
    assert missed_mm(NOTHING_FOUND, truth, VOXEL_MM) is None


def test_the_margin_is_the_worst_case_and_a_voxel():
    measured = [
        Missed("a", np.array([5.0, 0.0, 1.0])),
        Missed("b", np.array([0.0, 12.34, 0.0])),
        Missed("c", None),
    ]

    margin = margin_of(measured, VOXEL_MM)

    assert margin.missed_mm == (5.0, 12.4, 1.0)
    assert margin.margin_mm == (10.0, 17.4, 3.0)
    assert (margin.worst_case, margin.cases, margin.whole_scans) == ("b", 3, 1)
    assert "at most 5 x 12.4 x 1 mm outside the locator's box (worst: b); 1 of them" in margin_text(margin)


@pytest.mark.parametrize("measured", [[], [Missed("a", None)]])
def test_a_locator_that_finds_no_region_is_refused(measured):
    with pytest.raises(
        SegpipeError, match=f"of {len(measured)} held-out cases with foreground none has a region"
    ):
        margin_of(measured, VOXEL_MM)

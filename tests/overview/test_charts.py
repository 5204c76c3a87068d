"""Histograms: the bars agree with the values."""

import re
from xml.etree import ElementTree

import pytest

from segpipe.overview.charts import histogram


def bars_of(values, unit="mm"):
    """Return the caption and the height of each bar."""
    drawn = ElementTree.fromstring(histogram(values, unit))
    return [(bar.findtext("title"), float(bar.get("height"))) for bar in drawn.iter("rect")]


def test_whole_numbers_have_a_bar_each_with_gaps():
    assert bars_of([3, 3, 5, 6, 6, 6, 6], "voxels") == [
        ("3 voxels: 2 cases", 41.0),
        ("4 voxels: 0 cases", 0.0),
        ("5 voxels: 1 case", 20.5),
        ("6 voxels: 4 cases", 82.0),
    ]


def test_one_value_is_one_bar_and_its_name():
    assert bars_of([0.9766] * 3) == [("0.9766 mm: 3 cases", 82.0)]
    assert re.findall(">([^<]*)</text>", histogram([0.9766], "mm")) == ["0.9766"]


@pytest.mark.parametrize("values", [list(range(31, 431)), [0.1 * k for k in range(400)], [1e5, 2.5, 2.5, -3]])
def test_every_case_is_in_one_of_twenty_bars(values):
    bars = bars_of(values, "")

    assert 2 < len(bars) <= 21
    assert sum(int(re.search(r": (\d+) case", text)[1]) for text, _ in bars) == len(values)
    assert re.findall(">([^<]*)</text>", histogram(values, "")) == [
        f"{min(values):.4g}",
        f"{max(values):.4g}",
    ]


def test_a_hair_of_a_millimetre_makes_no_bar_of_its_own():
    assert len(bars_of([1.0, 1.0 + 1e-9, 1.0 - 1e-9])) == 1


def test_a_bar_of_few_cases_can_be_seen():
    """One of 999 cases would be 0.1 pixel high."""
    drawn = histogram([64] * 998 + [128], "pixels")

    assert re.findall(r'height="([\d.]+)"', str(drawn))[:2] == ["82.0", "1.5"]

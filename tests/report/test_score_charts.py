"""Charts of a classification: points, bands and bars stand where their numbers say."""

import re

import numpy as np
import pytest

from segpipe.evaluation.classification.calibration_error import reliability
from segpipe.evaluation.classification.curves import Curve
from segpipe.report.score_charts import curve_chart, reliability_chart, score_histogram

LEFT, RIGHT, BOTTOM, TOP = 44.0, 344.0, 266.0, 30.0


def points(text, tag):
    (listed,) = re.findall(rf'<{tag} [^>]*points="([^"]+)"', text)
    return [tuple(map(float, pair.split(","))) for pair in listed.split()]


def test_a_roc_begins_in_the_corner_and_has_a_band():
    across = np.array([0.0, 0.5, 1.0])
    curve = Curve(across, np.array([0.5, 1, 1]), np.array([0.2, 0.8, 1]), np.array([0.7, 1, 1]), float("nan"))

    text = curve_chart(curve, "#123456", ("1 - specificity", "sensitivity"))

    middle = (BOTTOM + TOP) / 2
    assert points(text, "polyline") == [
        (LEFT, BOTTOM),
        (LEFT, middle),
        ((LEFT + RIGHT) / 2, TOP),
        (RIGHT, TOP),
    ]
    assert points(text, "polygon")[-1] == (LEFT, pytest.approx(BOTTOM - 0.2 * (BOTTOM - TOP), abs=0.1))
    assert 'stroke="#123456"' in text


def test_without_a_band_there_is_no_polygon():
    curve = Curve(np.array([0.5, 1.0]), np.array([1.0, 0.5]), np.empty(0), np.empty(0), 0.25)

    text = curve_chart(curve, "#123456", ("recall", "precision"))

    assert "polygon" not in text
    assert f'y1="{BOTTOM - 0.25 * (BOTTOM - TOP):.1f}"' in text  # guessing: the share of positives


def test_bins_of_a_reliability_diagram():
    after = reliability(np.array([0.1, 0.5, 0.5, 0.5]), np.array([0.0, 1, 1, 0]))
    before = reliability(np.array([0.9]), np.array([1.0]))

    text = reliability_chart(after, before, "#123456")

    assert text.count("<circle") == 3
    assert 'class="before"' in text
    assert "3 images: 0.667 true at probability 0.500" in text
    assert 'class="before"' not in reliability_chart(after, None, "#123456")


def test_bars_of_both_kinds():
    text = score_histogram(np.array([0.99, 0.98, 0.52]), np.array([0.01]), "#123456", 0.5)

    assert text.count('class="bar"') == 2
    assert text.count('class="absent"') == 1
    assert "<title>2 images</title>" in text
    assert f'x1="{(LEFT + RIGHT) / 2}"' in text  # the threshold


def test_counts_at_the_axis_do_not_overlap():
    text = score_histogram(np.full(5000, 0.9), np.full(3, 0.1), "#123456", None)

    heights = sorted(float(y) for y in re.findall(r'<text class="end" x="38" y="([0-9.]+)"', text))
    assert len(heights) >= 3
    assert min(np.diff(heights)) >= 15

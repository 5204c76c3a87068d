"""The content of charts, and its places."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.report.charts import MOST_POINTS, Row, against, agreement, distribution, limits_in_words


def drawn(markup, name, klass=None):
    root = ET.fromstring(str(markup))  # our own
    return [element for element in root.iter(name) if klass is None or element.get("class") == klass]


def ticks(markup):
    return [float(element.text) for element in drawn(markup, "text", "middle")[:-1]]


def test_a_dot_a_case_and_the_quartiles_at_their_values():
    chart = distribution([Row("liver", "#123456", np.array([0.2, 0.4, 0.6, np.nan, 0.8, 1.0]))], "Dice")

    dots = sorted(float(element.get("cx")) for element in drawn(chart, "circle"))
    assert len(dots) == 5
    np.testing.assert_allclose(np.diff(dots), np.diff(dots)[0], atol=0.11)
    (median,) = drawn(chart, "line", "median")
    (box,) = drawn(chart, "rect")
    assert float(median.get("x1")) == pytest.approx(dots[2], abs=0.11)
    assert float(box.get("x")) == pytest.approx(dots[1], abs=0.11)
    assert float(box.get("width")) == pytest.approx(dots[3] - dots[1], abs=0.11)
    assert {element.get("fill") for element in drawn(chart, "circle")} == {"#123456"}


def test_a_class_without_values_is_said():
    chart = distribution(
        [Row("a", "#000", np.array([1.0, 2])), Row("b", "#000", np.array([np.nan, np.inf]))], "mm"
    )

    assert [element.text for element in drawn(chart, "text", "faint")] == ["no case has a value"]


def test_many_cases_are_drawn_by_some():
    chart = distribution([Row("a", "#000", np.random.default_rng(0).random(10_000))], "Dice")

    assert len(drawn(chart, "circle")) == MOST_POINTS


def test_names_cannot_break_the_page():
    chart = str(distribution([Row("<script>&", '"', np.array([1.0]))], "<"))

    assert "<script>" not in chart
    ET.fromstring(chart)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_all_dots_lie_between_the_first_and_the_last_of_few_round_ticks(values):
    chart = distribution([Row("a", "#000", np.array(values))], "mm")

    tick_values = ticks(chart)
    assert 2 <= len(tick_values) <= 9
    lines = [float(element.get("x1")) for element in drawn(chart, "line", "grid")]
    dots = [float(element.get("cx")) for element in drawn(chart, "circle")]
    assert min(lines) - 0.11 <= min(dots)
    assert max(dots) <= max(lines) + 0.11


def test_agreement_draws_error_over_mean():
    """The references are 10, 20, 30 ml; the predictions are 1, 2 and 3 ml larger."""
    error = np.array([1.0, 2.0, 3.0])
    chart = agreement(Row("liver", "#000", error), np.array([10.0, 20.0, 30.0]))

    (bias,) = drawn(chart, "line", "median")
    limits = [float(element.get("y1")) for element in drawn(chart, "line", "limit")]
    (zero,) = drawn(chart, "line", "zero")
    dots = [(float(element.get("cx")), float(element.get("cy"))) for element in drawn(chart, "circle")]
    unit = float(zero.get("y1")) - float(bias.get("y1"))  # of 2 ml, upwards
    assert unit > 0
    for (_, y), ml in zip(dots, error, strict=True):
        assert float(zero.get("y1")) - y == pytest.approx(unit * ml / 2, abs=0.3)
    # 2 - 1.96 and 2 + 1.96 ml
    assert float(zero.get("y1")) - np.array(limits) == pytest.approx(unit * np.array([0.02, 1.98]), abs=0.3)
    across = np.diff([x for x, _ in dots])
    assert across[0] == pytest.approx(across[1], abs=0.3)  # 10.5, 21, 31.5 ml
    assert re.search("mean of predicted and true volume, ml", str(chart))


def test_agreement_in_words():
    assert limits_in_words(np.array([1.0, 2.0, 3.0, np.nan])) == (
        "bias +2 ml, limits of agreement +0.04 to +3.96 ml, 3 cases"
    )
    assert limits_in_words(np.array([1.0])) == "too few cases for limits of agreement"


def test_pictures_have_no_volume():
    assert "No case has a volume" in agreement(Row("a", "#000", np.array([np.nan])), np.array([np.nan]))


def test_one_models_cases_over_the_others():
    """On the dashed line both models are equal; a case with a value of only one model is left out."""
    chart = against(
        Row("", "#123456", np.array([0.4, 0.9, np.nan])),
        np.array([0.4, 0.5, 0.5]),
        ["Dice, U-Net", "Dice, <b>"],
        ["a", "<i>", "c"],
    )

    (line,) = drawn(chart, "line", "limit")
    slope, start = np.polyfit(
        [float(line.get("x1")), float(line.get("x2"))], [float(line.get("y1")), float(line.get("y2"))], 1
    )
    same, above = drawn(chart, "circle")
    assert float(same.get("cy")) == pytest.approx(start + slope * float(same.get("cx")), abs=0.2)
    assert float(above.get("cy")) < start + slope * float(above.get("cx")) - 10
    assert above.find("title").text == "<i>: 0.500 against 0.900"
    assert [element.text for element in drawn(chart, "text", "name")] == ["Dice, <b>, upwards"]


def test_cases_that_are_all_alike_have_an_axis_from_none_to_all():
    chart = against(Row("", "#123456", np.zeros(3)), np.zeros(3), ["A", "B"], "abc")

    assert (min(ticks(chart)), max(ticks(chart))) == (0, 1)
    assert "No case" in against(Row("", "#123456", np.full(1, np.nan)), np.zeros(1), ["A", "B"], "a")

"""The page of a comparison is one file with the figures of the comparison."""

from dataclasses import replace

import numpy as np
import pytest
from pages import require_whole, shown_at, table_of

from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.comparison import compare
from segpipe.evaluation.metrics import METRICS
from segpipe.report.comparison import comparison_warnings, write_comparison

NAMES = ("U-Net", "<b>SegNet")


def scores(dice, cases, hd95=1.0, patients=None):
    values = np.full((len(cases), len(METRICS), 2), np.nan)
    values[:, METRICS.index("dice")] = np.array(dice).T
    values[:, METRICS.index("hd95_mm")] = hd95
    return CaseScores(tuple(cases), patients, ("liver", "</script>tumour"), values)


@pytest.fixture
def comparison():
    """The models differ by .5 in case b, and by .1 in a and c; only the second has case d."""
    first = scores([[0.8, 0.2, 0.9], [0.5, 0.5, 0.5]], "abc", patients=("p", "p", "q"))
    second = scores([[0.7, 0.7, 0.8, 0.1], [0.5, 0.5, 0.5, 0.5]], "abcd", hd95=np.inf)
    return compare(first, second)


@pytest.fixture
def page(comparison, tmp_path):
    return write_comparison(NAMES, comparison, [{}, {}], tmp_path).read_text()


def test_it_is_whole_and_points_nowhere(page):
    require_whole(page)
    assert "<b>SegNet" not in page


def test_means_and_differences_stand_side_by_side(page, comparison):
    row = page.split("</h3>")[2].split("</tr>")[1]

    ours, theirs = (value["liver"]["dice"] for value in comparison.means)
    between = comparison.differences["liver"]["dice"].interval
    assert [round(value.mean, 3) for value in (ours, theirs, between)] == [0.633, 0.733, -0.1]
    assert f"0.633<small>{ours.low:.3f} to {ours.high:.3f}</small>" in row
    assert f"-0.100<small>{between.low:+.3f} to {between.high:+.3f}</small>" in row
    assert "no clear difference" in row
    assert "<small>0 of 3 cases</small>" in page


def test_the_largest_difference_comes_first(page):
    table = table_of(page)

    assert table["cases"] == ["a", "b", "c"]
    assert table["sorted"] == {"key": 4, "down": True}
    titles = ["case", "patient", *(metric["title"] for metric in table["metrics"])]
    assert titles[4] == "Dice, difference"
    assert table["values"][0][1][:3] == [0.2, 0.7, -0.5]
    assert table["values"][0][0][3:] == [1.0, "inf", None]


def test_words_and_what_is_left_out(page, comparison):
    assert not comparison.differences["liver"]["dice"].differs
    assert "No difference has an interval that leaves out 0." in page
    assert "1 case was scored for &lt;b&gt;SegNet only, and left out: d" in page


def test_what_makes_figures_mean_less_is_told_first(comparison, tmp_path):
    summaries = [
        {
            "about": {"warnings": ["NOT HELD OUT: x"], "manifest": {"name": "a", "sha256": "1" * 64}},
            "tolerance_mm": 1,
        },
        {"about": {"manifest": {"name": "a", "sha256": "2" * 64}}, "tolerance_mm": 2},
    ]

    warnings = comparison_warnings(NAMES, comparison, summaries)

    assert warnings[0] == "U-Net: NOT HELD OUT: x"
    assert "the two have different tolerances of the surface Dice (mm): 1 and 2" in warnings[1]
    assert (
        "the two were scored with different manifests: a (111111111111) and a (222222222222)" in warnings[2]
    )
    page = write_comparison(NAMES, comparison, summaries, tmp_path).read_text()
    assert page.index("NOT HELD OUT: x") < page.index("<h2>Result in words</h2>")


def with_volumes(scores, liver_ml):
    values = scores.values.copy()
    values[:, METRICS.index("reference_ml"), 0] = liver_ml
    return replace(scores, values=values)


def test_other_references_are_told_by_their_volumes_where_there_is_no_hash():
    """The second reference of b is smaller; the first of c is unknown; those of d differ by a header's rounding."""
    four_cases = scores(np.full((2, 4), 0.5), "abcd")
    both = compare(
        with_volumes(four_cases, [3.0, 2.0, np.nan, 1.0]), with_volumes(four_cases, [3.0, 1.9, 1.0, 1.00001])
    )

    (warning,) = comparison_warnings(NAMES, both, [{}, {}])

    assert "the two were scored against different references in 1 case: b." in warning


def test_classes_are_drawn_as_in_the_evaluations(comparison, tmp_path):
    colors = {"liver": [1, 2, 3], "</script>tumour": [255, 0, 0]}

    page = write_comparison(NAMES, comparison, [{"colors": colors}, {}], tmp_path).read_text()

    assert 'fill="#010203"' in page


@pytest.mark.slow
def test_ten_thousand_cases_stay_in_a_few_megabytes(tmp_path):
    random = np.random.default_rng(0)
    cases = [f"case_{number:05d}" for number in range(10_000)]
    both = [scores(random.uniform(0.5, 1, (2, 10_000)), cases) for _ in NAMES]

    path = write_comparison(NAMES, compare(*both), [{}, {}], tmp_path)

    assert path.stat().st_size < 5e6
    assert len(table_of(path.read_text())["cases"]) == 10_000


@pytest.mark.browser
class TestInABrowser:
    @pytest.fixture
    def opened(self, browser, comparison, tmp_path):
        browser.get(f"file://{write_comparison(NAMES, comparison, [{}, {}], tmp_path)}")
        return browser

    def test_cases_stand_by_how_much_they_differ(self, opened):
        from selenium.webdriver.support.ui import Select

        Select(opened.find_element("id", "class")).select_by_visible_text("liver")
        rows = opened.find_elements("css selector", "#cases tbody tr")

        assert rows[0].find_element("tag name", "td").text == "b"
        assert rows[0].find_elements("tag name", "td")[4].text == "-0.500"
        assert opened.get_log("browser") == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1280, 390])
    def test_nothing_is_wider_than_the_screen(self, opened, width, scheme):
        assert shown_at(opened, width, scheme) <= width

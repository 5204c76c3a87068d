"""The page is one complete file with the figures of the files beside it."""

import re
from dataclasses import replace

import numpy as np
import pytest
from pages import require_whole, table_of

from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.metrics import METRICS, CaseMetrics
from segpipe.evaluation.scoring import files_by_name
from segpipe.evaluation.summary import summarise
from segpipe.report.context import ReportContext, context_rows, program
from segpipe.report.example_cases import example_cases
from segpipe.report.page import render_report
from segpipe.report.write import write_report


def page(scores, summary, cards=(), context=None):
    return render_report(
        "Evaluation", scores, summary, cards, context or ReportContext(), [row.case for row in scores.rows]
    )


def test_the_page_is_whole_and_points_nowhere(scores, summary):
    text = page(scores, summary, example_cases(scores, {}))

    require_whole(text)
    assert "<b>tumour" not in text


def test_its_table_holds_the_scores(scores, summary):
    content = table_of(page(scores, summary))
    cases = CaseScores.of(scores)

    assert content["cases"] == ["p1_a", "p1_b", "p2_a"]
    assert content["patients"] == ["p1", "p1", "p2"]
    assert content["classes"][-1] == "mean of classes"
    titles = [metric["title"] for metric in content["metrics"]]
    for title, name in (("Dice", "dice"), ("HD95, mm", "hd95_mm"), ("volume error, ml", "volume_error_ml")):
        for index in range(2):
            shown = [row[titles.index(title)] for row in content["values"][index]]
            known = cases.values[:, METRICS.index(name), index]
            assert [np.inf if value == "inf" else value for value in shown] == pytest.approx(known, abs=1e-5)


def test_means_intervals_and_what_was_missed_are_told(scores, summary):
    text = page(scores, summary)

    dice = summary.by_class["liver"]["dice"].interval
    assert f"{dice.mean:.3f}<small>{dice.low:.3f} to {dice.high:.3f}</small>" in text
    assert re.search("<small>[0-9]+ of [0-9]+ cases</small>", text)
    assert "Patients are drawn with all their cases" in text


def test_cases_without_a_partner_are_told(scores, summary):
    text = page(replace(scores, without_prediction=("lost",), without_reference=("x", "y")), summary)

    assert "1 reference has no prediction, and no score counts it: lost" in text
    assert "2 predictions have no reference: x, y" in text


def test_one_case_has_no_interval(scores):
    one = replace(scores, rows=scores.rows[:1])

    assert "there are too few for an interval" in page(one, summarise(one))


def test_few_patients_have_intervals_that_are_too_narrow(scores):
    several = [replace(row, patient=f"{number}") for number, row in enumerate(scores.rows * 4)]
    many = replace(scores, rows=tuple(several))

    assert "with fewer than 10 patients the intervals are too narrow" in page(scores, summarise(scores))
    assert "too narrow" not in page(many, summarise(many))


def test_a_case_without_a_surface_does_not_blame_the_file_format(scores):
    rows = []
    for row in scores.rows:
        values = np.full_like(row.metrics.surface_dice, np.nan)
        rows.append(replace(row, metrics=replace(row.metrics, surface_dice=values)))
    empty = replace(scores, rows=tuple(rows))

    text = page(empty, summarise(empty))

    assert "No case has a surface, so there are no distances." in text
    assert "say nothing of millimetres" not in text


@pytest.mark.parametrize(
    ("has_surface", "axes_mm", "expected_text"),
    [
        (True, (1.0, 1.0), "Surfaces agree within 1 mm."),
        (True, None, "PNG and JPEG have no spacing in mm, so there are no distances."),
        (False, (1.0, 1.0), "No case has a surface, so there are no distances."),
    ],
)
def test_why_slices_have_no_distances(scores, has_surface, axes_mm, expected_text):
    """Only PNG and JPEG lack millimetres."""
    reference = np.zeros((3, 3), np.uint8)
    reference[1, 1] = has_surface
    metrics = CaseMetrics.of(reference, reference, 3, axes_mm)
    one = replace(scores, rows=(replace(scores.rows[0], metrics=metrics),))

    assert f"the table says of how many cases a mean is. {expected_text}</p>" in page(one, summarise(one))


def test_a_class_that_is_nowhere_has_dashes(scores):
    """The other classes still have their intervals."""
    rows = []
    for row in scores.rows:
        changed = {name: getattr(row.metrics, name).copy() for name in METRICS}
        for values in changed.values():
            values[0] = np.nan
        rows.append(replace(row, metrics=replace(row.metrics, **changed)))
    nowhere = replace(scores, rows=tuple(rows))

    text = page(nowhere, summarise(nowhere))

    require_whole(text)
    assert "liver</td>\n<td>\u2013</td>" in text
    assert "no case has a value" in text
    assert "there are too few for an interval" not in text


def test_ten_thousand_cases_stay_in_a_few_megabytes(scores):
    many = replace(scores, rows=scores.rows * 3400)
    text = page(many, summarise(many))

    assert len(table_of(text)["cases"]) == 10_200
    assert len(text) < 5e6


def test_what_was_scored_is_told(scores, summary, tmp_path, evaluated):
    context = ReportContext(
        lead="Of a <network>.",
        sections=[("Data", context_rows([("source", "/data/<labels>"), ("patient", None)]))],
        configurations=[("Configuration", "window: <script>")],
    )

    write_report(
        scores, summary, tmp_path, files_by_name(evaluated / "images"), context.by({"commit": "abc"})
    )

    text = (tmp_path / "report.html").read_text()
    assert "<dd>/data/&lt;labels&gt;</dd>" in text
    assert "<dt>patient</dt>" not in text
    assert "Of a &lt;network&gt;." in text
    assert "<pre>window: &lt;script&gt;</pre>" in text
    assert "<dt>commit</dt><dd>abc</dd>" in text
    assert text.count('src="data:image/png') == 6


@pytest.mark.slow
def test_cases_without_a_scan_are_told(scores, summary, tmp_path, evaluated):
    images = files_by_name(evaluated / "images")

    def drawn(*names):
        write_report(scores, summary, tmp_path, {name: images[name] for name in names}, ReportContext())
        return (tmp_path / "report.html").read_text()

    assert "The scans were not given, so only label maps are drawn." in drawn()
    assert "For 2 of 3 cases no scan was given, so only their label maps are drawn: p1_b, p2_a." in drawn(
        "p1_a"
    )
    assert "no scan was given" not in drawn(*images)


def test_warnings_stand_before_the_figures(scores, summary):
    text = page(scores, summary, context=ReportContext(warnings=["trained on <3> of them"]))

    assert text.index("trained on &lt;3&gt; of them") < text.index("<h2>Scores</h2>")
    assert 'role="alert"' not in page(scores, summary)


def test_why_a_case_has_no_prediction_is_told(scores, summary):
    lost = replace(scores, without_prediction=("lost",), reasons={"lost": "<truncated>"})

    assert "<dt>lost</dt><dd>&lt;truncated&gt;</dd>" in page(lost, summary)


def test_the_program_is_told():
    """The page states command, commit and versions."""
    assert {"command", "commit", "segpipe", "versions"} < set(program())

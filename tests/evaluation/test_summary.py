"""The summary of cases: means over patients, missing values, and the files."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.coding import Coding
from segpipe.evaluation.metrics import METRICS, CaseMetrics
from segpipe.evaluation.scored_cases import CaseScore, ScoredCases
from segpipe.evaluation.summary import summarise, write_scores
from segpipe.labels import LabelTable

TABLE = LabelTable.from_rows(
    {"index": index, "name": name, "color": [0, 0, 0], "value": index}
    for index, name in enumerate(["background", "liver, left", "tumour"])
)


def scores(*cases, patients=None):
    """Score pairs of label maps; each label map is a row of voxels."""
    rows = tuple(
        CaseScore(
            f"c{number}",
            patients[number] if patients else f"c{number}",
            CaseMetrics.of(
                *(np.array(classes).reshape(-1, 1, 1) for classes in case), TABLE.num_classes, (1.0, 1.0, 1.0)
            ),
            "abc" * 20,
            "abc" * 20,
        )
        for number, case in enumerate(cases)
    )
    return ScoredCases(Coding(TABLE), rows, ("lost",), ("extra",), 1.0, patients is not None)


HALF = ([1, 1, 0, 0], [0, 1, 1, 0])  # Dice 1/2 of the liver, no tumour
WHOLE = ([1, 1, 2, 0], [1, 1, 2, 0])
MISSED = ([1, 1, 0, 0], [1, 1, 2, 0])  # the tumour


def test_means_by_class_and_over_classes():
    result = summarise(scores(HALF, WHOLE, MISSED))

    liver, tumour = result.by_class["liver, left"], result.by_class["tumour"]
    assert liver["dice"].interval.mean == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert liver["dice"].median == 1
    assert tumour["dice"].interval.mean == pytest.approx(1 / 2)
    assert tumour["dice"].interval.cases == 2
    # each case's classes first: 1/2, 1, 1/2
    assert result.all_classes["dice"].interval.mean == pytest.approx(2 / 3)


def test_a_missed_class_has_no_part_in_a_mean_distance_but_is_counted():
    result = summarise(scores(WHOLE, MISSED, MISSED))
    hd95 = result.by_class["tumour"]["hd95_mm"]

    assert hd95.interval.mean == 0
    assert hd95.cases_in_words(3) == "1 of 3 cases"
    assert result.by_class["tumour"]["dice"].cases_in_words(3) == ""
    assert (hd95.interval.cases, hd95.interval.infinite) == (1, 2)
    assert hd95.median == np.inf
    assert result.all_classes["hd95_mm"].interval.infinite == 2


def test_cases_of_one_patient_are_drawn_together():
    cases = [*[HALF] * 4, *[WHOLE] * 4] * 2
    apart, together = (
        summarise(scores(*cases, patients=patients)).by_class["liver, left"]["dice"].interval
        for patients in (None, [name for name in "abcd" for _ in range(4)])
    )

    assert (apart.patients, together.patients) == (16, 4)
    assert apart.mean == together.mean == 0.75
    assert together.high - together.low > 1.3 * (apart.high - apart.low)


def test_confusions_add_up():
    result = summarise(scores(HALF, MISSED))

    assert result.confusion.tolist() == [[2, 1, 0], [1, 3, 0], [1, 0, 0]]
    assert result.pooled.dice.tolist() == pytest.approx([6 / 8, 0])


def test_a_class_that_is_nowhere_has_no_figure():
    tumour = summarise(scores(HALF, HALF)).by_class["tumour"]

    assert tumour["dice"].interval.cases == 0
    assert np.isnan(tumour["dice"].interval.mean)
    assert tumour["dice"].as_plain() == {
        "mean": None,
        "low": None,
        "high": None,
        "median": None,
        "cases": 0,
        "patients": 0,
        "infinite": 0,
    }


def test_files(tmp_path):
    two_cases = scores(HALF, MISSED, patients=["p", "q"])

    write_scores(two_cases, summarise(two_cases), tmp_path, {"made": "by hand"})

    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["patient"], row["class"]) for row in rows] == [
        ("c0", "p", "liver, left"),
        ("c0", "p", "tumour"),
        ("c1", "q", "liver, left"),
        ("c1", "q", "tumour"),
    ]
    assert list(rows[0])[3:] == list(METRICS)
    assert float(rows[0]["dice"]) == 0.5
    assert rows[1]["dice"] == ""
    assert rows[3]["hd95_mm"] == "inf"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["about"] == {"made": "by hand"}
    assert (summary["cases"], summary["patients"]) == (2, 2)
    assert summary["without_prediction"] == ["lost"]
    assert summary["without_reference"] == ["extra"]
    assert summary["classes"]["tumour"]["hd95_mm"]["mean"] is None
    assert summary["classes"]["tumour"]["hd95_mm"]["infinite"] == 1
    assert summary["pooled"]["sensitivity"]["tumour"] == 0
    assert summary["confusion"]["voxels"] == [[2, 1, 0], [1, 3, 0], [1, 0, 0]]
    # the pairs of HALF and of MISSED: reference, prediction, voxels
    assert summary["confusion"]["cases"] == {
        "c0": [[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]],
        "c1": [[0, 0, 1], [1, 1, 2], [2, 0, 1]],
    }


def test_hashes_of_references_stand_under_composed_names(tmp_path):
    """Names of cases are composed when scores are read."""
    one_case = scores(HALF)
    one_case = replace(one_case, rows=(replace(one_case.rows[0], case="a\u0308"),))

    write_scores(one_case, summarise(one_case), tmp_path, {})

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["references_sha256"]) == list(CaseScores.read(tmp_path).cases) == ["\u00e4"]


def test_unknown_patients_are_not_made_up(tmp_path):
    two_cases = scores(HALF, WHOLE)

    write_scores(two_cases, summarise(two_cases), tmp_path, {})

    assert json.loads((tmp_path / "summary.json").read_text())["patients"] is None
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1].startswith("c0,,")

"""The table of a classification: columns, rows, and what is refused."""

import numpy as np
import pytest

from segpipe.csv_files import read_csv
from segpipe.errors import SegpipeError
from segpipe.inference.prediction_rows import (
    NOT_COMPARED,
    most_probable,
    prediction_columns,
    prediction_row,
    write_predictions,
)
from segpipe.inference.prediction_table import checked_probabilities

NAMES = ("CNV", "DME", "DRUSEN", "NORMAL")


def test_columns():
    assert prediction_columns(NAMES) == (
        *("image", "p_CNV", "p_DME", "p_DRUSEN", "p_NORMAL"),
        *("top1", "top2", "top3", "decision", "warnings"),
    )
    assert prediction_columns(("a", "b")) == ("image", "p_a", "p_b", "top1", "top2", "decision", "warnings")


def test_equal_probabilities_keep_the_order_of_the_names():
    assert most_probable(NAMES, [0.1, 0.4, 0.1, 0.4]) == ["DME", "NORMAL", "CNV"]


def test_a_table_is_sorted_and_has_six_significant_digits(tmp_path):
    """A probability far below one part in a million keeps its rank among others."""
    rows = [
        prediction_row("b.png", NAMES, [1 - 3e-9, 1e-9, 2e-9, 0.0], "CNV"),
        prediction_row("a.png", NAMES, [0.12345678, 0.5, 0.2, 0.17654322], "DME"),
    ]

    write_predictions(tmp_path, NAMES, rows)

    text = (tmp_path / "predictions.csv").read_text().splitlines()
    assert text[1] == f"a.png,0.123457,0.5,0.2,0.176543,DME,DRUSEN,NORMAL,DME,{NOT_COMPARED}"
    assert text[2] == f"b.png,1,1e-09,2e-09,0,CNV,DRUSEN,DME,CNV,{NOT_COMPARED}"


def test_no_name_runs_as_a_formula(tmp_path):
    names = ("=1+1", "@b")
    write_predictions(tmp_path, names, [prediction_row("=cmd.png", names, [0.9, 0.1], "=1+1")])

    cells = (tmp_path / "predictions.csv").read_text().splitlines()[1].split(",")
    assert [cells[0], cells[3], cells[4], cells[5]] == ["'=cmd.png", "'=1+1", "'@b", "'=1+1"]
    (row,) = read_csv(tmp_path / "predictions.csv")
    assert (row["image"], row["p_=1+1"], row["decision"]) == ("=cmd.png", "0.9", "=1+1")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, 0.9], r"a\.png: the network gives values of shape \(2,\), must be \(3,\)"),
        ([0.1, np.nan, np.inf], r"a\.png: 2 of 3 values of the network are NaN or infinite"),
    ],
)
def test_values_that_are_refused(values, message):
    with pytest.raises(SegpipeError, match=message):
        checked_probabilities("a.png", np.array(values), 3)

"""Scores are written to `metrics.csv` and read back."""

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.metrics import METRICS


@pytest.fixture
def scores():
    values = np.random.default_rng(0).random((3, len(METRICS), 2)).round(6)
    values[1, :, 0] = np.nan
    values[2, METRICS.index("hd95_mm"), 1] = np.inf
    return CaseScores(("a", "sub/b", 'c, "left"'), ("p", "p", "q"), ("liver", "tumour, large"), values)


def test_a_table_is_read_as_it_was_written(scores, tmp_path):
    (tmp_path / "metrics.csv").write_text(scores.as_csv())

    for path in (tmp_path, tmp_path / "metrics.csv"):
        read = CaseScores.read(path)
        assert (read.cases, read.patients, read.class_names) == (
            scores.cases,
            scores.patients,
            scores.class_names,
        )
        np.testing.assert_array_equal(read.values, scores.values)


def test_patients_that_are_not_known_stay_so(scores, tmp_path):
    unknown = CaseScores(scores.cases, None, scores.class_names, scores.values)
    (tmp_path / "metrics.csv").write_text(unknown.as_csv())

    read = CaseScores.read(tmp_path)

    assert read.patients is None
    assert read.drawn == scores.cases


def test_names_are_composed(scores, tmp_path):
    """File names are composed too, so that scores of both sources have common cases."""
    apart = CaseScores(("fa\u0308", "b", "c"), ("a\u0308", "a\u0308", "q"), scores.class_names, scores.values)
    (tmp_path / "metrics.csv").write_text(apart.as_csv(), encoding="utf-8")

    read = CaseScores.read(tmp_path)

    assert read.cases == ("f\u00e4", "b", "c")
    assert read.patients == ("\u00e4", "\u00e4", "q")


def test_means_over_the_classes_that_a_case_has(scores):
    dice = scores.class_means[:, METRICS.index("dice")]

    assert dice[0] == pytest.approx(scores.values[0, 0].mean())
    assert dice[1] == scores.values[1, 0, 1]
    assert scores.class_means[2, METRICS.index("hd95_mm")] == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: None, "cannot be read: .*No such file.*give a folder that"),
        (lambda text: text.replace("iou", "jaccard"), "has no column iou"),
        (lambda text: text.rsplit(",", 1)[0], "has rows of another length"),
        (lambda text: text.splitlines()[0], "0 rows for 0 cases and 0 classes"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "5 rows for 3 cases and 2 classes"),
        (lambda text: text + text.splitlines()[-1], "7 rows for 3 cases and 2 classes"),
        (lambda text: text.replace("inf", "far"), "'far' is no number"),
    ],
    ids=["missing", "column", "short", "empty", "class", "twice", "text"],
)
def test_a_table_that_is_none_is_refused(scores, tmp_path, change, message):
    text = change(scores.as_csv())
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)

    with pytest.raises(SegpipeError, match=rf"metrics\.csv: {message}"):
        CaseScores.read(tmp_path)

"""The choice of the example cases, and their drawings."""

from dataclasses import replace

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.report.example_cases import example_cases
from segpipe.volumes import Grid, write_volume


def images(evaluated):
    return {path.name.removesuffix(".nii.gz"): path for path in (evaluated / "images").iterdir()}


def test_worst_median_and_best(scores, evaluated):
    worst, median, best = example_cases(scores, images(evaluated))

    assert [(example.place, example.case) for example in (worst, median, best)] == [
        ("Worst", "p2_a"),
        ("Median", "p1_b"),
        ("Best", "p1_a"),
    ]
    assert (
        best.scores_in_words == "liver: Dice 1.000, HD95 0.0 mm; </script> <b>tumour: Dice 1.000, HD95 0.0 mm"
    )
    assert "tumour: Dice 0.000" in worst.scores_in_words
    assert "HD95" not in worst.scores_in_words.split("tumour")[1]
    np.testing.assert_array_equal(best.reference, best.prediction)
    assert (worst.reference != worst.prediction).any()


def test_without_scans_the_label_maps_stand_on_black(scores, evaluated):
    (worst, *_), (with_scan, *_) = example_cases(scores, {}), example_cases(scores, images(evaluated))

    assert worst.reference.shape == with_scan.reference.shape
    assert (worst.reference == 0).mean() > 0.5
    assert (with_scan.reference == 0).mean() < 0.5


def test_few_cases_are_drawn_once(scores):
    (only,) = example_cases(replace(scores, rows=scores.rows[:1]), {})
    first, second = example_cases(replace(scores, rows=scores.rows[:2]), {})

    assert only.place == "Worst"
    assert (first.case, second.case) == ("p1_b", "p1_a")


def test_a_scan_on_another_grid_is_refused(scores, tmp_path):
    write_volume(
        np.ones((3, 3, 3), np.int16), Grid.from_affine((3, 3, 3), np.eye(4)), tmp_path / "other.nii.gz"
    )

    with pytest.raises(
        SegpipeError, match=r"other\.nii\.gz: the scan lies on another grid than the reference"
    ):
        example_cases(scores, {"p2_a": tmp_path / "other.nii.gz"})

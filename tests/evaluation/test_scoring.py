"""Who is scored against whom, what is refused, and what stands in metrics.csv."""

import math

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.evaluation.scoring import score_folder
from segpipe.labels import LabelTable
from segpipe.volumes import Grid, write_label_map, write_volume

TABLE = LabelTable.from_rows(
    [
        {"index": 0, "name": "background", "color": [0, 0, 0], "value": 0},
        {"index": 1, "name": "ground-glass", "color": [0, 255, 0], "value": 85},
        {"index": 2, "name": "effusion", "color": [0, 0, 255], "value": 170},
    ]
)


def write(path, values, spacing=1.0):
    """Write a label map of the given voxel values, in a row along x."""
    labels = np.array(values, np.uint8).reshape(-1, 1, 1)
    grid = Grid.from_affine(labels.shape, np.diag([spacing, 1.0, 1.0, 1.0]))
    write_label_map(labels, grid, path)


@pytest.fixture
def folders(tmp_path):
    """Two cases: `a` with Dice 2/3 and 1, and `sub/b` with effusion in neither map."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    write(predictions / "a.nii.gz", [0, 85, 0, 170])
    write(references / "a.nii.gz", [0, 85, 85, 170])
    write(predictions / "sub" / "b.nrrd", [0, 85])
    write(references / "sub" / "b.nii.gz", [0, 85])
    return predictions, references


def test_rows_and_means(folders):
    scores = score_folder(*folders, TABLE)

    assert scores.class_names == ("ground-glass", "effusion")
    assert [row.case for row in scores.rows] == ["a", "sub/b"]
    assert scores.rows[0].dice == pytest.approx((2 / 3, 1.0))
    assert scores.rows[0].mean == pytest.approx(5 / 6)
    # b has no effusion: it counts in no mean of that class
    assert scores.rows[1].mean == 1.0
    assert scores.class_means() == [("ground-glass", pytest.approx(5 / 6), 2), ("effusion", 1.0, 1)]
    assert scores.mean == pytest.approx(11 / 12)


def test_metrics_csv(folders, tmp_path):
    score_folder(*folders, TABLE, tmp_path / "out")

    assert (tmp_path / "out" / "metrics.csv").read_text() == (
        "case,dice_ground-glass,dice_effusion,mean\na,0.666667,1.000000,0.833333\nsub/b,1.000000,,1.000000\n"
    )


def test_without_table_every_value_is_a_class(folders):
    assert score_folder(*folders).class_names == ("85", "170")


def test_cases_without_partner_are_listed(folders):
    predictions, references = folders
    write(predictions / "extra.nii.gz", [0])
    write(references / "failed.nii.gz", [85])

    scores = score_folder(predictions, references, TABLE)

    assert scores.without_reference == ("extra",)
    assert scores.without_prediction == ("failed",)
    assert len(scores.rows) == 2


def test_case_without_any_foreground_has_no_mean(tmp_path):
    for side in ("p", "r"):
        write(tmp_path / side / "a.nii.gz", [0, 0])

    scores = score_folder(tmp_path / "p", tmp_path / "r", TABLE, tmp_path)

    assert math.isnan(scores.mean)
    assert (tmp_path / "metrics.csv").read_text().endswith("\na,,,\n")


def test_other_grid_is_refused(folders):
    predictions, references = folders
    write(predictions / "a.nii.gz", [0, 85, 0, 170], spacing=2.0)

    with pytest.raises(
        SegpipeError, match=r"a: prediction and reference grids differ: spacing \(2, 1, 1\) vs"
    ):
        score_folder(predictions, references, TABLE)


def test_value_of_no_class_names_the_file(folders):
    predictions, references = folders
    write(predictions / "a.nii.gz", [0, 1, 1, 170])

    with pytest.raises(
        SegpipeError, match=r"predictions/a\.nii\.gz: .* 1 in 2 voxel.*allowed are 0, 85, 170"
    ):
        score_folder(predictions, references, TABLE)


def test_no_common_name(folders, tmp_path):
    write(tmp_path / "others" / "x.nii.gz", [0])

    with pytest.raises(
        SegpipeError, match=r"no label map in .* has a reference .*: x against a, sub/b; names are"
    ):
        score_folder(tmp_path / "others", folders[1], TABLE)


def test_two_files_of_one_name(folders):
    predictions, references = folders
    write(predictions / "a.mha", [0, 85, 85, 170])

    with pytest.raises(SegpipeError, match=r"a\.nii\.gz and .*a\.mha have one name .*which of them counts\?"):
        score_folder(predictions, references, TABLE)


def test_missing_folder(folders, tmp_path):
    with pytest.raises(SegpipeError, match="none: no such folder; give a folder of label maps"):
        score_folder(tmp_path / "none", folders[1], TABLE)


def test_images_are_no_label_maps(tmp_path):
    ramp = np.arange(600, dtype=np.int16).reshape(10, 10, 6)
    for side in ("p", "r"):
        write_volume(ramp, Grid.from_affine(ramp.shape, np.eye(4)), tmp_path / side / "a.nii.gz")

    with pytest.raises(SegpipeError, match=r"600 different values; .* these look like images"):
        score_folder(tmp_path / "p", tmp_path / "r")


def test_fractions_are_refused_without_table_too(tmp_path):
    halves = np.full((2, 2, 2), 0.5, np.float32)
    for side in ("p", "r"):
        write_volume(halves, Grid.from_affine(halves.shape, np.eye(4)), tmp_path / side / "a.nii.gz")

    with pytest.raises(SegpipeError, match=r"a\.nii\.gz: label map holds values that are not whole numbers"):
        score_folder(tmp_path / "p", tmp_path / "r")


def test_background_everywhere_needs_a_table(tmp_path):
    for side in ("p", "r"):
        write(tmp_path / side / "a.nii.gz", [0, 0])

    with pytest.raises(SegpipeError, match=r"background \(0\) only; give the label table"):
        score_folder(tmp_path / "p", tmp_path / "r")

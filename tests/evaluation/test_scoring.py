"""Pairs of predictions and references, refused inputs, and the content of metrics.csv."""

from dataclasses import replace

import numpy as np
import pytest

from segpipe.errors import SegpipeError
from segpipe.evaluation.scoring import files_by_name, score_folder
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
    """Two cases: `a` has Dice 2/3 and 1; `sub/b` has effusion in neither map."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    write(predictions / "a.nii.gz", [0, 85, 0, 170])
    write(references / "a.nii.gz", [0, 85, 85, 170])
    write(predictions / "sub" / "b.nrrd", [0, 85])
    write(references / "sub" / "b.nii.gz", [0, 85])
    return predictions, references


def test_rows(folders):
    scores = score_folder(*folders, TABLE)

    assert scores.table == TABLE
    assert [(row.case, row.patient) for row in scores.rows] == [("a", "a"), ("sub/b", "sub/b")]
    assert scores.rows[0].metrics.dice == pytest.approx([2 / 3, 1.0])
    np.testing.assert_array_equal(scores.rows[1].metrics.dice, [1.0, np.nan])
    assert scores.rows[0].metrics.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_millimetres_are_those_of_the_grid(tmp_path):
    """A voxel is 3 x 1 x 1 mm, and the prediction is one voxel too long."""
    write(tmp_path / "p" / "a.nii.gz", [85, 85, 85, 0], spacing=3.0)
    write(tmp_path / "r" / "a.nii.gz", [85, 85, 0, 0], spacing=3.0)

    (row,) = score_folder(tmp_path / "p", tmp_path / "r", TABLE, tolerance_mm=2.9).rows

    assert row.metrics.asd_mm[0] == pytest.approx(3 / 5)
    assert row.metrics.surface_dice[0] == pytest.approx(4 / 5)
    assert row.metrics.volume_error_ml[0] == pytest.approx(0.003)


@pytest.mark.parametrize("suffixes", [(".png", ".png"), (".png", ".nii.gz"), (".nii.gz", ".png")])
def test_pictures_have_no_millimetres(tmp_path, suffixes):
    """Dots per inch are no measure of the patient, so there is no distance instead of one in pixels."""
    labels = np.zeros((8, 6), np.uint8)
    labels[2:5, 1:4] = 85
    for folder, suffix, label_map in zip("pr", suffixes, (np.roll(labels, 1, 0), labels), strict=True):
        write_label_map(
            label_map, Grid.from_affine((8, 6), np.diag([-1, -1, 1, 1])), tmp_path / folder / f"a{suffix}"
        )

    metrics = score_folder(tmp_path / "p", tmp_path / "r", TABLE).rows[0].metrics

    assert metrics.dice[0] == pytest.approx(2 / 3)
    assert metrics.lesion_f1[0] == 1
    for name in ("hd95_mm", "asd_mm", "surface_dice", "reference_ml", "volume_error_ml"):
        assert np.isnan(getattr(metrics, name)).all()


def hash_of(folder, table):
    return score_folder(folder, folder, table).rows[0].reference_sha256


def test_a_reference_is_the_same_whatever_its_format_axes_and_table(tmp_path):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 2, 1:4], labels[3, 3, 3] = 85, 170
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    turned = affine @ np.array([[0, -1, 0, 3], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    write_label_map(labels, Grid.from_affine(labels.shape, affine), tmp_path / "as_it_is" / "a.nii.gz")
    other = np.ascontiguousarray(labels[::-1].transpose(1, 0, 2))
    write_label_map(other, Grid.from_affine(other.shape, turned), tmp_path / "turned" / "a.nrrd")
    moved = np.roll(labels, 1, 1)
    write_label_map(moved, Grid.from_affine(labels.shape, affine), tmp_path / "moved" / "a.nii.gz")
    background, first, second = TABLE.labels
    swapped = LabelTable((background, replace(second, index=1), replace(first, index=2)))
    renamed = LabelTable((background, replace(first, name="effusion"), replace(second, name="ground-glass")))

    expected = hash_of(tmp_path / "as_it_is", TABLE)

    assert hash_of(tmp_path / "turned", TABLE) == expected
    assert hash_of(tmp_path / "as_it_is", swapped) == expected
    assert hash_of(tmp_path / "as_it_is", renamed) != expected
    assert hash_of(tmp_path / "moved", TABLE) != expected


def test_patients_by_template(folders):
    predictions, references = folders
    for side in folders:
        for name in ("p1_left", "p1_right"):
            write(side / "both" / f"{name}.nii.gz", [0, 85])

    scores = score_folder(predictions / "both", references / "both", TABLE, patient="{patient}_*")

    assert scores.knows_patients
    assert [row.patient for row in scores.rows] == ["p1", "p1"]
    with pytest.raises(SegpipeError, match=r"matches 0 of 4 case ids, not a, both/p1_left"):
        score_folder(*folders, TABLE, patient="{patient}_*")


def test_accented_letters_are_one_in_templates_too(tmp_path):
    for folder in "pr":
        write(tmp_path / folder / "Jo\u0308rg_1.nii.gz", [0, 85])

    for template in ("J\u00f6rg_{patient}", "Jo\u0308rg_{patient}"):
        (row,) = score_folder(tmp_path / "p", tmp_path / "r", TABLE, patient=template).rows
        assert (row.case, row.patient) == ("J\u00f6rg_1", "1")


@pytest.mark.parametrize("tolerance", [-1, np.nan, np.inf])
def test_a_tolerance_that_is_none(folders, tolerance):
    with pytest.raises(SegpipeError, match="must be 0 or more, in millimetres"):
        score_folder(*folders, TABLE, tolerance_mm=tolerance)


def test_without_table_every_value_is_a_class(folders):
    assert score_folder(*folders).table.foreground_names == ("85", "170")


def test_cases_without_partner_are_listed(folders):
    predictions, references = folders
    write(predictions / "extra.nii.gz", [0])
    write(references / "failed.nii.gz", [85])

    scores = score_folder(predictions, references, TABLE)

    assert scores.without_reference == ("extra",)
    assert scores.without_prediction == ("failed",)
    assert len(scores.rows) == 2


def test_other_grid_is_refused(folders):
    predictions, references = folders
    write(predictions / "a.nii.gz", [0, 85, 0, 170], spacing=2.0)

    with pytest.raises(
        SegpipeError, match=r"a: prediction and reference grids differ: spacing \(2, 1, 1\) vs"
    ):
        score_folder(predictions, references, TABLE)


def test_all_other_grids_are_told_at_once(folders):
    predictions, references = folders
    write(predictions / "a.nii.gz", [0, 85, 0, 170], spacing=2.0)
    write(predictions / "sub" / "b.nrrd", [0, 85, 0])

    with pytest.raises(SegpipeError, match=r"(?s)a: .* spacing.*; sub/b: .* size.*resample the 2 of 2 cases"):
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


def test_other_files_are_ignored_and_listed(folders):
    predictions, references = folders
    for file in (predictions / "a.npz", predictions / "plans.json", references / "sub" / "b.bval"):
        file.write_bytes(b"x")

    scores = score_folder(predictions, references, TABLE)

    assert len(scores.rows) == 2
    assert scores.ignored_files == (str(predictions / "a.npz"), str(references / "sub" / "b.bval"))


def test_a_segmentation_of_3d_slicer_is_the_label_map_of_its_scan_and_no_scan(tmp_path):
    for folder in "pr":
        write(tmp_path / folder / "a.nrrd", [0, 85])
        (tmp_path / folder / "a.nrrd").rename(tmp_path / folder / "a.seg.nrrd")
    write(tmp_path / "p" / "b.nrrd", [0, 85])
    write(tmp_path / "r" / "b.nii.gz", [0, 85])
    write(tmp_path / "r" / "a.nrrd", [1, 2])

    assert files_by_name(tmp_path / "r", are_scans=True)["a"] == tmp_path / "r" / "a.nrrd"
    with pytest.raises(SegpipeError, match=r"r/a\.seg\.nrrd and .*r/a\.nrrd have one name"):
        score_folder(tmp_path / "p", tmp_path / "r", TABLE)
    (tmp_path / "r" / "a.nrrd").unlink()
    assert [row.case for row in score_folder(tmp_path / "p", tmp_path / "r", TABLE).rows] == ["a", "b"]


def test_values_that_rounding_left_a_little_off_are_whole(tmp_path):
    """A slope of 1/255 leaves such values: 255 * 0.00392157 = 1.0000004."""
    for folder, value in (("p", 1), ("r", 1.0000004)):
        voxels = np.array([0, value, 0], np.float32).reshape(3, 1, 1)
        write_volume(voxels, Grid.from_affine(voxels.shape, np.eye(4)), tmp_path / folder / "a.nii.gz")

    scores = score_folder(tmp_path / "p", tmp_path / "r")

    assert scores.table.foreground_names == ("1",)
    assert scores.rows[0].metrics.dice.tolist() == [1]


def test_missing_folder(folders, tmp_path):
    with pytest.raises(SegpipeError, match="none: no such folder; give a folder of scans or label maps"):
        score_folder(tmp_path / "none", folders[1], TABLE)


def test_an_empty_folder(folders, tmp_path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(SegpipeError, match="empty: no scan there; segpipe reads"):
        score_folder(tmp_path / "empty", folders[1], TABLE)


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


def test_predictions_of_one_class_are_warned_of(folders):
    """`a` is ground-glass everywhere; the empty `c` has an empty reference, which is right."""
    predictions, references = folders
    write(predictions / "a.nii.gz", [85, 85, 85, 85])
    write(predictions / "c.nii.gz", [0, 0])
    write(references / "c.nii.gz", [0, 0])

    first, *_ = score_folder(predictions, references, TABLE).warnings

    assert first.startswith(
        "1 of 3 predictions is ground-glass everywhere: a. The scores of such a label map show"
    )


def test_equal_predictions_of_different_references_are_warned_of(tmp_path):
    for case, reference in (("a", [0, 85, 85]), ("b", [85, 85, 0]), ("c", [85, 0, 85])):
        write(tmp_path / "p" / f"{case}.nii.gz", [0, 85, 85])
        write(tmp_path / "r" / f"{case}.nii.gz", reference)

    (warning,) = score_folder(tmp_path / "p", tmp_path / "r", TABLE).warnings

    assert warning.startswith("The predictions of all 3 cases are equal, and their references are not")


def test_equal_predictions_of_equal_references_are_right(tmp_path):
    for case in "ab":
        write(tmp_path / "p" / f"{case}.nii.gz", [0, 85, 85, 170])
        write(tmp_path / "r" / f"{case}.nii.gz", [0, 85, 85, 170])

    assert score_folder(tmp_path / "p", tmp_path / "r", TABLE).warnings == []

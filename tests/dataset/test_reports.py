"""An image has one content hash in every storage, and another image has another hash."""

import numpy as np
import pytest

from segpipe.dataset import Case, Manifest, examine_cases
from segpipe.dataset.reports import content_sha256
from segpipe.labels import LabelTable
from segpipe.volumes import Grid, read_volume, write_series, write_volume

GRID = Grid.from_affine((5, 4, 3), np.diag([1.0, 2.0, 3.0, 1.0]))
ARRAY = np.arange(60, dtype=np.int16).reshape(GRID.size)
TABLE = LabelTable.from_rows(
    [
        {"index": 0, "name": "background", "color": [0, 0, 0], "value": 0},
        {"index": 1, "name": "tumour", "color": [255, 0, 0], "value": 1},
    ]
)


def hash_of(tmp_path, name, array=ARRAY, grid=GRID):
    if name == "series":
        write_series(array, grid, tmp_path / name)
    else:
        write_volume(array, grid, tmp_path / name)
    return content_sha256([read_volume(tmp_path / name)])


@pytest.mark.parametrize("name", ["copy.nii.gz", "copy.mhd", "copy.nrrd"])
def test_format_and_compression_do_not_count(tmp_path, name):
    assert hash_of(tmp_path, name) == hash_of(tmp_path, "a.nii")


def test_a_series_has_a_hash(tmp_path):
    """A series may store its slices in reverse; this series does not."""
    grid = Grid.from_lps(GRID.size, (1, 2, 3), (0, 0, 0), np.eye(3))

    assert hash_of(tmp_path, "series", grid=grid) == hash_of(tmp_path, "a.nii", grid=grid)


def test_the_order_in_which_axes_are_stored_does_not_count(tmp_path):
    """Head first or feet first, sagittal or axial: turned to RAS, the images are equal."""
    turned = np.ascontiguousarray(ARRAY[::-1].transpose(2, 0, 1))
    affine = np.array([[0, -1.0, 0, 4], [0, 0, 2.0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])

    grid = Grid.from_affine(turned.shape, affine)

    assert hash_of(tmp_path, "b.nii", turned, grid) == hash_of(tmp_path, "a.nii")


def test_stored_type_and_place_do_not_count(tmp_path):
    first = hash_of(tmp_path, "a.nii")
    moved = Grid.from_affine(GRID.size, np.diag([1.5, 1.5, 1.5, 1.0]))

    assert hash_of(tmp_path, "b.nii", ARRAY.astype(np.float32)) == first
    assert hash_of(tmp_path, "c.nii", grid=moved) == first
    assert hash_of(tmp_path, "d.nii", np.where(ARRAY == 0, -0.0, ARRAY).astype(np.float32)) == first


def test_voxels_size_and_order_count(tmp_path):
    first = hash_of(tmp_path, "a.nii")
    other = ARRAY.copy()
    other[4, 3, 2] += 1
    reshaped = Grid.from_affine((3, 4, 5), np.eye(4))

    assert hash_of(tmp_path, "b.nii", other) != first
    assert hash_of(tmp_path, "c.nii", ARRAY[::-1].copy()) != first
    assert hash_of(tmp_path, "d.nii", ARRAY.reshape(3, 4, 5), reshaped) != first


def test_every_channel_counts(tmp_path):
    """Two cases may share one channel, such as an atlas, and still be different images."""
    for name, factor in (("t1", 1), ("t2", 2), ("other", 3)):
        write_volume(ARRAY * np.int16(factor), GRID, tmp_path / f"{name}.nii")
    files = {"a": ("t1.nii", "t2.nii"), "b": ("t1.nii", "other.nii"), "c": ("t2.nii", "t1.nii")}
    cases = tuple(Case(name, images) for name, images in files.items())
    manifest = Manifest("set", ("T1", "T2"), {0: "background", 1: "tumour"}, cases)

    reports = examine_cases(cases, tmp_path, manifest, TABLE)

    assert len({report.facts.content_sha256 for report in reports}) == 3

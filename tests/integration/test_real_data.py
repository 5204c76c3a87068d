"""Bundles on scans of real scanners: every format of a scan gives the same label map, on the scan's grid."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segpipe.volumes import (
    Grid,
    find_scans,
    output_path,
    read_header,
    read_volume,
    write_series,
    write_volume,
)

pytestmark = pytest.mark.realdata


@pytest.fixture
def segment(bundle, finished_run, tmp_path):
    """Return a function that segments a folder with the bundle's shipped weights, or with those of the short run."""
    shipped = bundle.root / "models" / "model.pt"
    weights = shipped if shipped.is_file() else finished_run / "best.pt"

    def run(scans, **overrides):
        bundle.run(
            "inference",
            bundle_root=str(bundle.root),
            dataset_dir=str(scans),
            output_dir=str(tmp_path / "out"),
            weights=[str(weights)],
            device="cpu",
            **overrides,
        )
        return tmp_path / "out"

    return run


def assert_on_their_grids(bundle, scans, out):
    values = {row["value"] for row in bundle.parser("inference")["_meta_"]["label_table"]}
    scan_files = find_scans(scans)
    for scan in scan_files:
        written = read_volume(output_path(scan, out))
        assert written.grid.differences(read_header(scan.path).grid) == [], scan.name
        assert set(np.unique(written.array).tolist()) <= values, scan.name
    return scan_files


def test_dicom_series_come_back_on_their_grids(bundle, real_data, segment):
    scans = real_data("hippocampus_dicom")

    scan_files = assert_on_their_grids(bundle, scans, segment(scans))

    assert [scan.name for scan in scan_files] == ["study1", "study2"]


@pytest.mark.slow
def test_thick_slices_come_back_on_their_grids(bundle, real_data, segment):
    """The scans have 198 x 202 x 59 voxels of 0.98 x 0.98 x 3.27 mm, and RT structures beside them."""
    scans = real_data("sts_dicom")

    scan_files = assert_on_their_grids(bundle, scans, segment(scans, overlap=0.1))

    assert len(scan_files) == 2


def oblique(grid):
    """Return the grid turned by about 20 degrees and moved; the anatomy at each voxel stays."""
    turn, sine, cosine = np.eye(4), np.sin(0.35), np.cos(0.35)
    turn[:2, :2] = [[cosine, -sine], [sine, cosine]]
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    affine = tilt @ turn @ grid.affine
    affine[:3, 3] += [30.5, -12.25, 7.0]
    return Grid.from_affine(grid.size, affine)


@pytest.fixture
def scan(real_data):
    """Return the voxels, as int16, and the grid of a real hippocampus scan."""
    folder = real_data("hippocampus")
    for entry in json.loads((folder / "dataset.json").read_text())["training"]:
        volume = read_volume(folder / entry["image"])
        if volume.array.max() < 2**15 and np.array_equal(volume.array, np.round(volume.array)):
            return volume.array.astype(np.int16), volume.grid
    return pytest.fail("no scan that DICOM can hold")


def test_every_format_of_a_scan_gives_the_same_labels(scan, segment, tmp_path):
    """The same voxels are stored straight as NIfTI and oblique in three other formats."""
    array, grid = scan
    turned = oblique(grid)
    write_volume(array, grid, tmp_path / "scans" / "straight.nii.gz")
    for name in ("oblique.nii.gz", "oblique.mhd", "oblique.nrrd"):
        write_volume(array, turned, tmp_path / "scans" / name)
    write_series(array, turned, tmp_path / "scans" / "series")

    out = segment(tmp_path / "scans")

    expected = read_volume(out / "straight.nii.gz").array
    assert 0 < np.count_nonzero(expected) < expected.size
    for name in ("oblique.nii.gz", "oblique.mhd", "oblique.nrrd", "series.nii.gz"):
        written = read_volume(out / name)
        assert np.mean(written.array == expected) >= 0.995, name
        assert written.grid.differences(turned) == [], name


def test_the_shipped_weights_segment_what_they_learnt(bundle, real_data, segment, tmp_path):
    """Dice by hand on files read by nibabel. The cases are training cases: a lower Dice means broken weights."""
    if not (bundle.root / "models" / "model.pt").is_file():
        pytest.skip("the bundle ships no weights")
    folder = real_data("hippocampus")
    entries = json.loads((folder / "dataset.json").read_text())["training"][:6]
    for entry in entries:
        target = tmp_path / "scans" / Path(entry["image"]).name
        target.parent.mkdir(exist_ok=True)
        target.symlink_to((folder / entry["image"]).resolve())

    out = segment(tmp_path / "scans")

    scores = []
    for entry in entries:
        reference = np.asarray(nib.load(folder / entry["label"]).dataobj)
        prediction = np.asarray(nib.load(out / Path(entry["image"]).name).dataobj)
        for value in (1, 2):
            both = np.count_nonzero((reference == value) & (prediction == value))
            scores.append(
                2 * both / (np.count_nonzero(reference == value) + np.count_nonzero(prediction == value))
            )
    assert np.mean(scores) >= 0.88


@pytest.mark.parametrize("flips", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_the_order_of_voxels_in_a_file_changes_no_label(scan, segment, tmp_path, flips):
    """A file with a reversed axis holds the same anatomy."""
    array, grid = scan
    flipped = np.ascontiguousarray(np.flip(array, flips))
    affine = grid.affine
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (grid.size[axis] - 1)
        affine[:3, axis] *= -1
    write_volume(array, grid, tmp_path / "scans" / "as_it_was.nii.gz")
    write_volume(flipped, Grid.from_affine(grid.size, affine), tmp_path / "scans" / "flipped.nii.gz")

    out = segment(tmp_path / "scans")

    expected = read_volume(out / "as_it_was.nii.gz").array
    assert 0 < np.count_nonzero(expected) < expected.size
    assert np.mean(np.flip(read_volume(out / "flipped.nii.gz").array, flips) == expected) >= 0.995

"""Channels on other grids on the first channel's grid: exact for a ramp, with a stated value outside."""

import numpy as np
import pytest
from sample_grids import rotation

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_channel_headers, read_channels, write_volume
from segpipe.volumes.resampling import covered_share, onto_grid
from segpipe.volumes.volume import Volume, VolumeFormat


def grid_of(size, axes, origin):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, origin
    return Grid.from_affine(size, affine)


FIRST = grid_of((12, 10, 6), rotation(0.35, -0.26, 0.52) @ np.diag([0.8, 1.1, 2.0]), (5, -7, 3))
AROUND = grid_of((40, 40, 40), np.diag([-1.5, 1.3, 1.7]), (35, -30, -25))
SHEARED = grid_of((40, 40, 40), [[-1.5, 0, 0.3], [0, 1.3, 0], [0, 0, 1.7]], (30, -30, -25))
CUBE = grid_of((4, 4, 4), np.eye(3), (0, 0, 0))


def ramp(grid):
    """Return 100 + 2 R - 3 A + S / 2 at every voxel, with the position in mm."""
    indices = np.stack(np.meshgrid(*map(np.arange, grid.size), indexing="ij"), axis=-1)
    world = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return (100 + world @ [2.0, -3.0, 0.5]).astype(np.float32)


def volume_of(array, grid, tmp_path):
    return Volume(array, grid, tmp_path / "x.nii", VolumeFormat.NIFTI)


@pytest.mark.parametrize("grid", [AROUND, SHEARED], ids=["other axes", "sheared"])
def test_a_ramp_in_the_patient_is_exact_on_an_oblique_grid(grid, tmp_path):
    """Linear interpolation of a linear function has no error."""
    resampled = onto_grid(volume_of(ramp(grid), grid, tmp_path), FIRST)

    assert covered_share(FIRST, grid) == 1
    assert resampled.grid == FIRST
    assert resampled.array.dtype == np.float32
    np.testing.assert_allclose(resampled.array, ramp(FIRST), atol=1e-4)


def test_outside_the_channel_its_smallest_value_stands(tmp_path):
    """Shifted by 2.4 mm: x = 0 and 1 lie outside, 2 within half a voxel of the first voxel."""
    shifted = grid_of((4, 4, 4), np.eye(3), (2.4, 0, 0))
    array = np.full((4, 4, 4), 7, np.int16)
    array[3, 3, 3] = -5
    array[0] = 9

    resampled = onto_grid(volume_of(array, shifted, tmp_path), CUBE)

    np.testing.assert_allclose(resampled.array[:, 0, 0], [-5, -5, 9, 0.4 * 9 + 0.6 * 7], rtol=1e-6)


def test_the_share_is_of_the_first_grids_voxels():
    half = grid_of((2, 4, 4), np.eye(3), (0, 0, 0))

    assert covered_share(CUBE, half) == 0.5
    assert covered_share(half, CUBE) == 1
    assert covered_share(CUBE, grid_of((4, 4, 4), np.eye(3), (0.4, 0, 0))) == 1
    assert covered_share(CUBE, grid_of((4, 4, 4), np.eye(3), (100, 0, 0))) == 0


@pytest.fixture
def files(tmp_path):
    """Return the files of two channels on two grids."""
    write_volume(ramp(FIRST), FIRST, tmp_path / "t1.nii.gz")
    write_volume(ramp(AROUND), AROUND, tmp_path / "flair.mha")
    return [tmp_path / "t1.nii.gz", tmp_path / "flair.mha"]


def test_channels_are_read_on_the_first_ones_grid(files):
    volume = read_channels(files, resample=True)

    assert volume.grid.matches(FIRST)
    np.testing.assert_allclose(volume.channels[1], volume.channels[0], atol=1e-4)
    assert [(one.position, one.note("FLAIR")) for one in volume.resampled] == [(1, "FLAIR covers 100 %")]
    header = read_channel_headers(files, resample=True)
    assert (header.num_channels, header.resampled) == (2, volume.resampled)
    assert read_channels(files[:1] * 2, resample=True).resampled == ()


@pytest.mark.parametrize("read", [read_channels, read_channel_headers])
def test_without_the_option_another_grid_is_refused_and_the_option_named(files, read):
    with pytest.raises(
        SegpipeError, match=r"flair\.mha: channels lie on different grids: .*add --resample-channels"
    ):
        read(files)


@pytest.mark.parametrize("read", [read_channels, read_channel_headers])
def test_a_channel_that_covers_too_little_is_refused_with_its_share(files, tmp_path, read):
    away = grid_of((6, 10, 6), FIRST.affine[:3, :3], FIRST.affine[:3, 3])
    write_volume(ramp(away), away, tmp_path / "half.nii.gz")

    with pytest.raises(
        SegpipeError, match=r"half\.nii\.gz: .*it covers 50 % of \S*t1\.nii\.gz, at least 75 %"
    ):
        read([files[0], tmp_path / "half.nii.gz"], resample=True)


def test_images_without_a_position_are_not_resampled(tmp_path):
    for name, size in (("a.png", (4, 4)), ("b.png", (6, 4))):
        write_volume(np.ones(size, np.uint8), grid_of(size, np.diag([-1, -1, 1]), (0, 0, 0)), tmp_path / name)

    with pytest.raises(SegpipeError, match=r"b\.png: .*2D images have no position in the patient"):
        read_channels([tmp_path / "a.png", tmp_path / "b.png"], resample=True)

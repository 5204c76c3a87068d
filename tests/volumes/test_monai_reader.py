"""MONAI reads through segpipe's reader what it cannot read with SimpleITK alone."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import LoadImage
from monai.utils import MetaKeys

from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_label_map, write_series, write_volume
from segpipe.volumes.sitk import SimpleITKReader

# LoadImage tries every reader of MONAI's, one of which misses an optional decoder
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

SCAN = np.arange(60, dtype=np.int16).reshape(5, 4, 3)


def load(*paths, **arguments):
    """As a configuration does: the reader by its dotted path."""
    loader = LoadImage(
        reader="segpipe.volumes.sitk.SimpleITKReader", image_only=True, ensure_channel_first=True, **arguments
    )
    return loader(paths[0] if len(paths) == 1 else paths)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd"])
def test_volumes_arrive_with_channel_and_ras_affine(suffix, tmp_path, grid):
    write_volume(SCAN, grid, tmp_path / f"a{suffix}")

    image = load(tmp_path / f"a{suffix}")

    assert image.shape == (1, 5, 4, 3)
    np.testing.assert_array_equal(image[0].numpy(), SCAN)
    np.testing.assert_allclose(image.affine.numpy(), grid.affine, atol=1e-9)
    np.testing.assert_allclose(image.meta[MetaKeys.ORIGINAL_AFFINE], grid.affine, atol=1e-9)
    assert image.meta[MetaKeys.SPACE] == "RAS"


def test_a_dicom_folder_is_read_and_a_series_chosen(tmp_path, grid):
    write_series(SCAN, grid, tmp_path / "ct", series_uid="1.2.3")
    for path in write_series(SCAN + 1, grid, tmp_path / "more", series_uid="1.2.4"):
        path.rename(tmp_path / "ct" / f"b{path.name}")

    image = load(tmp_path / "ct", series_uid="1.2.4")

    np.testing.assert_array_equal(image[0].numpy(), SCAN + 1)
    with pytest.raises(SegpipeError, match="2 image series"):
        SimpleITKReader().read(tmp_path / "ct")


def test_a_picture_is_2d(tmp_path, picture_grid):
    write_label_map(SCAN[:, :, 0], picture_grid, tmp_path / "a.png")

    image = load(tmp_path / "a.png")

    assert image.shape == (1, 5, 4)
    np.testing.assert_array_equal(image.meta[MetaKeys.SPATIAL_SHAPE], (5, 4))


def test_several_files_are_channels_of_one_image(tmp_path, grid):
    write_volume(SCAN, grid, tmp_path / "t1.mha")
    write_volume(SCAN + 5, grid, tmp_path / "t2.nrrd")

    image = load(tmp_path / "t1.mha", tmp_path / "t2.nrrd")

    np.testing.assert_array_equal(image.numpy(), np.stack([SCAN, SCAN + 5]))


def test_channels_on_two_grids_are_refused_with_both_values(tmp_path, grid):
    shifted = Grid.from_affine(grid.size, grid.affine + np.outer([1, 0, 0, 0], [0, 0, 0, 1]))
    write_volume(SCAN, grid, tmp_path / "t1.mha")
    write_volume(SCAN, shifted, tmp_path / "t2.mha")
    reader = SimpleITKReader()

    with pytest.raises(
        SegpipeError, match=r"channels lie on different grids: origin \(-712.123, .*\) vs \(-713.123, .*\) mm"
    ):
        reader.get_data(reader.read((tmp_path / "t1.mha", tmp_path / "t2.mha")))


def test_nifti_and_unknown_files_are_left_to_others(tmp_path):
    reader = SimpleITKReader()

    assert reader.verify_suffix(tmp_path / "a.mhd")
    assert reader.verify_suffix((tmp_path, "a.png"))
    assert not reader.verify_suffix("a.nii.gz")
    assert not reader.verify_suffix(["a.mhd", "a.nii"])
    assert not reader.verify_suffix("a.npy")

"""Transforms of slices, and the same transforms on volumes."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Invertd
from sample_grids import OBLIQUE

from segpipe.errors import SegpipeError
from segpipe.transforms import LoadVolumed, NormalizeSlicesd, OrientVolumesd
from segpipe.volumes import Grid, write_volume


def normalized(array):
    image = MetaTensor(torch.as_tensor(array), meta={"filename_or_obj": "scan.nii"})
    return NormalizeSlicesd("image")({"image": image})["image"]


def test_a_slice_is_normalised_over_what_lies_on_its_canvas():
    """Black in the body stays darker than the body; the canvas around it becomes 0."""
    slice_ = np.random.default_rng(0).uniform(0.2, 0.9, (1, 80, 60)).astype(np.float32)
    canvas = np.zeros(slice_.shape, bool)
    canvas[:, :, :20] = canvas[:, 50:65, 30:45] = canvas[:, -8:] = True
    slice_[canvas] = 0
    slice_[:, 10:24, 30:50] = 0  # a trachea of 14 x 20: no block of 15 x 15
    slice_[:, 30:40:2, 30:40:2] = 0

    image = normalized(slice_)

    body = slice_[~canvas].astype(np.float64)
    expected = np.where(canvas, 0, (slice_ - body.mean()) / body.std())
    assert image.dtype == torch.float32
    assert image.meta["filename_or_obj"] == "scan.nii"
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-5)


def test_air_half_of_it_below_the_window_is_no_canvas():
    """As canvas, such air would become salt-and-pepper noise; the result is dark air and a bright body."""
    rng = np.random.default_rng(0)
    slice_ = rng.normal(0, 0.02, (1, 200, 200)).clip(0).astype(np.float32)
    slice_[:, 60:140, 60:140] = 0.75

    image = normalized(slice_)

    air = slice_ < 0.5
    assert image[torch.from_numpy(air)].max() < 0 < image[torch.from_numpy(~air)].min()


def test_brightness_and_contrast_of_a_slice_do_not_matter():
    slice_ = np.random.default_rng(0).uniform(0.2, 0.9, (1, 40, 30)).astype(np.float32)

    torch.testing.assert_close(normalized(slice_ * 0.5 + 0.1), normalized(slice_))


def test_each_slice_of_a_volume_is_normalised_by_itself():
    volume = np.random.default_rng(0).uniform(0, 1, (1, 20, 30, 4)).astype(np.float32) * [0.2, 0.5, 0.7, 1]
    volume = volume.astype(np.float32)

    image = normalized(volume)

    for index in range(4):
        torch.testing.assert_close(image[..., index], normalized(volume[..., index]))


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_a_blank_slice_becomes_zero(value):
    assert not normalized(np.full((1, 20, 30), value, np.float32)).abs().max() > 1e-5


def test_the_noise_of_an_empty_slice_stays_small():
    noise = np.random.default_rng(0).normal(0, 0.005, (1, 100, 100)).clip(0).astype(np.float32)

    assert normalized(noise).abs().max() < 0.5


@pytest.mark.parametrize(
    "wrong", [{"min_std": 0}, {"min_std": float("nan")}, {"block": 14}, {"block": -1}], ids=str
)
def test_a_normalisation_that_no_slice_has_is_refused(wrong):
    with pytest.raises(SegpipeError, match="above 0, and odd"):
        NormalizeSlicesd("image", **wrong)


def test_volumes_are_turned_and_slices_are_not(scan, tmp_path, array):
    write_volume(array[:, :, 0], Grid.from_affine((5, 4), np.diag([-1.0, -1, 1, 1])), tmp_path / "slice.mhd")
    turn = OrientVolumesd("image", "PLS")

    volume = turn(LoadVolumed("image")({"case": "v", "image": scan}))
    flat = turn(LoadVolumed("image", spatial_dims=None)({"case": "s", "image": tmp_path / "slice.mhd"}))

    # x to the right, y to the front, z to the head: back is against y, left against x
    np.testing.assert_array_equal(volume["image"][0], array[::-1, ::-1].transpose(1, 0, 2))
    np.testing.assert_array_equal(flat["image"][0], array[:, :, 0])
    assert volume["case"] == "v"
    for turned, expected in ((volume, array), (flat, array[:, :, 0])):
        back = Invertd("image", turn, orig_keys="image", nearest_interp=False)(turned)["image"]
        np.testing.assert_array_equal(back[0], expected)
    np.testing.assert_allclose(turn.inverse(volume)["image"].affine, OBLIQUE, atol=1e-6)

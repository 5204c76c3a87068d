"""Images that a program hands over in place of paths, as MONAI Deploy and MONAI Label do."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImaged, Spacingd

from segpipe.errors import SegpipeError
from segpipe.transforms import LoadPictured, LoadVolumed, SaveLabelMapd

AFFINE = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))


def given(shape, dtype=torch.int16, **meta):
    voxels = torch.arange(int(np.prod(shape))).reshape(shape).to(dtype)
    return MetaTensor(voxels, affine=AFFINE, meta=meta)


@pytest.mark.parametrize(
    ("shape", "meta", "loaded"),
    [
        ((3, 4, 5), {"original_channel_dim": "no_channel"}, (1, 3, 4, 5)),
        ((3, 4, 5), {}, (1, 3, 4, 5)),
        ((1, 3, 4, 5), {}, (1, 3, 4, 5)),
        ((3, 4, 5, 1), {"original_channel_dim": -1}, (1, 3, 4, 5)),
    ],
)
def test_a_volume_in_memory_gets_its_channel_first_and_keeps_its_grid(shape, meta, loaded):
    image = LoadVolumed("image")({"image": given(shape, **meta)})["image"]

    assert tuple(image.shape) == loaded
    assert image.dtype == torch.int16
    torch.testing.assert_close(image.affine, AFFINE)


def test_the_programs_metadata_stay_beside_those_of_the_image():
    """MONAI Deploy makes a mesh from the label map with the distances of the series' pixels."""
    image = LoadVolumed("image")({"image": given((3, 4, 5), depth_pixel_spacing=4.0, space="LPS")})["image"]

    assert (image.meta["depth_pixel_spacing"], image.meta["space"]) == (4.0, "RAS")
    assert image.meta["original_channel_dim"] == 0
    torch.testing.assert_close(image.affine, torch.diag(torch.tensor([-1.0, -1, 1, 1])).double() @ AFFINE)


def test_a_slice_in_memory_is_no_volume_of_channels():
    image = LoadVolumed("image", spatial_dims=None)({"image": given((3, 4))})["image"]

    assert tuple(image.shape) == (1, 3, 4)


def test_a_ct_series_in_memory_is_in_hu_and_other_images_say_nothing():
    load = LoadVolumed("image")

    assert load({"image": given((3, 4, 5), Modality="CT")})["image"].meta["is_hounsfield"]
    assert not load({"image": given((3, 4, 5))})["image"].meta["is_hounsfield"]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (given((7,)), "a tensor of shape .* is no image"),
        (given((2, 3, 4, 5)), "2 channels, the bundle takes 1"),
        (MetaTensor(torch.zeros(3, 4, 5)), "a blank image"),
        (MetaTensor(torch.full((3, 4, 5), float("inf"))), "60 of 60 voxels are NaN or infinite"),
        (MetaTensor(torch.full((3, 4, 5), float("nan"))), "60 of 60 voxels are NaN or infinite"),
        (MetaTensor(torch.full((3, 4, 5), 1e38)), "exceed"),
    ],
    ids=["axes", "channels", "blank", "infinite", "nan", "large"],
)
def test_an_image_in_memory_is_checked_as_a_file_is(image, message):
    with pytest.raises(SegpipeError, match=message):
        LoadVolumed("image")({"image": image})


def test_a_picture_in_memory_equals_the_picture_of_a_file():
    """Rows first, colours last or first, whole numbers of 8 bits also as floats, grey repeated."""
    pixels = torch.arange(24).reshape(2, 4, 3)
    expected = pixels.movedim(-1, 0) / 255
    load = LoadPictured("image")

    for image in (pixels.byte(), pixels.float(), pixels.movedim(-1, 0).float(), MetaTensor(pixels.float())):
        torch.testing.assert_close(load({"image": image})["image"], expected.float())
    grey = load({"image": pixels[..., 0].byte()})["image"]
    torch.testing.assert_close(grey, expected[:1].float().expand(3, 2, 4))
    series = given((4, 2, 1), torch.uint8, original_channel_dim="no_channel")
    torch.testing.assert_close(load({"image": series})["image"][0], series[..., 0].T.as_tensor() / 255)


def test_a_picture_of_fractions_has_no_scale():
    with pytest.raises(SegpipeError, match="no scale of their own"):
        LoadPictured("image")({"image": torch.rand(2, 4, 3)})


def test_spacingd_leaves_the_path_beside_an_image_alone(tmp_path):
    """MONAI Label keeps the file under `image_path`, which MONAI's Spacingd takes for metadata."""
    record = {"image": given((3, 4, 5), filename_or_obj="a.nii.gz"), "image_path": "a.nii.gz", "note": "b"}

    spaced = Spacingd("image", (1, 1, 1))(LoadVolumed("image")(record))

    assert (spaced["image_path"], spaced["note"]) == ("a.nii.gz", "b")


def test_programs_drop_the_step_that_saves_label_maps():
    """MONAI Label drops subclasses of SaveImaged, MONAI Deploy class names with SaveImage."""
    assert issubclass(SaveLabelMapd, SaveImaged)
    assert "SaveImage" in SaveLabelMapd.__name__

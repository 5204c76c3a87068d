"""The part of an image that is not zero."""

import numpy as np
import torch
from monai.data import MetaTensor

from segpipe.transforms import CropNonzerod
from segpipe.transforms.nonzero import nonzero_mask


def test_an_image_is_cropped_to_what_is_not_zero_in_any_channel_and_padded_back():
    voxels = torch.zeros(2, 6, 7, 8)
    voxels[0, 2, 3, 1] = -1000
    voxels[1, 4, 1, 6] = 1
    crop = CropNonzerod("image")

    image = crop({"image": MetaTensor(voxels)})["image"]

    assert image.shape == (2, 3, 3, 6)
    assert (image[0, 0, 2, 0], image[1, 2, 0, 5]) == (-1000, 1)
    assert torch.equal(crop.inverse({"image": image})["image"].as_tensor(), voxels)


def test_holes_belong_to_the_mask():
    ring = torch.zeros(1, 5, 5)
    ring[0, 1:4, 1:4] = 1
    ring[0, 2, 2] = 0

    np.testing.assert_array_equal(nonzero_mask(ring), np.pad(np.ones((3, 3), bool), 1))

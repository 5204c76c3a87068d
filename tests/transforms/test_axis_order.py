"""Axes in another order keep their directions, and come back."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from sample_grids import OBLIQUE

from segpipe.errors import SegpipeError
from segpipe.transforms import ReorderAxesd


def test_axes_are_permuted_and_every_voxel_keeps_its_place():
    voxels = np.random.default_rng(0).random((2, 3, 4, 5))
    affine = np.asarray(OBLIQUE)
    reorder = ReorderAxesd("image", [2, 0, 1])

    image = reorder({"image": MetaTensor(torch.from_numpy(voxels), affine=affine)})["image"]

    np.testing.assert_array_equal(image.numpy(), voxels.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(image.affine.numpy(), affine[:, [2, 0, 1, 3]], atol=1e-12)
    back = reorder.inverse({"image": image})["image"]
    np.testing.assert_array_equal(back.numpy(), voxels)
    np.testing.assert_allclose(back.affine.numpy(), affine, atol=1e-12)


def test_an_order_without_an_axis_is_refused():
    with pytest.raises(
        SegpipeError, match=r"order is \[0, 1, 1\], must name each axis once, such as \[2, 1, 0\]"
    ):
        ReorderAxesd("image", [0, 1, 1])


def test_a_slice_is_refused_for_an_order_of_three_axes():
    slice_ = MetaTensor(torch.zeros(1, 4, 4), meta={"filename_or_obj": "slice.png"})

    with pytest.raises(SegpipeError, match=r"slice.png: has 2 axes, the order of axes is of 3"):
        ReorderAxesd("image", [2, 1, 0])({"image": slice_})

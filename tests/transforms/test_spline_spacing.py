"""Spacing by splines: sizes, places, slices one by one, and the way back of scores."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from segpipe.errors import SegpipeError
from segpipe.transforms import SplineSpacingd
from segpipe.transforms.spline_spacing import Interpolation, resampled, slice_axis


def volume(size, spacing, channels=1):
    voxels = np.random.default_rng(0).random((channels, *size)).astype(np.float32)
    image = MetaTensor(torch.from_numpy(voxels), affine=np.diag([*spacing, 1.0]))
    image.meta["filename_or_obj"] = "scan.nii"
    return image


@pytest.mark.parametrize(
    ("own", "wanted", "expected"),
    [
        ((1, 1, 1), (1, 1, 2.9), None),
        ((1, 1, 3.1), (1, 1, 1), 2),
        ((1, 1, 1), (4, 1, 1), 0),
        ((4, 1, 1), (1, 1, 4), 0),  # the volume's own spacing counts first
        ((0.24, 1.25, 1.25), (1, 1, 1), None),  # two thick axes
        ((0.24, 1.25, 1.2500001), (1, 1, 1), None),
    ],
)
def test_slices_are_those_across_the_one_thick_axis(own, wanted, expected):
    assert slice_axis(own, wanted) == expected


def test_a_rule_can_be_stated():
    assert slice_axis((1, 1, 2), (1, 1, 1), by_slice=True) == 2
    assert slice_axis((1, 1, 9), (1, 1, 1), by_slice=False) is None
    assert slice_axis((1, 1, 2), (1, 1, 1), thick=1.5) == 2


def test_corners_of_both_grids_are_the_same():
    """10 voxels of 1 mm become round(10 / 1.5) = 7 voxels over the same 10 mm."""
    image = SplineSpacingd("image", [1.5, 2.0, None])({"image": volume((10, 6, 4), (1, 1, 1))})["image"]

    assert image.shape == (1, 7, 3, 4)
    corners = np.array([[-0.5, -0.5, -0.5, 1], [6.5, 2.5, 3.5, 1]]).T
    np.testing.assert_allclose(
        (image.affine.numpy() @ corners)[:3].T, [[-0.5, -0.5, -0.5], [9.5, 5.5, 3.5]], atol=1e-9
    )


def test_a_volume_is_interpolated_by_cubic_splines_at_the_centres_of_its_voxels():
    image = volume((9, 8, 7), (1, 1, 1))

    result = SplineSpacingd("image", [1.5, 0.8, 1.0])({"image": image})["image"]

    size = (6, 10, 7)
    places = [(np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(size, (9, 8, 7), strict=True)]
    voxels = image[0].numpy().astype(float)
    expected = ndimage.map_coordinates(
        np.pad(voxels, 12, mode="edge"), [p + 12 for p in np.meshgrid(*places, indexing="ij")], order=3
    )
    np.testing.assert_allclose(result[0], expected.clip(voxels.min(), voxels.max()), atol=1e-4)


def test_thick_slices_are_interpolated_one_by_one_and_the_nearest_is_taken():
    """From 4 slices of 5 mm to 8 of 2.5 mm: each slice twice."""
    image = volume((4, 6, 6), (5, 1, 1))

    result = SplineSpacingd("image", [2.5, 1.0, 1.0])({"image": image})["image"]

    np.testing.assert_allclose(result.numpy(), image.numpy()[:, [0, 0, 1, 1, 2, 2, 3, 3]], atol=1e-6)


def test_scores_come_back_linearly_on_the_former_grid():
    resample = SplineSpacingd("image", [2.0, 1.0, 1.0])
    image = resample({"image": volume((8, 4, 4), (1, 1, 1))})["image"]
    ramp = torch.arange(4.0)[:, None, None].expand(4, 4, 4)
    scores = MetaTensor(torch.stack([ramp, -ramp])).copy_meta_from(image)

    back = resample.inverse({"image": scores})["image"]

    # voxel i of 8 lies at (i + 0.5) / 2 - 0.5 of 4, and no further out than the outermost centres
    expected = ((np.arange(8) + 0.5) / 2 - 0.5).clip(0, 3)
    np.testing.assert_allclose(back[0, :, 0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(back[1, :, 2, 3], -expected, atol=1e-6)
    np.testing.assert_allclose(back.affine, np.eye(4), atol=1e-9)


def test_between_slices_higher_orders_interpolate():
    planes = np.array([0.0, 4.0], np.float32)[None, :, None, None]

    linear = resampled(planes, (4, 1, 1), Interpolation(1, 1), 0)

    np.testing.assert_allclose(linear.ravel(), [0, 1, 3, 4])


def test_nothing_changes_where_the_size_stays():
    image = volume((5, 6, 7), (1, 1, 1))

    result = SplineSpacingd("image", [1.02, 1.0, 0.99])({"image": image})["image"]

    np.testing.assert_array_equal(result.numpy(), image.numpy())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spacing_mm": [1, 0, 1]}, r"spacing_mm is \[1, 0, 1\], must be above 0 along each axis, or null"),
        (
            {"spacing_mm": [1, 1, 1], "order": 6},
            r"orders of splines are \(6, 0, 1, 0\), must be .* from 0 to 5",
        ),
        ({"spacing_mm": [99, 1, 1]}, r"scan.nii: .* leave \(0, 4, 4\) voxels of .* mm; give a larger scan"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(SegpipeError, match=message):
        SplineSpacingd("image", **arguments)({"image": volume((4, 4, 4), (1, 1, 1))})

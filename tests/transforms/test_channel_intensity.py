"""Each channel by its own scheme: the arithmetic of nnU-Net's normalisations."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from segpipe.errors import SegpipeError
from segpipe.transforms import NormalizeChannelsd

CT = {"scheme": "ct", "mean": 10, "std": 4, "low": -2, "high": 20}


def normalized(voxels, *schemes):
    image = MetaTensor(torch.tensor(voxels), meta={"filename_or_obj": "scan.nii"})
    return NormalizeChannelsd("image", schemes)({"image": image})["image"]


def test_schemes_of_channels():
    voxels = np.array(
        [[1, 3, 5, 7], [-100, 0, 12, 90], [2, 4, 6, 12], [0, 51, 102, 255], [1, 2, 3, 4]], np.int16
    )

    image = normalized(
        voxels[:, None],
        {"scheme": "z-score"},
        CT,
        {"scheme": "0 to 1"},
        {"scheme": "rgb"},
        {"scheme": "none"},
    )

    expected = [
        np.array([-3, -1, 1, 3]) / np.sqrt(5),  # mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
        [-3, -2.5, 0.5, 2.5],  # clipped to -2, 0, 12, 20
        [0, 0.2, 0.4, 1],
        [0, 0.2, 0.4, 1],
        [1, 2, 3, 4],
    ]
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image[:, 0], expected, atol=1e-6)


def test_a_z_score_within_what_is_not_zero_leaves_the_rest():
    """Inside are 2, 4, the hole 0 in the middle, and 6, since the mask is of both channels: mean 3, variance 5."""
    voxels = np.zeros((2, 3, 3), np.float32)
    voxels[0, 1] = [2, 4, 6]
    voxels[1, [0, 1, 2], [1, 1, 1]] = 0
    voxels[0, 1, 1] = 0
    voxels[1, 0, 1] = voxels[1, 2, 1] = 9

    image = normalized(voxels, {"scheme": "z-score", "within_nonzero": True}, {"scheme": "none"})

    inside = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
    values = voxels[0][inside]
    expected = np.zeros((3, 3))
    expected[inside] = (values - values.mean()) / values.std()
    np.testing.assert_allclose(image[0], expected, atol=1e-6)
    np.testing.assert_array_equal(image[1], voxels[1])


def test_a_constant_channel_becomes_zero():
    assert not normalized([[7.0, 7.0]], {"scheme": "z-score"}).any()


@pytest.mark.parametrize(
    ("scheme", "voxels", "message"),
    [
        (
            {"scheme": "log"},
            [[1.0]],
            "channel 0 has the scheme 'log'; choose from z-score, ct, 0 to 1, rgb, none",
        ),
        ({"scheme": "ct", "mean": 1}, [[1.0]], "channel 0, ct, lacks std, low, high; add the numbers"),
        ({"scheme": "rgb"}, [[1.0, 300.0]], "scan.nii: voxels go from 1 to 300, must be 0 to 255"),
        ({"scheme": "none"}, [[1.0], [2.0]], "scan.nii: has 2 channels, the bundle normalises 1"),
    ],
)
def test_bad_input_is_refused(scheme, voxels, message):
    with pytest.raises(SegpipeError, match=message):
        normalized(voxels, scheme)

"""Coarse images, and their orientation."""

import numpy as np
import pytest
import torch

from segpipe.reference_ranges.coarse_images import coarse_image, compared, require_coarse_image


def lungs(seed=0, size=(60, 40)):
    """Return an image with distinguishable axes and a little noise."""
    x, y = torch.meshgrid(torch.linspace(0, 1, size[0]), torch.linspace(0, 1, size[1]), indexing="ij")
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    return (x**2 + 0.5 * torch.sin(3 * y) + 0.05 * noise)[None]


def test_scale_and_offset_do_not_count():
    image = torch.rand(2, 30, 30, 12, generator=torch.Generator().manual_seed(0))

    coarse, scaled = coarse_image(image), coarse_image(5 + 3 * image)

    assert coarse.shape == (2, 6, 6, 6)
    np.testing.assert_allclose(coarse, scaled, atol=1e-4)
    np.testing.assert_allclose(np.square(coarse).sum(axis=(1, 2, 3)), 1, atol=1e-5)


def test_padding_does_not_count():
    """A crop may lie anywhere on a canvas of any value."""
    image = lungs()
    canvas = torch.full((1, 200, 150), 7.0)
    canvas[:, 30:90, 100:140] = image

    np.testing.assert_allclose(coarse_image(canvas), coarse_image(image), atol=1e-5)


def test_a_blank_image_has_a_picture():
    assert not coarse_image(torch.ones(1, 20, 20)).any()


def test_the_orientation_of_an_image_is_recognised():
    mean = np.mean([coarse_image(lungs(seed)) for seed in range(5)], axis=0)

    upright, mirrored, turned = (
        compared(coarse_image(image)[None], mean)
        for image in (lungs(9), lungs(9).flip(1), torch.rot90(lungs(9, (40, 60)), 1, (1, 2)))
    )

    assert set(upright) == {
        "likeness",
        "facing/mirrored along x",
        "facing/mirrored along y",
        "facing/turned in x and y",
    }
    assert upright["likeness"] > 0.95
    assert all(value > 0 for value in upright.values())
    assert mirrored["facing/mirrored along x"] == pytest.approx(-upright["facing/mirrored along x"], abs=0.05)
    assert turned["facing/turned in x and y"] < 0


def test_of_a_volume_every_axis_and_every_turn_is_asked():
    volume = torch.rand(1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    picture = coarse_image(volume)

    values = compared(picture[None], picture)

    assert values["likeness"] == pytest.approx(1)
    assert len([name for name in values if name.startswith("facing/mirrored")]) == 3
    assert len([name for name in values if name.startswith("facing/turned")]) == 3


def test_of_slices_the_median_counts():
    mean = coarse_image(lungs())
    pictures = np.stack([mean, mean, -mean])

    assert compared(pictures, mean)["likeness"] == pytest.approx(1)


@pytest.mark.parametrize("shape", [(), (12, 12), (1, 6, 6), (1, 12, 6), (1, 12, 12, 12), (0, 12, 12)])
def test_an_invalid_mean_image_is_refused(shape):
    with pytest.raises(ValueError, match="its coarse image is not one"):
        require_coarse_image(np.zeros(shape, np.float32))

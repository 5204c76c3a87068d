"""Heatmaps: by hand on a made network, sanity under random weights, frozen backbones, and the cost of occlusion."""

import numpy as np
import pytest
import torch
from torch import nn

from segpipe.calibration import Calibration
from segpipe.categories import Categories
from segpipe.errors import SegpipeError
from segpipe.networks import Ensemble
from segpipe.prediction.heatmaps import (
    GradCamMaps,
    OcclusionMaps,
    last_convolution,
    mask_side,
    occlusion_passes,
)

TWO = Categories(("left", "right"), "class")


def detector():
    """Return a network whose class `left` adds up the first channel, and `right` the second."""
    convolution = nn.Conv2d(2, 2, 1, bias=False)
    linear = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.eye(2).reshape(2, 2, 1, 1))
        linear.weight.copy_(torch.eye(2))
    return nn.Sequential(
        convolution, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear
    ).eval()


def spots():
    """Return an image whose first channel has a spot at the top left, the second one at the bottom right."""
    image = torch.zeros(2, 8, 8)
    image[0, 1, 2], image[1, 6, 5] = 1.0, 3.0
    return image


def test_grad_cam_by_hand():
    """The gradient of a class is 1/64 everywhere in its own channel, so its map is that channel, scaled to 1."""
    left, right = GradCamMaps(detector()).maps(spots(), [0, 1])

    expected = np.zeros((2, 8, 8), np.float32)
    expected[0, 1, 2] = expected[1, 6, 5] = 1
    np.testing.assert_allclose(left, expected[0], atol=1e-6)
    np.testing.assert_allclose(right, expected[1], atol=1e-6)


def test_nothing_speaks_for_a_class():
    image = torch.zeros(2, 8, 8)
    image[1, 4, 4] = 1

    (left,) = GradCamMaps(detector()).maps(image, [0])

    assert left.max() == 0


def test_a_frozen_backbone_gives_the_same_map():
    """Without gradients of the image, no gradient would reach the layer."""
    frozen = detector().requires_grad_(False)

    maps = GradCamMaps(frozen).maps(spots(), [0, 1])

    np.testing.assert_array_equal(maps, GradCamMaps(detector()).maps(spots(), [0, 1]))
    assert maps.max() == 1


def test_the_network_stays_as_it_is():
    network = detector()
    GradCamMaps(network).maps(spots(), [0])

    assert network[1].inplace
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert not any(
        module._forward_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in network.modules()
    )


def test_the_copy_shares_the_weights():
    """A copy of 135 million parameters would take half a gigabyte."""
    network = detector()
    (cam,) = GradCamMaps(network)._cams

    copied = cam.nn_module.model
    assert [one.data_ptr() for one in copied.parameters()] == [one.data_ptr() for one in network.parameters()]


def test_an_ensemble_shows_the_mean_of_its_members():
    maps = GradCamMaps(Ensemble([detector(), detector()])).maps(spots(), [0])

    np.testing.assert_allclose(maps, GradCamMaps(detector()).maps(spots(), [0]), atol=1e-6)


def test_a_network_without_convolutions():
    with pytest.raises(SegpipeError, match="no convolution whose activations a heatmap could show"):
        last_convolution(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))


def small_network():
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)),
    )


@pytest.fixture(scope="module")
def trained():
    """Return a small network that tells a lying bar from a standing one, the images, and where the bars are."""
    torch.manual_seed(0)
    images, classes = torch.rand(32, 1, 24, 24) * 0.2, torch.arange(32) % 2
    bars = torch.zeros(32, 24, 24, dtype=torch.bool)
    for place, stands in enumerate(classes.tolist()):
        row, column = torch.randint(3, 14, (2,)).tolist()
        height, width = (8, 2) if stands else (2, 8)
        bars[place, row : row + height, column : column + width] = True
    for place in range(len(images)):  # bright squares that say nothing
        for _ in range(3):
            row, column = torch.randint(0, 21, (2,)).tolist()
            images[place, 0, row : row + 3, column : column + 3] = 1
    images[:, 0][bars] = 1.2
    network = small_network()
    adam = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(80):
        adam.zero_grad()
        nn.functional.cross_entropy(network(images), classes).backward()
        adam.step()
    network.eval()
    assert (network(images).argmax(1) == classes).float().mean() == 1
    return network, images, classes, bars.numpy()


def correlation(first, second):
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_random_weights_change_the_map(trained):
    """The cascade of Adebayo et al., 2018: weights are made random layer by layer, from the last one on.

    A method that draws edges of the image whatever the network has learnt would keep its map.
    """
    network, images, classes, _ = trained
    chosen = range(12)
    before = [GradCamMaps(network).maps(images[i], [int(classes[i])])[0] for i in chosen]
    kept = {name: value.clone() for name, value in network.state_dict().items()}

    means = []
    for layers in (("6",), ("6", "2"), ("6", "2", "0")):
        alike = []
        for seed in range(4):
            torch.manual_seed(seed)
            changed = small_network().eval()
            random = {name for name in kept if name.partition(".")[0] in layers}
            changed.load_state_dict(
                {name: changed.state_dict()[name] if name in random else kept[name] for name in kept}
            )
            after = [GradCamMaps(changed).maps(images[i], [int(classes[i])])[0] for i in chosen]
            alike += [correlation(a, b) for a, b in zip(before, after, strict=True)]
        means.append(np.mean(alike))
    assert min(map(np.max, before)) == 1
    assert max(means) < 0.5, means


def test_occlusion_falls_on_the_bar(trained):
    """Covering the bar takes the answer away; covering noise does not."""
    network, images, classes, bars = trained
    maps = OcclusionMaps(network, Calibration.none(TWO))

    shares = []
    for i in range(3):
        (found,) = maps.maps(images[i], [int(classes[i])])
        shares.append(found[bars[i]].mean() - found[~bars[i]].mean())

    assert min(shares) > 0.3, shares


@pytest.mark.parametrize(("size", "passes"), [((16, 16), 225), ((24, 24), 484), ((32, 48), 345)])
def test_the_number_of_passes_that_is_told(size, passes):
    """A square of an eighth of the shorter side, moved by half of it: 2 and 1 pixels, 15 places along 16."""
    forwards = []

    class Counting(nn.Module):
        def forward(self, images):
            forwards.append(len(images))
            return images.mean((2, 3))[:, :2]

    OcclusionMaps(Counting(), Calibration.none(TWO)).maps(torch.rand(2, *size), [0])

    assert occlusion_passes(size) == sum(forwards) - 1 == passes  # one more for the whole image
    assert mask_side(size) == min(size) // 8

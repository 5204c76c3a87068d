"""channels_last_weights changes the layout of weights, and neither their values nor the network's scores."""

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn

from segpipe.networks import SegNet, UNet
from segpipe.networks.channels_last import channels_last_weights


def is_channels_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "make",
    [
        lambda: UNet(1, 4, (8, 16, 32)),
        lambda: UNet(3, 4, (8, 16), norm="batch"),
        lambda: SegNet(2, 3, [[8, 8], [16, 16]], norm="batch"),
    ],
)
def test_scores_and_gradients_stay(make):
    torch.manual_seed(0)
    before, after = make(), make()
    after.load_state_dict(before.state_dict())

    assert channels_last_weights(after)

    image = torch.randn(2, next(before.parameters()).shape[1], 32, 32)
    scores = [network(image) for network in (before, after)]
    assert [is_channels_last(score) for score in scores] == [False, True]
    assert torch.allclose(*scores, atol=1e-5)
    for score in scores:
        score.square().mean().backward()
    for (name, first), second in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.allclose(first.grad, second.grad, atol=1e-5), name
    assert all(map(torch.equal, before.parameters(), after.parameters()))


@pytest.mark.parametrize(
    "network",
    [
        UNet(1, 4, (8, 16), norm="instance"),
        UNet(1, 4, (8, 16), spatial_dims=3),
        DynUNet(2, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2], norm_name=("group", {"num_groups": 2})),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(2), nn.Conv1d(4, 4, 3)),
        nn.Linear(2, 3),
    ],
)
def test_networks_that_would_not_gain_stay(network):
    layouts = [parameter.stride() for parameter in network.parameters()]

    assert not channels_last_weights(network)

    assert [parameter.stride() for parameter in network.parameters()] == layouts

"""instance_to_group_norms changes how a norm is computed, and nothing that others hold of the network."""

import copy

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn

from segpipe.networks.group_norms import ChannelNorm, instance_to_group_norms


def norms(network):
    return [type(module) for module in network.modules() if "Norm" in type(module).__name__]


def test_scores_and_gradients_are_the_same_to_rounding():
    torch.manual_seed(0)
    sizes = {
        "kernel_size": [3] * 3,
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2] * 2,
        "filters": [4, 8, 8],
    }
    instance = DynUNet(3, 1, 2, **sizes)
    for norm in (module for module in instance.modules() if isinstance(module, nn.InstanceNorm3d)):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    grouped = copy.deepcopy(instance)
    images = torch.randn(2, 1, 8, 8, 8)

    assert instance_to_group_norms(grouped) == len(norms(instance)) == 10

    assert set(norms(grouped)) == {ChannelNorm}
    expected, scores = instance(images), grouped(images)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    expected.square().mean().backward()
    scores.square().mean().backward()
    for (name, was), (same_name, now) in zip(
        instance.named_parameters(), grouped.named_parameters(), strict=True
    ):
        assert same_name == name
        torch.testing.assert_close(now.grad, was.grad, rtol=1e-4, atol=1e-4)


def test_an_optimiser_that_was_made_before_still_trains_the_norms():
    network = nn.Sequential(nn.InstanceNorm2d(3, affine=True))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)

    instance_to_group_norms(network)
    network(torch.randn(1, 3, 4, 4)).square().sum().backward()
    optimizer.step()

    assert not torch.equal(network[0].weight, torch.ones(3))


def test_norms_that_do_more_stay_as_they_are():
    class OtherNorm(nn.InstanceNorm2d):
        pass

    network = nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True), OtherNorm(3), nn.BatchNorm2d(3))

    assert instance_to_group_norms(network) == 0

    assert norms(network) == [nn.InstanceNorm2d, OtherNorm, nn.BatchNorm2d]


def test_a_norm_without_parameters_keeps_eps_and_mode():
    network = nn.Sequential(nn.InstanceNorm1d(2, eps=0.5)).eval()

    instance_to_group_norms(network)

    # mean 1, variance 1: 1 / sqrt(1 + 0.5)
    answer = network(torch.tensor([[[0.0, 2.0], [2.0, 0.0]]]))
    torch.testing.assert_close(answer, torch.tensor([[[-1.0, 1.0], [1.0, -1.0]]]) / 1.5**0.5)
    assert not network[0].training
    assert network.state_dict() == {}


@pytest.mark.parametrize("images", [1, 2])
def test_one_voxel_a_channel_is_refused_in_training_as_before(images):
    network = nn.Sequential(nn.InstanceNorm3d(2, affine=True))
    features = torch.randn(images, 2, 1, 1, 1)
    with pytest.raises(ValueError, match="more than 1 spatial element when training"):
        network(features)

    instance_to_group_norms(network)

    with pytest.raises(ValueError, match="more than 1 spatial element when training"):
        network(features)
    torch.testing.assert_close(network.eval()(features), torch.zeros_like(features), atol=1e-2, rtol=0)

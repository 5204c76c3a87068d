"""Branches of several scales, and their weights."""

import pytest
import torch

from segpipe.networks import MultiScaleContext


def context_of(spatial_dims=2, **arguments):
    torch.manual_seed(0)
    return MultiScaleContext(spatial_dims, 4, "instance", **arguments)


def branches_of(context, features):
    whole = context.whole(features.mean(dim=context.axes, keepdim=True)).expand_as(features)
    return torch.stack([*(branch(features) for branch in context.branches), whole])


@pytest.mark.parametrize("size", [(9, 8), (5, 6, 7)], ids=str)
def test_equal_weights_give_the_mean_of_the_branches(size):
    """So the attention starts: its scores are 0."""
    context, features = context_of(len(size)), torch.rand(2, 4, *size)

    torch.testing.assert_close(context(features), branches_of(context, features).mean(0))


def test_the_input_weighs_the_branches_at_each_voxel():
    """Scores of 50 times a channel: the first branch where it is positive, the last one where it is negative."""
    context, features = context_of(), torch.randn(2, 4, 9, 8)
    with torch.no_grad():
        context.score_voxels.weight[0, 0], context.score_voxels.weight[3, 0] = 5000.0, -5000.0

    near, *_, whole = branches_of(context, features)

    torch.testing.assert_close(context(features), torch.where(features[:, :1] > 0, near, whole))


def test_the_whole_image_weighs_the_branches():
    """Where the mean of a channel is positive, the second branch counts alone in the whole image."""
    context, features = context_of(), torch.rand(1, 4, 9, 8)
    with torch.no_grad():
        context.score_image.weight[1, 0] = 5000.0

    torch.testing.assert_close(context(features), branches_of(context, features)[1])


def test_branches_see_as_far_as_their_dilation():
    """A change in the middle of 13 pixels reaches 1, 2 and 4 pixels; without normalisation, which sees everything."""
    context = MultiScaleContext(2, 1, None)
    for branch in context.branches:
        torch.nn.init.ones_(branch.conv.weight)
        torch.nn.init.ones_(branch.conv.bias)
    image = torch.zeros(1, 1, 13, 13)
    image[..., 6, 6] = 1

    reached = [(branch(image) != 1).nonzero()[:, 2:] for branch in context.branches]

    assert [(int(places.min()), int(places.max())) for places in reached] == [(5, 7), (4, 8), (2, 10)]


# three convolutions of 4 x 4 x 9 + 4 with norms of 8; the image's 4 x 4 + 4; scores of 4 x 4 + 4 and 4 x 4
@pytest.mark.parametrize(("spatial_dims", "convolution"), [(2, 148), (3, 436)])
def test_parameters(spatial_dims, convolution):
    context = context_of(spatial_dims)

    assert sum(p.numel() for p in context.parameters()) == 3 * (convolution + 8) + 20 + 20 + 16

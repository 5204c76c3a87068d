"""The blocks' additions to MONAI's blocks."""

import pytest
import torch
from monai.networks.layers.factories import Norm

from segpipe.networks.blocks import cell_means, convolutions


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_instance_norm_is_that_of_monai(spatial_dims):
    ours = convolutions(spatial_dims, [2, 5], "instance")[0].adn.N
    reference = Norm["instance", spatial_dims](5)
    features = torch.rand(3, 5, *(6, 7, 4)[:spatial_dims], generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(ours(features), reference(features))
    assert {name for name, _ in ours.named_parameters()} == {"weight", "bias"}


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (3, 9), (10, 5), (13, 6)])
def test_means_of_cells_are_those_of_adaptive_pooling(size):
    features = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(cell_means(features, 4), torch.nn.functional.adaptive_avg_pool2d(features, 4))

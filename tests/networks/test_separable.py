"""A depthwise and a pointwise convolution equal one convolution whose kernel is their product."""

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from segpipe.networks import SeparableConvolution

CONVOLVED = {2: functional.conv2d, 3: functional.conv3d}


# in x kernel + in x out + out: 3 x 9 + 3 x 5 + 5, and 3 x 27 + 3 x 5 + 5, instead of 3 x 9 x 5 + 5 and 3 x 27 x 5 + 5
@pytest.mark.parametrize(("spatial_dims", "parameters"), [(2, 47), (3, 101)])
def test_parameters(spatial_dims, parameters):
    layer = SeparableConvolution(spatial_dims, 3, 5)

    assert sum(parameter.numel() for parameter in layer.parameters()) == parameters


# a place: 9 x 3 products for the channels, 3 x 5 for their mixture, each with an addition
@pytest.mark.parametrize(("size", "flop"), [((7, 6), 42 * 2 * (27 + 15)), ((4, 5, 3), 60 * 2 * (81 + 15))])
def test_operations(size, flop):
    with FlopCounterMode(display=False) as counter:
        SeparableConvolution(len(size), 3, 5)(torch.rand(1, 3, *size))

    assert counter.get_total_flops() == flop


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", [(7, 6), (4, 5, 3)], ids=str)
def test_it_is_the_full_convolution_of_the_product(size, dilation):
    torch.manual_seed(0)
    layer = SeparableConvolution(len(size), 3, 5, dilation)
    image = torch.rand(2, 3, *size)

    kernel = torch.einsum("oi,i...->oi...", layer.pointwise.weight.flatten(1), layer.depthwise.weight[:, 0])
    full = CONVOLVED[len(size)](image, kernel, layer.pointwise.bias, padding=dilation, dilation=dilation)

    torch.testing.assert_close(layer(image), full, atol=1e-6, rtol=1e-5)


def test_the_product_starts_with_the_variance_of_a_plain_kernel():
    """Torch's weights are uniform within one over the root of 9 x 64 products: a third of 1 / 576."""
    torch.manual_seed(0)
    layer = SeparableConvolution(2, 64, 64)

    kernel = torch.einsum("oi,i...->oi...", layer.pointwise.weight.flatten(1), layer.depthwise.weight[:, 0])

    assert kernel.var().item() == pytest.approx(1 / 576 / 3, rel=0.1)

"""A dynamic convolution is a plain one whose kernel is the mixture that each image, or slice, asks for."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from segpipe.errors import SegpipeError
from segpipe.networks import DynamicConvolution

CONVOLVED = {2: functional.conv2d, 3: functional.conv3d}
SIZES = [(7, 6), (4, 5, 6)]


def layer_of(spatial_dims, **arguments):
    """Return a layer whose attention differs clearly between images."""
    torch.manual_seed(0)
    layer = DynamicConvolution(spatial_dims, 3, 5, **{"temperature": 0.1, **arguments})
    with torch.no_grad():
        layer.attention[0].bias += 1  # its units are alive
    return layer


def images_of(size, batch=3):
    """Images whose means differ."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, *size, generator=generator) * torch.arange(1, batch + 1).view(
        -1, 1, *[1] * len(size)
    )


def shares_by_hand(layer, image):
    """Return the shares of one image `(C, *spatial)`, written as in the paper."""
    first, _, second = layer.attention
    means = torch.stack([channel.mean() for channel in image])
    hidden = torch.clamp(first.weight @ means + first.bias, min=0)
    powers = torch.exp((second.weight @ hidden + second.bias) / layer.temperature)
    return powers / powers.sum()


def mixed_by_hand(layer, image, shares):
    kernel = sum(share * weight for share, weight in zip(shares, layer.weight, strict=True))
    bias = sum(share * one for share, one in zip(shares, layer.bias, strict=True))
    distance = layer.dilation
    return CONVOLVED[image.dim() - 1](image[None], kernel, bias, padding=distance, dilation=distance)[0]


# four kernels of 3 x 5 x 9 weights and 5 biases; the attention's 3 x 4 + 4 and 4 x 4 + 4
@pytest.mark.parametrize(("spatial_dims", "kernels"), [(2, 4 * 140), (3, 4 * 410)])
def test_parameters(spatial_dims, kernels):
    layer = DynamicConvolution(spatial_dims, 3, 5)

    assert sum(parameter.numel() for parameter in layer.parameters()) == kernels + 16 + 20


def test_the_attention_has_a_quarter_of_the_channels():
    assert DynamicConvolution(2, 32, 5).attention[0].out_features == 8


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_one_kernel_is_a_plain_convolution(size):
    layer = layer_of(len(size), kernels=1)
    image = images_of(size)

    plain = CONVOLVED[len(size)](image, layer.weight[0], layer.bias[0], padding=1)

    torch.testing.assert_close(layer(image), plain, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_each_image_of_a_batch_has_its_own_kernel(size, dilation):
    layer, images = layer_of(len(size), dilation=dilation), images_of(size)

    shares = [shares_by_hand(layer, image) for image in images]
    alone = [mixed_by_hand(layer, image, share) for image, share in zip(images, shares, strict=True)]

    assert max((one - shares[0]).abs().max() for one in shares) > 0.1
    torch.testing.assert_close(layer(images), torch.stack(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_slice_has_its_own_kernel(axis, dilation):
    """A slice's kernel is mixed by the slice alone, and still reads the slices beside it."""
    layer, images = layer_of(3, slice_axis=axis, dilation=dilation), images_of((4, 5, 6), batch=2)

    mixed = layer(images)

    for image, answer in zip(images, mixed, strict=True):
        for place in range(image.shape[axis + 1]):
            shares = shares_by_hand(layer, image.select(axis + 1, place))
            by_hand = mixed_by_hand(layer, image, shares).select(axis + 1, place)
            torch.testing.assert_close(answer.select(axis + 1, place), by_hand, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "axis"), [((7, 6), None), ((4, 5, 6), None), ((4, 5, 6), 2)], ids=str)
def test_an_exported_program_computes_the_same_for_any_batch(size, axis):
    layer = layer_of(len(size), slice_axis=axis).eval()
    batch = torch.export.Dim("batch")

    program = torch.export.export(layer, (images_of(size),), dynamic_shapes=({0: batch},)).module()

    torch.testing.assert_close(program(images_of(size, 5)), layer(images_of(size, 5)), atol=1e-5, rtol=1e-5)


def test_a_high_temperature_gives_the_mean_of_the_kernels():
    layer, images = layer_of(2, temperature=1e9), images_of((7, 6))

    mean = functional.conv2d(images, layer.weight.mean(0), layer.bias.mean(0), padding=1)

    torch.testing.assert_close(layer(images), mean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernels": 0}, "kernels is 0; must be a whole number of at least 1"),
        ({"kernels": 2.5}, "kernels is 2.5; must be a whole number"),
        ({"temperature": 0}, "temperature is 0; must be above 0"),
        ({"slice_axis": 2}, "slice_axis is 2, and spatial_dims is 2; only volumes have slices"),
        ({"spatial_dims": 3, "slice_axis": 3}, "slice_axis is 3; must be 0, 1 or 2"),
    ],
    ids=str,
)
def test_impossible_numbers_are_refused(arguments, message):
    with pytest.raises(SegpipeError, match=message):
        DynamicConvolution(**{"spatial_dims": 2, "in_channels": 3, "out_channels": 5, **arguments})


def test_gradients_reach_every_kernel_and_the_attention():
    layer = layer_of(2)

    layer(images_of((7, 6))).square().mean().backward()

    assert all(kernel.abs().max() > 0 for kernel in layer.weight.grad)
    assert all(part.weight.grad.abs().max() > 0 for part in layer.attention if isinstance(part, nn.Linear))

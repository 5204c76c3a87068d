"""A separable convolution: a convolution of each channel by itself, then a mixture of the channels."""

from __future__ import annotations

from collections import OrderedDict

from monai.networks.layers.factories import Conv
from torch import nn


class SeparableConvolution(nn.Sequential):
    """A depthwise convolution over 3 voxels along each axis, then a pointwise convolution.

    Nothing lies between the two, so both together equal one convolution whose kernel is their product:
    `kernel[out, in] = pointwise[out, in] * depthwise[in]`. In place of `in * out * 3**dims` weights there are
    `in * 3**dims + in * out`; each output channel has a bias.

    The depthwise kernels start larger by the root of 3 than torch's, so that the variance of the product is that of
    torch's plain convolution.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the input.
        out_channels: of the output.
        dilation: distance of neighbouring kernel voxels.

    Source: Chollet, Xception, CVPR 2017 (nothing between the two parts); Howard et al., MobileNets, arXiv 1704.04861.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        convolution = Conv["conv", spatial_dims]
        depthwise = convolution(
            in_channels, in_channels, 3, padding=dilation, dilation=dilation, groups=in_channels, bias=False
        )
        nn.init.kaiming_uniform_(depthwise.weight, nonlinearity="linear")
        super().__init__(
            OrderedDict(depthwise=depthwise, pointwise=convolution(in_channels, out_channels, kernel_size=1))
        )

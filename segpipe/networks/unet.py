"""A plain U-Net; MONAI's networks cannot be configured to be the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.layers.factories import Conv, Pool
from torch import nn

from segpipe.networks.blocks import check_architecture, convolutions
from segpipe.networks.context_attention import MultiScaleContext
from segpipe.networks.convolution_kinds import convolution_maker, require_kinds


class UNet(nn.Module):
    """Contracting and expanding paths with concatenated skips, two convolutions a level.

    MONAI's `UNet` adds residuals, its `BasicUNet` has five levels, its `DynUNet` always normalises and has no
    biases, so none is the network that Saood & Hatem trained, which this is by default: 1,861,892 parameters for 4
    classes and one channel.

    Args:
        in_channels: of the images.
        out_channels: classes, the background included.
        widths: channels of each level, from full resolution to the bottom.
        spatial_dims: 2 or 3.
        norm: after every convolution: None, as published, "instance" or another of MONAI's factory; see `norm_of`.
        dropout: share of activations that are set to zero in training, after each ReLU of the bottom level.
        conv: kind of the convolutions over 3 voxels along each axis: "plain", "separable" (`SeparableConvolution`) or
            "dynamic" (`DynamicConvolution`). The first one, which reads the few channels of the image, is always plain.
        attention: "none", or "multi_scale_context": a `MultiScaleContext` behind the bottom level.
        kernels: number of kernels of each dynamic convolution.
        slice_axis: of dynamic convolutions in 3D: spatial axis along which each slice, or time frame, has its own
            mixture of kernels; None: one mixture an image.

    Attributes:
        strides: downsampling factors between the levels.

    Raises:
        SegpipeError: there are less than two levels, a number is out of range, or a kind does not exist.

    Source: Ronneberger et al., MICCAI 2015, doi 10.1007/978-3-319-24574-4_28; Saood & Hatem, BMC Med. Imaging 21:19,
    2021, doi 10.1186/s12880-020-00529-5.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int] = (64, 128, 256),
        spatial_dims: int = 2,
        norm: str | None = None,
        dropout: float = 0.0,
        conv: str = "plain",
        attention: str = "none",
        kernels: int = 4,
        slice_axis: int | None = None,
    ) -> None:
        super().__init__()
        check_architecture("UNet", spatial_dims, widths, 2, in_channels, out_channels)
        require_kinds("UNet", conv, attention)
        made = convolution_maker("UNet", conv, spatial_dims, kernels, slice_axis)
        self.strides = [2] * (len(widths) - 1)
        *upper, bottom = widths
        first = nn.Sequential(
            *convolutions(spatial_dims, [in_channels, upper[0]], norm),
            *convolutions(spatial_dims, [upper[0], upper[0]], norm, convolution=made),
        )
        self.down = nn.ModuleList([first])
        self.down.extend(
            convolutions(spatial_dims, [entry, width, width], norm, convolution=made)
            for entry, width in pairwise(upper)
        )
        # a last odd voxel is pooled too; the decoder cuts its output to the skip's size
        self.pool = Pool["max", spatial_dims](kernel_size=2, stride=2, ceil_mode=True)
        self.bottom = convolutions(spatial_dims, [upper[-1], bottom, bottom], norm, dropout, convolution=made)
        if attention == "multi_scale_context":
            self.bottom.append(MultiScaleContext(spatial_dims, bottom, norm, convolution=made))
        self.enlarge = nn.ModuleList(
            Conv["convtrans", spatial_dims](below, width, kernel_size=2, stride=2)
            for below, width in zip(widths[:0:-1], upper[::-1], strict=True)
        )
        self.up = nn.ModuleList(
            convolutions(spatial_dims, [2 * width, width, width], norm, convolution=made)
            for width in reversed(upper)
        )
        self.logits = Conv["conv", spatial_dims](widths[0], out_channels, kernel_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, out_channels, *spatial)` for images `(B, in_channels, *spatial)` of any size."""
        features = image
        skips: list[torch.Tensor] = []
        for level in self.down:
            features = level(features)
            skips.append(features)
            features = self.pool(features)
        features = self.bottom(features)
        for enlarge, level in zip(self.enlarge, self.up):  # noqa: B905  # what TorchScript has
            skip = skips.pop()
            larger = _cut(enlarge(features), skip)
            features = level(torch.cat([skip, larger], dim=1))
        logits: torch.Tensor = self.logits(features)
        return logits


def _cut(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return the first voxels along each axis, as many as `like` has."""
    for axis in range(2, features.dim()):
        features = features.narrow(axis, 0, like.size(axis))
    return features

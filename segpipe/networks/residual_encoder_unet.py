"""nnU-Net's residual encoder U-Net; MONAI's residual networks have other blocks, stems and decoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers.factories import Conv, Pool
from torch import nn

from segpipe.errors import SegpipeError
from segpipe.networks.blocks import check_architecture, norm_of

_SLOPE = 0.01  # of the leaky ReLU below zero
_WHOLE, _ODD = "a whole number of at least 1", "an odd whole number"
_LEAKY = ("leakyrelu", {"negative_slope": _SLOPE, "inplace": True})

Sizes = Sequence[int | Sequence[int]]
if TYPE_CHECKING:
    Logits = torch.Tensor | list[torch.Tensor]
else:
    Logits = torch.Tensor  # what TorchScript reads: a script returns one tensor


class ResidualEncoderUNet(nn.Module):
    """An encoder of residual blocks, and a light decoder with concatenated skips: nnU-Net's "ResEnc".

    A stem convolves the image. Each level of the encoder is a chain of residual blocks, the first of which halves the
    image by a strided convolution. Each level of the decoder enlarges by a transposed convolution, takes the encoder's
    features beside, and convolves once. Every convolution is followed by a norm and a leaky ReLU. The parts are named
    and ordered as they compute: `stem`, `encoder`, `decoder`, `enlarge`, `heads`; the last three begin at the coarsest
    level. MONAI's `DynUNet(res_block=True)` has one block a level, no stem and residual blocks in its decoder.

    Args:
        in_channels: of the images.
        out_channels: outputs a voxel: classes, the background included.
        widths: channels of each level, from full resolution to the bottom.
        blocks: residual blocks of each level; nnU-Net has 1, 3, 4, 6, 6, 6.
        spatial_dims: 2 or 3.
        strides: downsampling of each level against the level above, a number or a number an axis; the first is
            usually 1. None: 1, then 2 at every level.
        kernel_size: voxels of each level's kernels, odd, a number or a number an axis. None: 3.
        norm: after every convolution; see `norm_of`.
        dropout: share of activations that are set to zero in training, after each block of the bottom level.
        deep_supervision: every level of the decoder has a head. In training the network then returns the logits of all
            heads, from full resolution down, for `segpipe.losses.DeepSupervision`.

    Attributes:
        strides: downsampling factors of the levels.
        deep_supervision: whether a training returns the logits of all heads.

    Raises:
        SegpipeError: there are less than two levels, a number is out of range, or a list has not one entry a level.

    Source: Isensee et al., nnU-Net Revisited, MICCAI 2024, arXiv 2404.09556; the blocks of He et al., Bag of Tricks,
    CVPR 2019, ResNet-D.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        spatial_dims: int = 3,
        strides: Sizes | None = None,
        kernel_size: Sizes | None = None,
        norm: str | None = "instance",
        dropout: float = 0.0,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        check_architecture("ResidualEncoderUNet", spatial_dims, widths, 2, in_channels, out_channels)
        levels = len(widths)
        counted = isinstance(blocks, Sequence) and len(blocks) == levels
        if not counted or not all(isinstance(count, int) and count >= 1 for count in blocks):
            raise SegpipeError(
                f"ResidualEncoderUNet: blocks are {blocks}; needs {levels} whole numbers, one a level, each at "
                "least 1"
            )
        given = [1] + [2] * (levels - 1) if strides is None else strides
        self.strides = _checked("strides", given, spatial_dims, levels, _WHOLE)
        given = [3] * levels if kernel_size is None else kernel_size
        kernels = _checked("kernel_size", given, spatial_dims, levels, _ODD)
        self.deep_supervision = deep_supervision
        self.stem = _convolution(spatial_dims, in_channels, widths[0], kernels[0], 1, norm)
        entries = [widths[0], *widths[:-1]]
        drops = [0.0] * (levels - 1) + [dropout]
        self.encoder = nn.ModuleList(
            _stage(spatial_dims, [entry] + [width] * count, kernel, stride, norm, drop)
            for entry, width, count, kernel, stride, drop in zip(
                entries, widths, blocks, kernels, self.strides, drops, strict=True
            )
        )
        upper = widths[-2::-1]  # from the coarsest level of the decoder
        self.decoder = nn.ModuleList(
            _convolution(spatial_dims, 2 * width, width, kernel, 1, norm)
            for width, kernel in zip(upper, kernels[-2::-1], strict=True)
        )
        self.enlarge = nn.ModuleList(
            Conv["convtrans", spatial_dims](below, width, kernel_size=_axes(stride), stride=_axes(stride))
            for below, width, stride in zip(widths[:0:-1], upper, self.strides[:0:-1], strict=True)
        )
        self.heads = nn.ModuleList(
            Conv["conv", spatial_dims](width, out_channels, kernel_size=1)
            for width in (upper if deep_supervision else upper[-1:])
        )
        self.apply(_initialise)

    def forward(self, image: torch.Tensor) -> Logits:
        """Return logits `(B, out_channels, *spatial)` for images `(B, in_channels, *spatial)` of any size.

        A training with deep supervision gets a list: the logits of each level of the decoder, at the level's own size,
        from full resolution down.
        """
        features = self.stem(image)
        skips: list[torch.Tensor] = []
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        skips.pop()
        decoded: list[torch.Tensor] = []
        for enlarge, level in zip(self.enlarge, self.decoder):  # noqa: B905  # what TorchScript has
            skip = skips.pop()
            features = level(torch.cat([_cut(enlarge(features), skip), skip], dim=1))
            decoded.append(features)
        if not torch.jit.is_scripting() and self.training and self.deep_supervision:  # type: ignore[attr-defined]
            return [head(level) for head, level in zip(self.heads, decoded, strict=True)][::-1]
        logits: torch.Tensor = self.heads[-1](features)
        return logits


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to the input, then a leaky ReLU: the basic block of ResNet-D.

    Where the block halves the image, its input is averaged over the same voxels; where it changes the channels, its
    input is convolved voxel by voxel.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: voxels of both convolutions' kernels, a number or a number an axis.
        stride: downsampling, a number or a number an axis.
        norm: after every convolution; see `norm_of`.
        dropout: share of outputs that are set to zero in training.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int],
        norm: str | None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = _convolution(spatial_dims, in_channels, out_channels, kernel_size, stride, norm)
        self.second = _convolution(spatial_dims, out_channels, out_channels, kernel_size, 1, norm, act=False)
        self.skip = nn.Sequential()
        factors = _axes(stride)
        if any(factor > 1 for factor in ([factors] if isinstance(factors, int) else factors)):
            # where a window exceeds the image, the mean is of the voxels inside
            self.skip.append(
                Pool["avg", spatial_dims](factors, factors, ceil_mode=True, count_include_pad=False)
            )
        if in_channels != out_channels:
            self.skip.append(
                _convolution(spatial_dims, in_channels, out_channels, 1, 1, norm, bias=False, act=False)
            )
        activation: list[nn.Module] = [nn.LeakyReLU(_SLOPE, inplace=True)]
        self.activation = nn.Sequential(*activation, *([nn.Dropout(dropout)] if dropout else []))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features `(B, out_channels, *spatial)`, each axis over its stride, rounded up."""
        added: torch.Tensor = self.activation(self.second(self.first(features)) + self.skip(features))
        return added


def _stage(
    spatial_dims: int,
    channels: list[int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int],
    norm: str | None,
    dropout: float,
) -> nn.Sequential:
    """Return a chain of residual blocks, the first with the stride; `channels` are the input's, then each block's."""
    return nn.Sequential(
        *(
            ResidualBlock(spatial_dims, entry, leave, kernel_size, 1 if place else stride, norm, dropout)
            for place, (entry, leave) in enumerate(pairwise(channels))
        )
    )


def _convolution(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int],
    norm: str | None,
    *,
    bias: bool = True,
    act: bool = True,
) -> nn.Module:
    """Return a convolution with its norm and leaky ReLU."""
    return Convolution(  # type: ignore[no-any-return]  # MONAI is untyped
        spatial_dims,
        in_channels,
        out_channels,
        strides=stride,
        kernel_size=kernel_size,
        adn_ordering="NA",
        act=_LEAKY if act else None,
        norm=norm_of(norm, out_channels),
        bias=bias,
    )


def _axes(stride: int | Sequence[int]) -> int | tuple[int, ...]:
    return stride if isinstance(stride, int) else tuple(stride)


def _cut(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return the first voxels along each axis, as many as `like` has."""
    for axis in range(2, features.dim()):
        features = features.narrow(axis, 0, like.size(axis))
    return features


def _initialise(module: nn.Module) -> None:
    """Set the weights with which a training begins: every residual block passes on its input."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, ResidualBlock):
        for scale in (one for name, one in module.second.named_parameters() if name == "adn.N.weight"):
            nn.init.zeros_(scale)


def _checked(name: str, given: Sizes, spatial_dims: int, levels: int, rule: str) -> list[int | Sequence[int]]:
    """Return sizes as a list; refuse sizes that are not one a level, or break the rule of their name."""
    listed = list(given) if isinstance(given, list | tuple) else []
    axes = [[size] * spatial_dims if isinstance(size, int) else size for size in listed]
    fits = len(listed) == levels and all(
        isinstance(size, list | tuple)
        and len(size) == spatial_dims
        and all(isinstance(one, int) and one >= 1 and (rule != _ODD or one % 2) for one in size)
        for size in axes
    )
    if not fits:
        raise SegpipeError(
            f"ResidualEncoderUNet: {name} is {given}; needs {levels}, one a level, each {rule} or {spatial_dims} of "
            "them"
        )
    return listed

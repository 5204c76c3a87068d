"""Multi-scale context attention: parallel dilated convolutions and the whole image, weighted at each voxel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from segpipe.networks.blocks import MakeConvolution, normalised


class MultiScaleContext(nn.Module):
    """A weighted mean of branches that see near, far and the whole image; the input weighs them at each voxel.

    Each dilated branch is a convolution with normalisation and ReLU. The last branch is the mean of each channel over
    the image, a linear layer and ReLU. The weights are a softmax of scores from the voxel's own features and from the
    means over the image. They start equal, so that the output is the mean of the branches.

    Args:
        spatial_dims: 2 or 3.
        channels: of the input and of the output.
        norm: see `segpipe.networks.blocks.norm_of`.
        dilations: dilation of each branch's kernel.
        convolution: makes the branches' convolutions; None: plain ones.

    Source: parallel dilated branches with the image's mean: Chen et al., arXiv 1706.05587 (DeepLabv3); branches
    weighted by the input: Li et al., Selective Kernel Networks, CVPR 2019.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        norm: str | None,
        dilations: Sequence[int] = (1, 2, 4),
        convolution: MakeConvolution | None = None,
    ) -> None:
        super().__init__()
        full = Conv["conv", spatial_dims]

        def dilated(dilation: int) -> nn.Module:
            if convolution is not None:
                return convolution(channels, channels, dilation)
            made: nn.Module = full(channels, channels, 3, padding=dilation, dilation=dilation)
            return made

        self.axes = [axis + 2 for axis in range(spatial_dims)]
        self.branches = nn.ModuleList(
            normalised(dilated(dilation), spatial_dims, channels, norm) for dilation in dilations
        )
        self.whole = nn.Sequential(full(channels, channels, kernel_size=1), nn.ReLU())
        self.score_voxels = full(channels, len(dilations) + 1, kernel_size=1)
        self.score_image = full(channels, len(dilations) + 1, kernel_size=1, bias=False)
        for scores in (self.score_voxels, self.score_image):
            nn.init.zeros_(scores.weight)
        nn.init.zeros_(self.score_voxels.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `(B, channels, *spatial)` for `(B, channels, *spatial)`."""
        means = features.mean(dim=self.axes, keepdim=True)
        shares = self.shares(features, means)
        context: torch.Tensor = shares[:, -1:] * self.whole(means)
        for place, branch in enumerate(self.branches):
            context = context + shares[:, place : place + 1] * branch(features)
        return context

    def shares(self, features: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
        """Return the weight of each branch at each voxel, `(B, branches, *spatial)`, with a sum of 1.

        Args:
            features: `(B, channels, *spatial)`.
            means: of the features over the image, `(B, channels, 1, 1[, 1])`.
        """
        scores: torch.Tensor = self.score_voxels(features) + self.score_image(means)
        return torch.softmax(scores, dim=1)

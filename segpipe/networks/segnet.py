"""SegNet: an encoder, and a decoder that puts every maximum back at its position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.layers.utils import get_norm_layer
from torch import nn

from segpipe.errors import SegpipeError
from segpipe.networks.blocks import MaxPool, MaxUnpool, check_architecture, convolutions, norm_of

PAPER_STAGES = ((64, 64),) * 3
VGG16_STAGES = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)


class SegNet(nn.Module):
    """An encoder and a decoder that share only the positions of the maxima.

    Each stage of the encoder is a chain of convolutions and a max-pool. The decoder's stages mirror the encoder's:
    they unpool with the encoder's positions and convolve. There are no skip connections and no learnt upsampling.

    Args:
        in_channels: of the images.
        out_channels: classes, the background included.
        stages: the encoder's widths, a sequence of convolutions a stage; their number is the depth. The default
            is the network of Saood & Hatem: 373,644 parameters for 4 classes and one channel, 372,486 for 2.
            `VGG16_STAGES` has the 13 convolutions of the original.
        spatial_dims: 2 or 3.
        norm: after every convolution: "batch", as published, "instance" or another of MONAI's factory; see `norm_of`.
        norm_last: whether the last convolution, whose outputs are the logits, is normalised too. Saood & Hatem's
            is, the original is not.
        dropout: share of activations that are set to zero in training, after each ReLU of the encoder's deepest stage.
        strides: downsampling factor of each stage's pool, 1 or more: a number, or a number an axis. An axis of 1 is
            not pooled, such as the axis across thick slices. None, the default, pools by 2 along each axis, as
            published. The state has the same names and shapes for all strides.

    Attributes:
        strides: downsampling factors of the stages.

    Raises:
        SegpipeError: there is no stage, a stage is empty, a number is out of range, or there is no stride a stage.

    Source: Badrinarayanan et al., TPAMI 2017, doi 10.1109/TPAMI.2016.2644615; Saood & Hatem, BMC Med. Imaging 21:19,
    2021, doi 10.1186/s12880-020-00529-5.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stages: Sequence[Sequence[int]] = PAPER_STAGES,
        spatial_dims: int = 2,
        norm: str | None = "batch",
        norm_last: bool = False,
        dropout: float = 0.0,
        strides: Sequence[int | Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        listed = isinstance(stages, Sequence) and all(isinstance(stage, Sequence) for stage in stages)
        if not listed or not stages or not all(stages):
            raise SegpipeError(
                f"SegNet: stages are {stages}; needs at least one, each a list with a width a convolution"
            )
        check_architecture(
            "SegNet", spatial_dims, [w for stage in stages for w in stage], 1, in_channels, out_channels
        )
        self.strides = [2] * len(stages) if strides is None else _checked(strides, len(stages), spatial_dims)
        entries = [in_channels, *(stage[-1] for stage in stages[:-1])]
        drops = [0.0] * (len(stages) - 1) + [dropout]
        self.encoder = nn.ModuleList(
            convolutions(spatial_dims, [entry, *stage], norm, drop)
            for entry, stage, drop in zip(entries, stages, drops, strict=True)
        )
        exits = [out_channels, *entries[1:]]
        mirrored = [[*reversed(stage), leave] for leave, stage in zip(exits, stages, strict=True)]
        last = mirrored.pop(0)
        self.decoder = nn.ModuleList(
            convolutions(spatial_dims, channels, norm) for channels in reversed(mirrored)
        )
        self.logits = convolutions(spatial_dims, last, norm, bare_last=True)
        last_norm = norm_of(norm, out_channels) if norm_last else None
        if last_norm is not None:
            self.logits.append(get_norm_layer(last_norm, spatial_dims, out_channels))
        self.pools = nn.ModuleList(MaxPool(spatial_dims, stride) for stride in self.strides)
        self.unpool = MaxUnpool()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, out_channels, *spatial)` for images `(B, in_channels, *spatial)` of any size."""
        features = image
        unpooled: list[torch.Tensor] = []
        places: list[torch.Tensor] = []
        for stage, pool in zip(self.encoder, self.pools):  # noqa: B905  # what TorchScript has
            features = stage(features)
            unpooled.append(features)
            features, indices = pool(features)
            places.append(indices)
        for stage in self.decoder:
            features = stage(self.unpool(features, places.pop(), unpooled.pop()))
        logits: torch.Tensor = self.logits(self.unpool(features, places.pop(), unpooled.pop()))
        return logits


def _checked(strides: Any, stages: int, spatial_dims: int) -> list[int | Sequence[int]]:
    """Return the strides as a list; refuse strides that do not fit the stages."""
    listed = list(strides) if isinstance(strides, list | tuple) else []
    axes = [[stride] * spatial_dims if isinstance(stride, int) else stride for stride in listed]
    fits = len(listed) == stages and all(
        isinstance(stride, list | tuple)
        and len(stride) == spatial_dims
        and all(isinstance(one, int) and one >= 1 for one in stride)
        for stride in axes
    )
    if not fits:
        raise SegpipeError(
            f"SegNet: strides are {strides}; needs {stages}, one a stage, each a whole number of at least 1 or "
            f"{spatial_dims} of them"
        )
    return listed

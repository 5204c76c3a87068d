"""The small convolutional classifier of image tiles from the tutorial on MetaImage volumes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from segpipe.errors import SegpipeError


class TileClassifier(nn.Module):
    """3 x 3 convolutions with batch norm and ReLU, a max-pool after each stage, then one linear layer.

    With the default stages, tiles of 24 x 24 pixels and two classes the network has 268,994 parameters.

    Args:
        num_classes: number C of classes.
        in_channels: channels of a tile.
        tile_size: rows and columns of a tile.
        stages: channels of the convolutions of each stage.

    Raises:
        SegpipeError: the tile is too small for the max-pools.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1,
        tile_size: Sequence[int] = (24, 24),
        stages: Sequence[Sequence[int]] = ((64, 64), (128, 128)),
    ) -> None:
        super().__init__()
        halved = [length // 2 ** len(stages) for length in tile_size]
        if len(halved) != 2 or min(halved) < 1:
            raise SegpipeError(
                f"TileClassifier: tile_size is {list(tile_size)}; {len(stages)} stages halve rows and columns, so each "
                f"needs at least {2 ** len(stages)} pixels"
            )
        self.tile_size = tuple(tile_size)
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in stages:
            for width in stage:
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels * halved[0] * halved[1], num_classes)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, C)` from `(B, in_channels, rows, columns)`.

        Raises:
            SegpipeError: tiles of another size.
        """
        rows, columns = tiles.shape[2], tiles.shape[3]
        if rows != self.tile_size[0] or columns != self.tile_size[1]:
            raise SegpipeError(
                f"TileClassifier: tiles of {(rows, columns)} pixels, takes {self.tile_size}; resize them"
            )
        logits: torch.Tensor = self.classifier(self.features(tiles).flatten(1))
        return logits

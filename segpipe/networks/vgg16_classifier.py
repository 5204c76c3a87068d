"""VGG16 with the classification head of the retinal OCT tutorial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segpipe.errors import SegpipeError
from segpipe.networks.weights_files import read_state

VGG16_LAYOUT: tuple[int | str, ...] = (
    *(64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool"),
    *(512, 512, 512, "pool", 512, 512, 512, "pool"),
)
"""Channels of the convolutions, and the places of the max-pools."""
_WIDTH = 4096
_GRID = 7
_LAST = "classifier.6"
_GIVE = "give torchvision's vgg16 (vgg16-397923af.pth)"


class VGG16Classifier(nn.Module):
    """VGG16 whose last layer is Linear(4096, 256), ReLU, Dropout, Linear(256, C), LogSoftmax.

    Modules have torchvision's names, so that its ImageNet weights fit all layers but the last. With four classes the
    network has 135,310,404 parameters. With `freeze` 1,049,860 of them are trained: those of the last layer.

    Args:
        num_classes: C.
        hidden: width of the layer before the last.
        dropout: share of the hidden values that training sets to 0.
        freeze: train the last layer only.
        layout: see `VGG16_LAYOUT`; another one makes another network.
        width: width of the two layers before the head.

    Source: Simonyan & Zisserman, ICLR 2015.
    """

    def __init__(
        self,
        num_classes: int,
        hidden: int = 256,
        dropout: float = 0.4,
        freeze: bool = True,
        layout: Sequence[int | str] = VGG16_LAYOUT,
        width: int = _WIDTH,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for step in layout:
            if isinstance(step, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, step, 3, padding=1), nn.ReLU(inplace=True)]
                channels = step
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(_GRID)
        self.classifier = nn.Sequential(
            nn.Linear(channels * _GRID**2, width),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Sequential(
                nn.Linear(width, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, num_classes),
                nn.LogSoftmax(dim=1),
            ),
        )
        if freeze:
            for name, parameter in self.named_parameters():
                parameter.requires_grad = name.startswith(_LAST)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logarithms of probabilities, `(B, C)`, from `(B, 3, rows, columns)`."""
        scores: torch.Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return scores


def load_vgg16(network: VGG16Classifier, path: Path) -> None:
    """Copy ImageNet weights into all layers but the last.

    Args:
        network: is unchanged where the file is refused.
        path: a local state dict of torchvision's `vgg16`; its last layer is not read.

    Raises:
        SegpipeError: the file cannot be read, or a tensor is missing or has another shape.
    """
    if not path.is_file():
        raise SegpipeError(f"{path}: no such weights of VGG16; {_GIVE}")
    stored = read_state(path)
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(_LAST)}
    network.load_state_dict(_fitting(path, stored, wanted), strict=False)


def _fitting(path: Path, stored: Any, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not isinstance(stored, dict) or not all(
        isinstance(tensor, torch.Tensor) for tensor in stored.values()
    ):
        raise SegpipeError(f"{path}: is not a state_dict; {_GIVE}")
    for name, tensor in wanted.items():
        if name not in stored:
            raise SegpipeError(f"{path}: has no {name}; {_GIVE}")
        if stored[name].shape != tensor.shape:
            raise SegpipeError(
                f"{path}: {name} is of shape {tuple(stored[name].shape)}, the network's of {tuple(tensor.shape)}; "
                f"{_GIVE}"
            )
    return {name: stored[name] for name in wanted}

"""A network whose output channels stand in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch


class OrderedOutputs(torch.nn.Module):
    """A network with its output channels reordered.

    Args:
        network: with at least as many output channels as `order` names.
        order: for each output of this network, the number of the channel of `network`.
    """

    def __init__(self, network: torch.nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.order = list(order)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return scores `(B, len(order), *spatial)` of images `(B, C, *spatial)`."""
        return cast(torch.Tensor, self.network(images))[:, self.order]

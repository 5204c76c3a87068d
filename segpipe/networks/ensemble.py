"""Several networks as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch


class Ensemble(torch.nn.Module):
    """The mean of several networks' scores.

    Args:
        networks: of the same input and classes, at least one.
    """

    def __init__(self, networks: Iterable[torch.nn.Module]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(networks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return scores `(B, classes, *spatial)` of images `(B, C, *spatial)`."""
        first, *others = self.members
        total = cast(torch.Tensor, first(images))
        for member in others:
            total = total + member(images)
        return total / len(self.members)

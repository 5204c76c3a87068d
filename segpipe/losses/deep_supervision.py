"""A loss over the heads of a network that scores an image at several resolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class DeepSupervision(nn.Module):
    """The mean of a loss over a network's heads, each weighted half as much as the head of twice its resolution.

    The label map of a head is the label map at every second voxel, every fourth and so on. MONAI's
    `DeepSupervisionLoss` has weights whose sum grows with the number of heads, and does not record the loss's terms.

    Args:
        loss: function of logits `(B, C, *spatial)` and a label map `(B, 1, *spatial)`.

    Attributes:
        terms: weighted terms of the last loss, where `loss` records its terms; their sum is the loss.

    Source: Isensee et al., nnU-Net, Nature Methods 18, 2021, which leaves out the coarsest head; Lee et al.,
    Deeply-Supervised Nets, AISTATS 2015.
    """

    terms: dict[str, torch.Tensor]

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.terms = {}

    @property
    def sums_over_ranks(self) -> bool:
        """Whether the loss of a head sums its numerators and denominators over ranks, see `OverRanks`."""
        return bool(getattr(self.loss, "sums_over_ranks", False))

    def forward(self, logits: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar.

        Args:
            logits: of each head, `(B, C, *spatial)`, from full resolution down; or of one head alone, as a network
                returns in evaluation.
            target: label map `(B, 1, *spatial)` of class indices at full resolution, of any type.
        """
        heads = [logits] if isinstance(logits, torch.Tensor) else list(logits)
        whole = sum(0.5**level for level in range(len(heads)))
        self.terms = {}
        losses = []
        for level, head in enumerate(heads):
            share = 0.5**level / whole
            losses.append(share * self.loss(head, _at_size(target, head)))
            for name, term in getattr(self.loss, "terms", {}).items():
                self.terms[name] = self.terms.get(name, 0) + share * term
        return torch.stack(losses).sum()


def _at_size(target: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Return the label map at the size of a head's logits, each voxel the nearest one's class."""
    if target.shape[2:] == head.shape[2:]:
        return target
    return functional.interpolate(target.float(), head.shape[2:], mode="nearest-exact")

"""Means of a loss's terms over an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from monai.utils import convert_to_tensor


def has_terms(loss: Any) -> bool:
    """Return whether a loss records its terms."""
    return isinstance(getattr(loss, "terms", None), Mapping)


class LossTerms:
    """Means of a loss's terms, kept on their device and read once.

    A loss without terms, such as those of torch and MONAI, has no means.
    """

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._weight = 0.0

    def reset(self) -> None:
        """Set the counts to zero."""
        self._sums, self._weight = {}, 0.0

    def update(self, loss: Any, weight: float = 1.0) -> None:
        """Count the terms that a loss recorded in its last call.

        Args:
            loss: only the `terms` of losses such as `segpipe.losses.DiceCrossEntropy` are counted.
            weight: weight of this batch in the mean.
        """
        if not has_terms(loss):
            return
        self._weight += weight
        for name, term in loss.terms.items():
            value = weight * convert_to_tensor(term, track_meta=False).detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and counts so far."""
        return {"sums": dict(self._sums), "weight": self._weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the counts of a saved state."""
        self._sums, self._weight = dict(state["sums"]), state["weight"]

    def means(self) -> dict[str, float]:
        """Return the mean of each term over all processes; every process must call this."""
        names = sorted(self._sums)
        if not names:
            return {}
        weight = torch.tensor(self._weight, dtype=torch.float64, device=self._sums[names[0]].device)
        *sums, total = idist.all_reduce(torch.stack([*(self._sums[name] for name in names), weight])).tolist()
        return {name: value / total for name, value in zip(names, sums, strict=True)}

"""What a loss is made of, as means over an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from monai.utils import convert_to_tensor


def has_terms(loss: Any) -> bool:
    """Tell whether a loss notes its terms."""
    return isinstance(getattr(loss, "terms", None), Mapping)


class LossTerms:
    """Means of a loss's terms, kept on their device and read once.

    A loss that has none, as those of torch and MONAI, gives no means.
    """

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._weight = 0.0

    def reset(self) -> None:
        """Forget what was counted."""
        self._sums, self._weight = {}, 0.0

    def update(self, loss: Any, weight: float = 1.0) -> None:
        """Count the terms that a loss noted when it was last called.

        Args:
            loss: `terms` of such as `segpipe.losses.DiceCrossEntropy` are counted.
            weight: of this batch in the mean.
        """
        if not has_terms(loss):
            return
        self._weight += weight
        for name, term in loss.terms.items():
            value = weight * convert_to_tensor(term, track_meta=False).detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def state_dict(self) -> dict[str, Any]:
        """Return what the means are of so far."""
        return {"sums": dict(self._sums), "weight": self._weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting from there."""
        self._sums, self._weight = dict(state["sums"]), state["weight"]

    def means(self) -> dict[str, float]:
        """Return the mean of each term, over all processes: every one of them must ask."""
        names = sorted(self._sums)
        if not names:
            return {}
        weight = torch.tensor(self._weight, dtype=torch.float64, device=self._sums[names[0]].device)
        *sums, total = idist.all_reduce(torch.stack([*(self._sums[name] for name in names), weight])).tolist()
        return {name: value / total for name, value in zip(names, sums, strict=True)}

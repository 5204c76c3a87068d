"""The Dice that training, validation and evaluation share."""

from __future__ import annotations

import torch
from monai.metrics import DiceMetric


class PresentDice(DiceMetric):  # type: ignore[misc]  # MONAI is untyped
    """Dice of each foreground class; 0 where it was found and is not there, NaN where there is nothing to find.

    MONAI's own choice is NaN wherever the reference lacks the class, which hides every false positive, or with
    `ignore_empty=False` 1 for a class that neither map has, which flatters the mean. The definition is that of
    `segpipe.evaluation.dice_per_class`.
    """

    def __init__(self) -> None:
        super().__init__(include_background=False, reduction="mean", ignore_empty=False)

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return `(B, C-1)` for one-hot maps `(B, C, *spatial)`."""
        dice: torch.Tensor = super()._compute_tensor(y_pred, y)
        spatial = tuple(range(2, y.ndim))
        nothing_to_find = (y_pred[:, 1:].sum(spatial) + y[:, 1:].sum(spatial)) == 0
        return dice.masked_fill(nothing_to_find.to(dice.device), float("nan"))

"""What the losses share: the factors of their two terms, and the mean of Dice losses."""

from __future__ import annotations

import torch

from segpipe.errors import SegpipeError


def require_factors(loss: str, dice_weight: float, cross_entropy_weight: float) -> None:
    """Refuse factors of the terms that are negative, or both 0.

    Args:
        loss: name of the loss, for the message.
        dice_weight: factor of the Dice loss.
        cross_entropy_weight: factor of the cross-entropy.

    Raises:
        SegpipeError: the factors are such.
    """
    if min(dice_weight, cross_entropy_weight) < 0 or dice_weight + cross_entropy_weight == 0:
        raise SegpipeError(
            f"{loss}: dice_weight is {dice_weight}, cross_entropy_weight {cross_entropy_weight}; neither may be below "
            "0, and one must be above"
        )


def mean_of_present(
    dice: torch.Tensor, reference: torch.Tensor, batch_dice: bool, skip_absent: bool
) -> torch.Tensor:
    """Return the mean of Dice losses, without those of classes that the reference lacks where they are to be skipped.

    Args:
        dice: one value a class, or an image and a class.
        reference: `(B, classes, *spatial)`, 0 or 1.
        batch_dice: `dice` has one value a class over the batch.
        skip_absent: leave out the classes without a voxel.
    """
    present = torch.ones_like(dice)
    if skip_absent:
        voxels = reference.flatten(2).sum(dim=2)
        present = ((voxels.sum(dim=0) if batch_dice else voxels) > 0).to(dice).view_as(dice)
    mean: torch.Tensor = (dice * present).sum() / present.sum().clamp(min=1)
    return mean

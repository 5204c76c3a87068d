"""What the losses share: the factors of their two terms, and the mean of Dice losses."""

from __future__ import annotations

import torch
from monai.losses.utils import compute_tp_fp_fn

from segpipe.errors import SegpipeError
from segpipe.losses.over_ranks import mean_over_ranks, sum_over_ranks

_SMOOTH = 1e-5  # as in MONAI's DiceLoss


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


def mean_dice_loss(
    probabilities: torch.Tensor, reference: torch.Tensor, batch_dice: bool, skip_absent: bool
) -> torch.Tensor:
    """Return the mean of the soft Dice losses of all classes, or of all images and classes, as MONAI's `DiceLoss`.

    Within `OverRanks` the mean and the Dice of a batch are those of all ranks.

    Args:
        probabilities: `(B, classes, *spatial)`.
        reference: `(B, classes, *spatial)`, 0 or 1.
        batch_dice: one Dice a class over the batch, instead of one an image and a class.
        skip_absent: leave out the classes without a voxel.
    """
    axes = list(range(2, reference.ndim))
    sums = torch.stack(
        compute_tp_fp_fn(
            probabilities, reference, [0, *axes] if batch_dice else axes, ord=1, soft_label=False
        )
    )
    if batch_dice:
        sums = sum_over_ranks(sums)
    both, only_predicted, only_reference = sums
    dice = 1 - (2 * both + _SMOOTH) / (2 * (both + 0.5 * only_predicted + 0.5 * only_reference) + _SMOOTH)
    present = torch.ones_like(dice)
    if skip_absent:
        voxels = reference.flatten(2).sum(dim=2)
        present = ((sum_over_ranks(voxels.sum(dim=0)) if batch_dice else voxels) > 0).to(dice)
    mean: torch.Tensor = (dice * present).sum() / present.sum().clamp(min=1)
    return mean if batch_dice else mean_over_ranks(mean, present.sum)

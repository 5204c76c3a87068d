"""Dice plus cross-entropy, with class weights on the cross-entropy alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks import one_hot
from torch import nn
from torch.nn import functional

from segpipe.errors import SegpipeError
from segpipe.losses.over_ranks import mean_over_ranks
from segpipe.losses.terms import mean_dice_loss, require_factors


class DiceCrossEntropy(nn.Module):
    """Soft Dice loss plus weighted cross-entropy.

    MONAI's `DiceCELoss` multiplies its Dice by the class weights too, without dividing by their sum. Here the weights
    act on the cross-entropy alone, which is divided by the summed weights of the present voxels, as in torch.

    Args:
        class_weights: (C,), positive; None: equal weights.
        include_background: class 0 has a Dice. The cross-entropy always counts the background.
        dice_weight: factor of the Dice loss; 0 leaves out the term.
        cross_entropy_weight: factor of the cross-entropy; 0 leaves out the term.
        batch_dice: one Dice over the batch, instead of the mean over its images. An image that lacks a class, as most
            slices do, then has no Dice of its own for that class.
        skip_absent: leave out the Dice of a class that the batch lacks (without `batch_dice`: that the image lacks).
            Otherwise the smoothing of 0 / 0 pushes the probability of a rare class to zero, and the class does not
            recover. The cross-entropy still counts every voxel that is predicted as the class.
        ignore_index: label of voxels that count in neither term; None: every voxel counts.

    Raises:
        SegpipeError: weights are not positive numbers, or both factors are 0; in `forward`, weights and logits have
            different numbers of classes.

    Attributes:
        terms: terms of the last loss, `dice` and `cross_entropy` unless left out, without gradient, each with its
            factor, so that their sum is the loss; empty before the first loss.
    """

    sums_over_ranks = True
    class_weights: torch.Tensor | None
    terms: dict[str, torch.Tensor]

    def __init__(
        self,
        class_weights: torch.Tensor | Sequence[float] | None = None,
        include_background: bool = False,
        dice_weight: float = 1.0,
        cross_entropy_weight: float = 1.0,
        batch_dice: bool = False,
        skip_absent: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        if weights is not None and not (weights.isfinite() & (weights > 0)).all():
            raise SegpipeError(
                f"DiceCrossEntropy: class weights are {weights.tolist()}; each must be a positive number"
            )
        require_factors("DiceCrossEntropy", dice_weight, cross_entropy_weight)
        self.register_buffer("class_weights", weights, persistent=False)
        self.include_background = include_background
        self.batch_dice = batch_dice
        self.skip_absent = skip_absent
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight
        self.ignore_index = ignore_index
        self.terms = {}

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a float32 scalar on the logits' device.

        Args:
            logits: `(B, C, *spatial)`, any floating-point type.
            target: `(B, 1, *spatial)`, class indices 0..C-1 of any type, or `ignore_index`.
        """
        logits, classes = logits.float(), target[:, 0].long()
        counted = None if self.ignore_index is None else classes != self.ignore_index
        if counted is not None:
            classes = classes.where(counted, 0)
        terms = {}
        if self.dice_weight:
            terms["dice"] = self.dice_weight * self._dice(logits, classes, counted)
        if self.cross_entropy_weight:
            terms["cross_entropy"] = self.cross_entropy_weight * self._cross_entropy(logits, classes, counted)
        self.terms = {name: term.detach() for name, term in terms.items()}
        return sum(terms.values(), start=logits.new_zeros(()))

    def _dice(
        self, logits: torch.Tensor, classes: torch.Tensor, counted: torch.Tensor | None
    ) -> torch.Tensor:
        probabilities = logits.softmax(dim=1)
        reference = one_hot(classes[:, None], num_classes=logits.shape[1])
        if counted is not None:
            probabilities, reference = probabilities * counted[:, None], reference * counted[:, None]
        first = 0 if self.include_background else 1
        return mean_dice_loss(
            probabilities[:, first:], reference[:, first:], self.batch_dice, self.skip_absent
        )

    def _cross_entropy(
        self, logits: torch.Tensor, classes: torch.Tensor, counted: torch.Tensor | None
    ) -> torch.Tensor:
        weights = self.class_weights
        if weights is not None:
            if len(weights) != logits.shape[1]:
                raise SegpipeError(
                    f"DiceCrossEntropy: {len(weights)} class weights, but the network has {logits.shape[1]} "
                    "classes; give one a class, the background included"
                )
            weights = weights.to(logits)
        if counted is None:
            mean = functional.cross_entropy(logits, classes, weight=weights)
        elif counted.any():
            ignored = classes.masked_fill(~counted, -1)
            mean = functional.cross_entropy(logits, ignored, weight=weights, ignore_index=-1)
        else:
            mean = logits.sum() * 0  # no voxel counts: torch's mean would be NaN
        return mean_over_ranks(mean, lambda: _denominator(classes, counted, weights))


def _denominator(
    classes: torch.Tensor, counted: torch.Tensor | None, weights: torch.Tensor | None
) -> torch.Tensor:
    """Return by what torch divides the summed cross-entropy: the weights of the counted voxels."""
    of_voxels = torch.ones_like(classes) if weights is None else weights[classes]
    return of_voxels.sum() if counted is None else (of_voxels * counted).sum()

"""Dice plus binary cross-entropy of regions, which overlap: each region is a question of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from segpipe.errors import SegpipeError
from segpipe.losses.over_ranks import mean_over_ranks
from segpipe.losses.terms import mean_dice_loss, require_factors


class RegionDiceCrossEntropy(nn.Module):
    """Soft Dice loss plus binary cross-entropy, each the mean over regions; the network has one output a region.

    MONAI's `DiceCELoss` computes the cross-entropy of classes that exclude each other as soon as there are several
    outputs, also with `sigmoid`.

    Args:
        regions: the class indices of each region, as `LabelTable.target_classes`.
        dice_weight: factor of the Dice loss; 0 leaves out the term.
        cross_entropy_weight: factor of the cross-entropy; 0 leaves out the term.
        batch_dice: one Dice over the batch, instead of the mean over its images.
        skip_absent: leave out the Dice of a region that the batch lacks (without `batch_dice`: that the image lacks),
            see `DiceCrossEntropy`.
        ignore_index: label of voxels that count in neither term; None: every voxel counts.

    Raises:
        SegpipeError: there is no region, a region is empty, or both factors are 0; in `forward`, the network has
            another number of outputs.

    Attributes:
        terms: terms of the last loss, `dice` and `cross_entropy` unless left out, without gradient, each with its
            factor, so that their sum is the loss; empty before the first loss.

    Source: Isensee et al., nnU-Net for brain tumor segmentation, BrainLes 2020, section 2.4.
    """

    sums_over_ranks = True
    inside: torch.Tensor
    terms: dict[str, torch.Tensor]

    def __init__(
        self,
        regions: Sequence[Sequence[int]],
        dice_weight: float = 1.0,
        cross_entropy_weight: float = 1.0,
        batch_dice: bool = False,
        skip_absent: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        if not regions or not all(regions):
            raise SegpipeError(
                f"RegionDiceCrossEntropy: the regions are {[list(region) for region in regions]}; each needs a class"
            )
        require_factors("RegionDiceCrossEntropy", dice_weight, cross_entropy_weight)
        inside = torch.zeros((len(regions), 1 + max(max(region) for region in regions)))
        for place, region in enumerate(regions):
            inside[place, list(region)] = 1
        self.register_buffer("inside", inside, persistent=False)
        self.batch_dice = batch_dice
        self.skip_absent = skip_absent
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight
        self.ignore_index = ignore_index
        self.terms = {}

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a float32 scalar on the logits' device.

        Args:
            logits: `(B, R, *spatial)`, any floating-point type.
            target: `(B, 1, *spatial)`, class indices of any type, or `ignore_index`.
        """
        if logits.shape[1] != len(self.inside):
            raise SegpipeError(
                f"RegionDiceCrossEntropy: {len(self.inside)} regions, but the network has {logits.shape[1]} outputs; "
                'give it one a region: out_channels: "$len(@labels.output_names)"'
            )
        logits, classes = logits.float(), target[:, 0].long()
        counted = torch.ones_like(classes, dtype=logits.dtype)
        if self.ignore_index is not None:
            counted = (classes != self.ignore_index).to(logits.dtype)
            classes = classes.where(counted > 0, 0)
        reference = self.inside.to(logits.device)[:, classes].movedim(0, 1)
        terms = {}
        if self.dice_weight:
            terms["dice"] = self.dice_weight * self._dice(logits, reference, counted[:, None])
        if self.cross_entropy_weight:
            each = functional.binary_cross_entropy_with_logits(logits, reference, reduction="none")
            number = counted.sum() * len(self.inside)
            mean = (each * counted[:, None]).sum() / number.clamp(min=1)
            terms["cross_entropy"] = self.cross_entropy_weight * mean_over_ranks(mean, lambda: number)
        self.terms = {name: term.detach() for name, term in terms.items()}
        return sum(terms.values(), start=logits.new_zeros(()))

    def _dice(self, logits: torch.Tensor, reference: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        return mean_dice_loss(
            logits.sigmoid() * counted, reference * counted, self.batch_dice, self.skip_absent
        )

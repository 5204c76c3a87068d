"""Losses of classifications: weighted binary cross-entropy over findings, and weights of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from segpipe.errors import SegpipeError
from segpipe.losses.over_ranks import mean_over_ranks


class WeightedBinaryCrossEntropy(torch.nn.Module):
    """Binary cross-entropy of each finding, with a weight for images that have it and one for images that lack it.

    Unknown findings (NaN) have no loss and no gradient. The loss is the mean over the known ones, so that its size does
    not depend on how many are unknown; it is 0 where all are.

    Args:
        weights: `(F, 2)`: of each finding the weight of positive and of negative images, see `finding_weights`; None
            weighs all alike.
        label_smoothing: share by which targets move towards one half, 0 to below 1.

    Raises:
        SegpipeError: weights of another shape or negative ones, or a share out of its range.

    Source: Rajpurkar et al., CheXNet, arXiv:1711.05225 (weights).
    """

    sums_over_ranks = True
    weights: torch.Tensor

    def __init__(
        self, weights: torch.Tensor | Sequence[Sequence[float]] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        given = torch.ones(1, 2) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
        if given.ndim != 2 or given.shape[1] != 2 or not (given >= 0).all():
            raise SegpipeError(
                f"WeightedBinaryCrossEntropy: weights have shape {tuple(given.shape)}; must be two numbers of at least "
                "0 for each finding, for positive and negative images"
            )
        if not 0 <= label_smoothing < 1:
            raise SegpipeError(
                f"WeightedBinaryCrossEntropy: label_smoothing is {label_smoothing}, must be at least 0 and below 1"
            )
        self.register_buffer("weights", given)
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar.

        Args:
            logits: `(B, F)`.
            targets: `(B, F)`: 1 present, 0 absent, NaN unknown.
        """
        known = ~torch.isnan(targets)
        truth = torch.where(known, targets, torch.zeros_like(targets)).to(logits)
        positive, negative = self.weights.to(logits).unbind(dim=1)
        weight = torch.where(truth > 0, positive, negative) * known
        smoothed = truth * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss: torch.Tensor = binary_cross_entropy_with_logits(logits, smoothed, weight, reduction="sum")
        number = known.sum()
        return mean_over_ranks(loss / number.clamp(min=1), lambda: number)


def finding_weights(targets: NDArray[np.float32], names: Sequence[str]) -> torch.Tensor:
    """Return for each finding the weights with which positive and negative images contribute the same at one half.

    The weight of positive images is the share of negative images among those that are known, and the reverse. A finding
    whose known images are all of one kind gets the weights 0 and 0, since nothing can be learnt about it.

    Args:
        targets: `(N, F)`: 1 present, 0 absent, NaN unknown; of the training images only.
        names: of the findings, for the message.

    Returns:
        float32 tensor `(F, 2)`: weights of positive and negative images; each row sums to 1, or to 0.

    Raises:
        SegpipeError: every finding's images are of one kind.
    """
    present, absent = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
    learnable = (present > 0) & (absent > 0)
    if not learnable.any():
        counts = zip(names, present, absent, strict=True)
        shown = ", ".join(
            f"{name} ({positive} with, {negative} without)" for name, positive, negative in counts
        )
        raise SegpipeError(
            f"weights of findings: a finding needs training images with it and without it, none has both: {shown}; add "
            "images"
        )
    share = present / np.maximum(present + absent, 1)
    weights = np.stack([1 - share, share], axis=1) * learnable[:, None]
    return torch.tensor(weights, dtype=torch.float32)


def balanced_class_weights(targets: NDArray[np.int64], names: Sequence[str]) -> torch.Tensor:
    """Return for each class the number of images divided by the number of classes and by the images of the class.

    With these weights every class contributes the same to a cross-entropy.

    Args:
        targets: `(N,)` class indices of the training images.
        names: of the C classes.

    Returns:
        float32 tensor `(C,)`.

    Raises:
        SegpipeError: a class has no image.
    """
    counts = np.bincount(targets, minlength=len(names))
    lacking = [name for name, count in zip(names, counts, strict=True) if not count]
    if lacking:
        raise SegpipeError(
            f"class weights: no training image is of {', '.join(lacking)}; leave the class out, or add images"
        )
    return torch.tensor(len(targets) / (len(names) * counts), dtype=torch.float32)

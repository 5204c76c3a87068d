"""One loss of the batch of all processes: numerators and denominators are summed over ranks before they are divided.

DistributedDataParallel averages the gradients of the ranks' own losses. The mean of quotients is not the quotient of
sums: a weighted cross-entropy divides by the weights of the voxels that a rank happens to have, and the Dice of a batch
is that of all its images. Here every rank computes the loss of the whole batch. The averaged gradients are then those
of one process with this batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from monai.losses import DiceCELoss
from monai.utils import convert_to_tensor
from torch import nn
from torch.autograd.function import FunctionCtx

from segpipe.losses.deep_supervision import DeepSupervision

_logger = logging.getLogger(__name__)
_is_of_all_ranks: ContextVar[bool] = ContextVar("loss of all ranks", default=False)


class OverRanks(nn.Module):
    """A loss of the batch of all processes; each rank gives the logits and labels of its own part of the batch.

    All ranks must call it equally often, and use its value alike. The losses of segpipe divide sums of all ranks. For
    `torch.nn.CrossEntropyLoss` the mean weighs each rank by the weights of its labels. For any other loss it weighs
    each rank by its images, which is exact where the loss is a mean over images, as MONAI's `DiceCELoss` is by default.

    Args:
        loss: function of logits and labels.

    Attributes:
        loss: the wrapped loss.
        terms: terms of the last loss, of all ranks, where the wrapped loss records its terms.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        if not is_exact(loss) and not (_has_ranks() and dist.get_rank()):
            _logger.warning(
                "%s: each process computes it of its own images, and the mean counts; one process with the whole batch "
                "may train differently",
                type(loss).__name__,
            )

    @property
    def terms(self) -> Mapping[str, torch.Tensor] | None:
        """Terms of the last loss; None if the loss records none."""
        return getattr(self.loss, "terms", None)

    def forward(self, logits: Any, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of all ranks' batch, a scalar, the same on every rank.

        Args:
            logits: of this rank's images, as the wrapped loss takes them.
            target: of the same images.
        """
        with _of_all_ranks():
            loss: torch.Tensor = self.loss(logits, target)
            if _sums_itself(self.loss):
                return loss
            return mean_over_ranks(loss, lambda: _weight(self.loss, target))


def is_exact(loss: Any) -> bool:
    """Return whether `OverRanks` of a loss equals the loss of one process with the whole batch."""
    if isinstance(loss, DiceCELoss):
        dice = loss.dice
        return not dice.batch and dice.class_weight is None and dice.reduction == "mean"
    if isinstance(loss, DeepSupervision) and not isinstance(loss.loss, nn.CrossEntropyLoss):
        return is_exact(loss.loss)
    if isinstance(loss, nn.CrossEntropyLoss):
        return loss.reduction == "mean"
    return _sums_itself(loss)


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Return the sum over all ranks, with a gradient; the values themselves outside `OverRanks` or in one process.

    The gradient is that of a function of the sum which every rank computes alike, times the number of ranks, by which
    DistributedDataParallel divides it.

    Args:
        values: of the same shape on every rank.
    """
    if not _is_over_ranks():
        return values
    summed: torch.Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return summed


def mean_over_ranks(mean: torch.Tensor, weight: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Return the weighted mean over all ranks; the mean itself outside `OverRanks` or in one process.

    Args:
        mean: of this rank, a scalar; any finite number where the weight is 0.
        weight: returns the denominator of this rank's mean, a scalar. The mean is 0 where it is 0 on every rank.
    """
    if not _is_over_ranks():
        return mean
    own = weight().to(mean)
    numerator, denominator = sum_over_ranks(torch.stack([mean * own, own])).unbind()
    return numerator / denominator.where(denominator > 0, 1)


class _Sum(torch.autograd.Function):
    """The sum over ranks; no communication in the backward pass, since all ranks have the same gradient of the sum."""

    @staticmethod
    def forward(_: FunctionCtx, values: torch.Tensor) -> torch.Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_: FunctionCtx, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0] * dist.get_world_size()


def _is_over_ranks() -> bool:
    return _is_of_all_ranks.get() and _has_ranks()


def _has_ranks() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def _of_all_ranks() -> Iterator[None]:
    before = _is_of_all_ranks.set(True)
    try:
        yield
    finally:
        _is_of_all_ranks.reset(before)


def _sums_itself(loss: Any) -> bool:
    """Return whether a loss sums its numerators and denominators over ranks itself."""
    return bool(getattr(loss, "sums_over_ranks", False))


def _weight(loss: Any, target: torch.Tensor) -> torch.Tensor:
    """Return the denominator of a loss that is a weighted mean."""
    labels: torch.Tensor = convert_to_tensor(target, track_meta=False)
    if isinstance(loss, nn.CrossEntropyLoss) and not labels.is_floating_point():
        counted = labels != loss.ignore_index
        if loss.weight is None:
            return counted.sum()
        weights: torch.Tensor = loss.weight.to(labels.device)[labels[counted]]
        return weights.sum()
    return torch.tensor(len(labels), device=labels.device)

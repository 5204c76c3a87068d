"""The Dice that training, validation and evaluation share; means of accuracy and loss over an epoch's batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from ignite.metrics import Accuracy, Average, Loss, Metric
from ignite.metrics.metric import MetricUsage
from monai.engines import IterationEvents, Workflow
from monai.metrics import DiceMetric
from monai.utils import convert_to_tensor

ACCURACY, LOSS = "accuracy", "loss"  # the names in an engine's metrics


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


def attach_accuracy(engine: Workflow) -> Metric:
    """Put `accuracy` into an engine's metrics: the share of all voxels of an epoch whose class is right, 0..1.

    Of the logits and labels as the network gets them: in training of augmented patches, before the step that
    they lead to. Over all processes. Where background prevails, it says little.
    """
    usage = MetricUsage(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, IterationEvents.FORWARD_COMPLETED)
    accuracy = Accuracy(_logits_and_classes, device=idist.device())
    accuracy.attach(engine, ACCURACY, usage)
    return accuracy


def attach_training_loss(engine: Workflow) -> Metric:
    """Put `loss` into a trainer's metrics: the mean over an epoch's batches, of all processes."""
    usage = MetricUsage(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, IterationEvents.LOSS_COMPLETED)
    mean = Average(_loss, device=idist.device())
    mean.attach(engine, LOSS, usage)
    return mean


def attach_validation_loss(
    engine: Workflow, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    """Put `loss` into an evaluator's metrics: its mean over the cases, of all processes.

    Args:
        engine: the evaluator.
        loss: of logits `(B, C, *spatial)` and labels `(B, 1, *spatial)`.
    """
    usage = MetricUsage(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, IterationEvents.FORWARD_COMPLETED)
    Loss(loss, _logits_and_labels, device=idist.device()).attach(engine, LOSS, usage)


def _loss(output: Mapping[str, Any]) -> torch.Tensor:
    loss: torch.Tensor = convert_to_tensor(output["loss"], track_meta=False)
    return loss.detach()  # not a number yet: a card would have to be waited for at every step


def _logits_and_labels(output: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    logits, labels = (convert_to_tensor(output[key], track_meta=False) for key in ("pred", "label"))
    return logits, labels


def _logits_and_classes(output: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    logits, labels = _logits_and_labels(output)
    return logits, labels[:, 0].long()

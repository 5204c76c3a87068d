"""The Dice that training, validation and evaluation share; mean accuracy and mean loss over an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from ignite.metrics import Accuracy, Average, Loss, Metric
from ignite.metrics.metric import MetricUsage, reinit__is_reduced
from monai.engines import IterationEvents, Workflow
from monai.metrics import DiceMetric
from monai.networks import one_hot
from monai.utils import convert_to_tensor

from segpipe.labels import LabelTable
from segpipe.transforms.class_maps import regions_to_classes

ACCURACY, LOSS = "accuracy", "loss"  # the names in an engine's metrics


class PresentDice(DiceMetric):  # type: ignore[misc]  # MONAI is untyped
    """Dice of each foreground class or region; 0 if only the prediction has it, NaN if neither map has it.

    MONAI's default is NaN whenever the reference lacks the class, which hides every false positive; with
    `ignore_empty=False` it is 1 if neither map has the class, which raises the mean. The definition is that of
    `segpipe.evaluation.dice_per_class`.

    Args:
        labels: label table with the regions, and with the voxels that nobody looked at, which are not counted; needed
            for maps of class indices. None takes one-hot maps.
    """

    def __init__(self, labels: LabelTable | None = None) -> None:
        super().__init__(include_background=False, reduction="mean", ignore_empty=False)
        self.labels = labels

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return `(B, targets)` for maps of class indices `(B, 1, *spatial)` or one-hot maps `(B, C, *spatial)`."""
        if self.labels is not None:
            counted = y != self.labels.ignored_index
            y_pred, y = (_with_background(indices, counted, self.labels) for indices in (y_pred, y))
        dice: torch.Tensor = super()._compute_tensor(y_pred, y)
        spatial = tuple(range(2, y.ndim))
        nothing_to_find = (y_pred[:, 1:].sum(spatial) + y[:, 1:].sum(spatial)) == 0
        return dice.masked_fill(nothing_to_find.to(dice.device), float("nan"))


def _with_background(indices: torch.Tensor, counted: torch.Tensor, labels: LabelTable) -> torch.Tensor:
    """Return masks `(B, 1 + targets, *spatial)` of class indices `(B, 1, *spatial)`; 0 where a voxel is not counted."""
    held = [torch.tensor(classes, device=indices.device) for classes in ((0,), *labels.target_classes)]
    return torch.cat([torch.isin(indices, classes) & counted for classes in held], dim=1).float()


def attach_accuracy(engine: Workflow, labels: LabelTable | None = None) -> Metric:
    """Add `accuracy` to an engine's metrics: the share of an epoch's voxels with the right class, 0..1.

    Logits and labels are those of the network's input: in training, augmented patches, before the optimiser's step. All
    processes count. If most voxels are background, the accuracy says little.

    Args:
        engine: trainer or evaluator.
        labels: label table, where it has regions or voxels that nobody looked at, which are not counted.
    """
    usage = MetricUsage(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, IterationEvents.FORWARD_COMPLETED)
    accuracy = _ClassAccuracy(partial(_scores_and_classes, labels=labels), device=idist.device())
    accuracy.attach(engine, ACCURACY, usage)
    return accuracy


class _ClassAccuracy(Accuracy):  # type: ignore[misc]  # ignite is untyped
    """The same share as ignite's; torch's `argmax` along the classes takes eight times as long as its `max`."""

    @reinit__is_reduced  # type: ignore[untyped-decorator]
    def update(self, output: Sequence[torch.Tensor]) -> None:
        """Count scores `(B, C, *)` and classes `(B, *)`."""
        scores, classes = (tensor.detach() for tensor in output)
        correct = scores.max(dim=1).indices == classes
        self._num_correct += correct.sum().to(self._device)
        self._num_examples += correct.numel()


def attach_training_loss(engine: Workflow) -> Metric:
    """Add `loss` to a trainer's metrics: the mean over an epoch's batches, of all processes."""
    usage = MetricUsage(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, IterationEvents.LOSS_COMPLETED)
    mean = Average(_loss, device=idist.device())
    mean.attach(engine, LOSS, usage)
    return mean


def attach_validation_loss(
    engine: Workflow, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    """Add `loss` to an evaluator's metrics: the mean over the cases, of all processes.

    Args:
        engine: the evaluator.
        loss: function of logits `(B, C, *spatial)` and labels `(B, 1, *spatial)`.
    """
    usage = MetricUsage(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, IterationEvents.FORWARD_COMPLETED)
    Loss(loss, _logits_and_labels, device=idist.device()).attach(engine, LOSS, usage)


def _loss(output: Mapping[str, Any]) -> torch.Tensor:
    loss: torch.Tensor = convert_to_tensor(output["loss"], track_meta=False)
    return loss.detach()  # not as a number: the program would wait for the card at every step


def _logits_and_labels(output: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    scores = output["pred"]
    heads = scores if isinstance(scores, list) else [scores]  # of deep supervision, full resolution first
    logits, labels = (convert_to_tensor(one, track_meta=False) for one in (heads[0], output["label"]))
    return logits, labels


def _scores_and_classes(
    output: Mapping[str, Any], labels: LabelTable | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores of the classes, `(B, C, *spatial)` or `(voxels, C)`, and the true classes without the score's C."""
    scores, reference = _logits_and_labels(output)
    classes = reference[:, 0].long()
    if labels is None:
        return scores, classes
    if labels.regions:
        predicted = regions_to_classes(scores > 0, labels).long()
        scores = one_hot(predicted[:, None], labels.num_classes)
    counted = classes != labels.ignored_index
    return scores.movedim(1, -1)[counted], classes[counted]

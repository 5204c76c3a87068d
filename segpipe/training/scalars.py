"""What TensorBoard shows of a run: scalars over epochs, and the same validation cases as pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator, Trainer
from numpy.typing import NDArray

from segpipe.labels import LabelTable
from segpipe.pictures import label_centre, overlay_planes
from segpipe.training.metrics import (
    ACCURACY,
    LOSS,
    attach_accuracy,
    attach_training_loss,
    attach_validation_loss,
)
from segpipe.training.run_folder import RunFolder, is_main_process


class TrainingScalars:
    """Log each epoch's mean loss, accuracy, learning rate and seconds; attach to the trainer.

    Tags: `loss/train`, `accuracy/train`, `learning_rate`, `speed/seconds_per_epoch`; the step is the epoch. Loss
    and accuracy are of the augmented patches, while the network learns, over all processes.

    Args:
        run_folder: whose log is written.
        optimizer: whose first group's learning rate, as the epoch's last step used it, is logged.
    """

    def __init__(self, run_folder: RunFolder, optimizer: torch.optim.Optimizer) -> None:
        self.run_folder = run_folder
        self.optimizer = optimizer
        self._learning_rate = 0.0
        self._began = 0.0

    def attach(self, engine: Trainer) -> None:
        """Attach to the trainer, before the handler that steps the learning rate."""
        attach_training_loss(engine)
        attach_accuracy(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log)
        engine.add_event_handler(Events.COMPLETED | Events.EXCEPTION_RAISED, self._close)

    def _begin(self, _: Engine) -> None:
        self._began = time.perf_counter()

    def _collect(self, _: Engine) -> None:
        self._learning_rate = self.optimizer.param_groups[0]["lr"]

    def _log(self, engine: Trainer) -> None:
        if not is_main_process():
            return
        epoch, loss = engine.state.epoch, engine.state.metrics[LOSS]
        seconds = time.perf_counter() - self._began
        writer = self.run_folder.writer(from_epoch=epoch - 1)
        writer.add_scalar("loss/train", loss, epoch)
        writer.add_scalar("accuracy/train", engine.state.metrics[ACCURACY], epoch)
        writer.add_scalar("learning_rate", self._learning_rate, epoch)
        writer.add_scalar("speed/seconds_per_epoch", seconds, epoch)
        writer.flush()
        engine.logger.info(
            f"Epoch {epoch}/{engine.state.max_epochs}: loss {loss:.4f}, learning rate "
            f"{self._learning_rate:.2e}, {seconds:.1f} s"
        )

    def _close(self, _: Engine, *error: Exception) -> None:
        self.run_folder.close()
        for reason in error:  # ignite leaves raising it to the handlers of EXCEPTION_RAISED
            raise reason


class ValidationScalars:
    """Log mean and per-class Dice, accuracy and loss of each validation; attach to the evaluator.

    Tags: `dice/mean`, `dice/<class name>`, `accuracy/validation`, and `loss/validation` if a loss is given; the step
    is the training epoch. A class's Dice is its mean over the cases that have it.

    Args:
        run_folder: whose log is written.
        labels: names of the classes.
        metric: the name of a metric over foreground classes that keeps its details, as `PresentDice` does
            under MONAI's IgniteMetricHandler.
        loss: of logits `(B, C, *spatial)` and labels `(B, 1, *spatial)`, as it is minimised; None logs none.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        labels: LabelTable,
        metric: str = "val_mean_dice",
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.run_folder = run_folder
        self.labels = labels
        self.metric = metric
        self.loss = loss

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        attach_accuracy(engine)
        if self.loss is not None:
            attach_validation_loss(engine, self.loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log)

    def _log(self, engine: Evaluator) -> None:
        if not is_main_process():
            return
        epoch = engine.state.epoch
        writer = self.run_folder.writer(from_epoch=epoch - 1)
        writer.add_scalar("dice/mean", float(engine.state.metrics[self.metric]), epoch)
        writer.add_scalar("accuracy/validation", engine.state.metrics[ACCURACY], epoch)
        if self.loss is not None:
            writer.add_scalar("loss/validation", engine.state.metrics[LOSS], epoch)
        per_class = torch.nanmean(engine.state.metric_details[self.metric].float(), dim=0)
        for name, dice in zip(self.labels.foreground_names, per_class.tolist(), strict=True):
            writer.add_scalar(f"dice/{name}", dice, epoch)
        writer.flush()
        figures = ", ".join(
            f"{name} {dice:.4f}"
            for name, dice in zip(self.labels.foreground_names, per_class.tolist(), strict=True)
        )
        engine.logger.info(
            f"Epoch {epoch}: validation Dice {engine.state.metrics[self.metric]:.4f} ({figures})"
        )


class ValidationPictures:
    """Draw the first validation cases at every validation as image, reference, prediction; for the evaluator.

    Tags: `<case>/1_image`, `<case>/2_reference`, `<case>/3_prediction`; the step is the training epoch. A
    volume is cut through the centre of its reference label, axial, coronal and sagittal plane side by side.

    Args:
        run_folder: whose log is written.
        labels: the colours.
        num_cases: how many cases are drawn.
        image_channel: which channel is drawn.
    """

    def __init__(
        self, run_folder: RunFolder, labels: LabelTable, num_cases: int = 3, image_channel: int = 0
    ) -> None:
        self.run_folder = run_folder
        self.labels = labels
        self.num_cases = num_cases
        self.image_channel = image_channel
        self._drawn: list[str] = []

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _begin(self, _: Engine) -> None:
        self._drawn = []

    def _draw(self, engine: Evaluator) -> None:
        if not is_main_process():
            return
        for record, output in zip(engine.state.batch, engine.state.output, strict=True):
            if len(self._drawn) >= self.num_cases:
                return
            self._drawn.append(record["case"])
            self._draw_case(str(record["case"]), output, engine.state.epoch)

    def _draw_case(self, case: str, output: dict[str, Any], epoch: int) -> None:
        image = output["image"][self.image_channel].float().cpu().numpy()
        reference, prediction = (_class_map(output[key]) for key in ("label", "pred"))
        spacing = output["image"].pixdim.tolist()
        writer = self.run_folder.writer(from_epoch=epoch - 1)
        centre = label_centre(reference)
        drawings: Sequence[tuple[str, NDArray[Any] | None]] = (
            ("1_image", None),
            ("2_reference", reference),
            ("3_prediction", prediction),
        )
        for name, label_map in drawings:
            picture = overlay_planes(image, label_map, self.labels.colors, centre, spacing)
            writer.add_image(f"{case}/{name}", picture, epoch, dataformats="HWC")


def _class_map(scores: torch.Tensor) -> NDArray[Any]:
    """Return class indices `(*spatial)` of a one-hot or index map `(C, *spatial)`."""
    indices: NDArray[Any] = (
        (scores.argmax(dim=0) if len(scores) > 1 else scores[0]).cpu().numpy().astype(np.uint8)
    )
    return indices

"""The numbers that TensorBoard shows for each epoch of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.engines import Evaluator, IterationEvents, Trainer

from segpipe.labels import LabelTable
from segpipe.memory import peak_memory_bytes
from segpipe.training.epoch_progress import EpochProgress
from segpipe.training.figures import log_figures
from segpipe.training.gradient_norm import GradientNorm
from segpipe.training.loss_terms import LossTerms
from segpipe.training.metrics import (
    ACCURACY,
    LOSS,
    attach_accuracy,
    attach_training_loss,
    attach_validation_loss,
)
from segpipe.training.run_folder import RunFolder, is_main_process
from segpipe.training.run_notes import log_notes
from segpipe.training.tensorboard import SEGMENTATION, add_end, dice_tags


class TrainingScalars:
    """Logs the run's notes once and the numbers of each epoch; attach to the trainer.

    Tags, whose step is the epoch:

    - `loss/train`; for a loss that records its terms (see `LossTerms`) also `loss_terms/<term>/train`, whose sum it is;
    - `voxel_accuracy/train`. Accuracy and loss are of the augmented patches, computed during training, over all
      processes;
    - `optimizer/learning_rate`, of the first parameter group at the epoch's last step, and `optimizer/gradient_norm`,
      the mean over the epoch's steps (see `GradientNorm`);
    - `speed/seconds_per_epoch`, without validation and saving, and `speed/samples_per_second` of all processes;
    - `memory/peak_gb`, so far, and on CUDA `memory/cuda_peak_gb`, both of the process with the most.

    `run/...` are notes, see `log_notes`. A log line ends each epoch; `EpochProgress` adds lines within it.

    Args:
        run_folder: run folder with the log.
        optimizer: optimiser of the trainer.
        labels: label table, where it has regions or voxels that nobody looked at; the accuracy leaves these out.
    """

    charts = SEGMENTATION
    accuracy_tag = "voxel_accuracy/train"

    def __init__(
        self, run_folder: RunFolder, optimizer: torch.optim.Optimizer, labels: LabelTable | None = None
    ) -> None:
        self.run_folder = run_folder
        self.optimizer = optimizer
        self.labels = labels
        self._gradient_norm = GradientNorm(optimizer)
        self._terms = LossTerms()
        self._samples = 0
        self._learning_rate = 0.0
        self._began = 0.0
        self._noted = False
        self._metrics: dict[str, Metric] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and counts of this epoch so far, as tensors and plain values."""
        return {
            "metrics": {name: metric.state_dict() for name, metric in self._metrics.items()},
            "gradient_norm": self._gradient_norm.state_dict(),
            "terms": self._terms.state_dict(),
            "samples": self._samples,
            "learning_rate": self._learning_rate,
            "seconds": time.perf_counter() - self._began,
        }

    def load_state_dict(self, state: Mapping[str, Any], engine: Trainer) -> None:
        """Continue the counts of an interrupted epoch.

        Args:
            state: see `state_dict`; tensors on the CPU.
            engine: the trainer, in the interrupted epoch.
        """
        self._note(engine)
        device = engine.state.device
        for name, metric in self._metrics.items():
            metric.load_state_dict(_moved(state["metrics"][name], device))
        self._gradient_norm.load_state_dict(_moved(state["gradient_norm"], device))
        self._terms.load_state_dict(_moved(state["terms"], device))
        self._samples = state["samples"]
        self._learning_rate = state["learning_rate"]
        self._began = time.perf_counter() - state["seconds"]

    def attach(self, engine: Trainer) -> None:
        """Attach to the trainer; do so before the handler that steps the learning rate."""
        engine.scalars = self
        EpochProgress().attach(engine)
        self._metrics = {LOSS: attach_training_loss(engine), ACCURACY: self._attach_accuracy(engine)}
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._count)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log)
        engine.add_event_handler(Events.COMPLETED, self._finish)
        engine.add_event_handler(Events.COMPLETED | Events.EXCEPTION_RAISED, self._close)

    def _attach_accuracy(self, engine: Trainer) -> Metric:
        return attach_accuracy(engine, self.labels)

    def _begin(self, engine: Trainer) -> None:
        self._note(engine)
        self._gradient_norm.reset()
        self._terms.reset()
        self._samples = 0
        self._began = time.perf_counter()

    def _note(self, engine: Trainer) -> None:
        """Log the notes of the run, once."""
        if not self._noted and is_main_process():
            # not at the start: a resumed run restores its epoch after that
            epoch = engine.state.epoch
            writer = self.run_folder.writer(from_epoch=epoch - 1)
            log_notes(writer, self.run_folder, engine.loss_function, epoch, self.charts)
        self._noted = True

    def _count(self, engine: Trainer) -> None:
        self._samples += len(engine.state.output["image"])
        self._terms.update(engine.loss_function)

    def _collect(self, _: Engine) -> None:
        self._learning_rate = self.optimizer.param_groups[0]["lr"]

    def _log(self, engine: Trainer) -> None:
        epoch, loss = engine.state.epoch, engine.state.metrics[LOSS]
        norm = self._gradient_norm.mean()  # waits for the card, so that the time includes all its work
        seconds = time.perf_counter() - self._began
        figures = {
            "loss/train": loss,
            **{f"loss_terms/{name}/train": mean for name, mean in self._terms.means().items()},
            self.accuracy_tag: engine.state.metrics[ACCURACY],
            "optimizer/learning_rate": self._learning_rate,
            "optimizer/gradient_norm": norm,
            "speed/seconds_per_epoch": seconds,
            "speed/samples_per_second": idist.all_reduce(self._samples) / seconds,
            **_memory(engine.state.device),
        }
        if not is_main_process():
            return
        log_figures(self.run_folder, figures, epoch)
        engine.logger.info(
            f"Epoch {epoch}/{engine.state.max_epochs}: loss {loss:.4f}, learning rate "
            f"{self._learning_rate:.2e}, {seconds:.1f} s"
        )

    def _finish(self, engine: Trainer) -> None:
        if is_main_process() and self._noted:
            add_end(self.run_folder.writer(from_epoch=engine.state.epoch), engine.state.epoch)

    def _close(self, _: Engine, *error: Exception) -> None:
        try:
            self.run_folder.close()
        except OSError:  # for example a full disk; the reason for the end of the run matters more
            if not error:
                raise
        for reason in error:  # ignite leaves it to the handlers of EXCEPTION_RAISED to raise the error again
            raise reason


class ValidationScalars:
    """Logs mean and per-class Dice, accuracy and loss of each validation; attach to the evaluator.

    Tags: `dice/mean`, `dice/<class name>`, `voxel_accuracy/validation`; with a loss `loss/validation`, and for a loss
    that records its terms `loss_terms/<term>/validation`. The step is the training epoch. A class's Dice is its
    mean over the cases that have the class, NaN if no case has it.

    Args:
        run_folder: run folder with the log.
        labels: label table with the names of the classes.
        metric: name of a metric over foreground classes that keeps its details, as `PresentDice` does under MONAI's
            IgniteMetricHandler.
        loss: the minimised function of logits `(B, C, *spatial)` and labels `(B, 1, *spatial)`; None logs no loss.
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
        self._terms = LossTerms()

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        attach_accuracy(engine, self.labels if self.labels.needs_index_maps else None)
        if self.loss is not None:
            attach_validation_loss(engine, self.loss)
            engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._terms.reset())
            engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log)

    def _count(self, engine: Evaluator) -> None:
        """Count the terms of the loss of this batch."""
        self._terms.update(self.loss, weight=len(engine.state.output["image"]))

    def _log(self, engine: Evaluator) -> None:
        terms = self._terms.means()
        if not is_main_process():
            return
        epoch, metrics = engine.state.epoch, engine.state.metrics
        per_class = torch.nanmean(engine.state.metric_details[self.metric].float(), dim=0).tolist()
        mean = float(metrics[self.metric])
        figures = {
            "dice/mean": mean,
            **dict(zip(dice_tags(self.labels), per_class, strict=True)),
            "voxel_accuracy/validation": metrics[ACCURACY],
            **({} if self.loss is None else {"loss/validation": metrics[LOSS]}),
            **{f"loss_terms/{name}/validation": value for name, value in terms.items()},
        }
        log_figures(self.run_folder, figures, epoch)
        of_classes = ", ".join(
            f"{name} {dice:.4f}" for name, dice in zip(self.labels.target_names, per_class, strict=True)
        )
        engine.logger.info(f"Epoch {epoch}: validation Dice {mean:.4f} ({of_classes})")


def _moved(value: Any, device: torch.device) -> Any:
    """Return nested mappings and lists with all tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _moved(item, device) for key, item in value.items()}
    return [_moved(item, device) for item in value] if isinstance(value, list) else value


def _memory(device: torch.device) -> dict[str, float]:
    """Return the largest memory of any process; every process must call this."""
    held = {"memory/peak_gb": peak_memory_bytes() / 1e9}
    if device.type == "cuda":
        held["memory/cuda_peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return {tag: float(idist.all_reduce(gb, "MAX")) for tag, gb in held.items()}

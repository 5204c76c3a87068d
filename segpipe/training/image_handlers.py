"""Handlers of a classifier's training: the numbers that TensorBoard shows, the calibration, the frozen backbone."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Protocol, cast

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.engines import Evaluator, Trainer

from segpipe.calibration import calibration_path, fitted_calibration
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, write_text
from segpipe.monai_run import refusal_ends_run
from segpipe.training.figures import log_figures
from segpipe.training.image_scores import ImageScore, ImageScores, attach_image_accuracy
from segpipe.training.metrics import LOSS, attach_validation_loss
from segpipe.training.run_folder import RunFolder, is_main_process
from segpipe.training.scalars import TrainingScalars
from segpipe.training.tensorboard import CLASSIFICATION


class ImageTrainingScalars(TrainingScalars):
    """`TrainingScalars` of a classifier: `accuracy/train` is the share of images, or known findings, that are right."""

    charts = CLASSIFICATION
    accuracy_tag = "accuracy/train"

    def _attach_accuracy(self, engine: Trainer) -> Metric:
        return attach_image_accuracy(engine)


class ImageValidationScalars:
    """Logs accuracy, AUROC and loss of each validation; attach to the evaluator.

    Tags: `auroc/mean`, `auroc/<name>`, `accuracy/validation`, `log_loss/validation`, and with a loss
    `loss/validation`. The step is the training epoch.

    Args:
        run_folder: run folder with the log.
        metric: the evaluator's key metric.
        loss: the minimised function of logits and targets; None logs no loss.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        metric: ImageScore,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.run_folder = run_folder
        self.metric = metric
        self.loss = loss

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        if self.loss is not None:
            attach_validation_loss(engine, self.loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log)

    def _log(self, engine: Evaluator) -> None:
        scores = self.metric.result
        if scores is None or not is_main_process():
            return
        epoch, areas = engine.state.epoch, scores.aurocs()
        known = [area for area in areas if area == area]
        mean = sum(known) / len(known) if known else float("nan")
        figures = {
            "auroc/mean": mean,
            **{f"auroc/{name}": area for name, area in zip(scores.labels.names, areas, strict=True)},
            "accuracy/validation": scores.accuracy(),
            "log_loss/validation": scores.log_loss(),
            **({} if self.loss is None else {"loss/validation": engine.state.metrics[LOSS]}),
        }
        log_figures(self.run_folder, figures, epoch)
        engine.logger.info(
            f"Epoch {epoch}: validation AUROC {mean:.4f}, accuracy {scores.accuracy():.4f}, log loss "
            f"{scores.log_loss():.4f}"
        )


class SaveCalibration:
    """Fits the calibration on each validation that is the best so far; attach to the evaluator after `SaveBest`.

    Beside `best.pt` the run gets `best_calibration.json` and `best_validation.csv`, the logits of the validation cases.

    Args:
        run_folder: run folder.
        metric: the evaluator's key metric.
        fold: the fold, or the name of the split, that validates.
    """

    def __init__(self, run_folder: RunFolder, metric: ImageScore, fold: int | str) -> None:
        self.run_folder = run_folder
        self.metric = metric
        self.fold = fold

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    @refusal_ends_run()
    def _save(self, engine: Evaluator) -> None:
        scores = self.metric.result
        if scores is None or not is_main_process() or engine.state.best_metric_epoch != engine.state.epoch:
            return
        best = self.run_folder.best
        if not best.is_file():  # test cases choose no weights, and fit no calibration
            return
        about = {"validation": self.fold, "epoch": engine.state.epoch}
        made = fitted_calibration(scores.logits, scores.targets, scores.labels, about)
        made.of_weights([file_sha256(best)]).write(calibration_path(best))
        write_text(best.with_name(f"{best.stem}_validation.csv"), validation_table(scores))


def validation_table(scores: ImageScores) -> str:
    """Return a validation as CSV: a row an image with its case id, the logit of each name, and the target of each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = scores.labels.names
    writer.writerow(["case", *(f"logit_{name}" for name in names), *(f"target_{name}" for name in names)])
    for case, logits, present in zip(scores.cases, scores.logits, scores.present, strict=True):
        targets = ["" if value != value else int(value) for value in present]
        writer.writerow([case, *(f"{logit:.6g}" for logit in logits), *targets])
    return text.getvalue()


class Freezable(Protocol):
    """A network or its start; parts can be frozen: no gradient, and batch norms that keep their statistics."""

    def freeze(self, parts: int | None = None) -> None:
        """Freeze the first parts and train the others; None: all that can be frozen."""


class Unfreeze:
    """Trains a part of the network alone for the first epochs, then more of it; attach to the trainer first.

    The part is the last layer of a classifier, or the layers that were not taken from other weights.

    What is frozen depends on the epoch alone, so a resumed run continues as an uninterrupted one.

    Args:
        network: the bare network, or what `segpipe.bundle.start_from_weights` returns.
        after: number of epochs in which this part is trained alone; 0: none; "never": all epochs. ("never" instead
            of None: MONAI's run drops an override that is None.)
        parts: number of first parts that stay frozen afterwards.

    Raises:
        SegpipeError: `after` is neither "never" nor a number of at least 0, or the network cannot be frozen.
    """

    @refusal_ends_run()
    def __init__(self, network: torch.nn.Module | Freezable, after: int | str, parts: int = 0) -> None:
        is_count = isinstance(after, int) and not isinstance(after, bool) and after >= 0
        if after != "never" and not is_count:
            raise SegpipeError(
                f"unfreeze_after is {after!r}, must be a number of epochs of at least 0, or never"
            )
        if (after != 0 or parts) and not hasattr(network, "freeze"):
            raise SegpipeError(
                f"unfreeze_after is {after}, but {type(network).__name__} has no backbone to freeze; give 0"
            )
        self.network = network
        self.after = after
        self.parts = parts

    def attach(self, engine: Trainer) -> None:
        """Attach to the trainer."""
        if self.after != 0 or self.parts:
            engine.add_event_handler(Events.EPOCH_STARTED, self._set)

    def freeze_in(self, epoch: int) -> None:
        """Freeze the parts that an epoch leaves unchanged, and unfreeze the others.

        Args:
            epoch: from 1 on.
        """
        if self.after == 0 and not self.parts:
            return
        network = cast("Freezable", self.network)
        network.freeze(self.parts if isinstance(self.after, int) and epoch > self.after else None)

    def _set(self, engine: Engine) -> None:
        self.freeze_in(engine.state.epoch)
        if isinstance(self.after, int) and engine.state.epoch == self.after + 1:
            engine.logger.info(f"Epoch {engine.state.epoch}: the frozen layers are trained, too, from now on")

"""The validations of a run: its log while it trains, and the best one beside its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from segpipe.bundle.task import Task
from segpipe.errors import SegpipeError
from segpipe.networks.weights import read_sidecar
from segpipe.training.run_folder import RunFolder

_OF_KEY_SCORE = {  # a classifier's key score -> its tag, and the sign that makes higher better
    "auroc": ("auroc/mean", 1),
    "accuracy": ("accuracy/validation", 1),
    "log_loss": ("log_loss/validation", -1),
}


class Validations:
    """The key metric of a run's validations so far, read from its TensorBoard log.

    Args:
        run: folder of the run.
        task: task of the bundle.
        configuration: of the training.
    """

    def __init__(self, run: RunFolder, task: Task, configuration: Mapping[str, Any]) -> None:
        key_score = str(configuration.get("key_score", "auroc"))
        self._tag, self._sign = ("dice/mean", 1) if task == "segmentation" else _OF_KEY_SCORE[key_score]
        self._run = run
        self._log: EventAccumulator | None = None

    def by_epoch(self) -> dict[int, float]:
        """Return epoch -> key metric, higher is better; validations without a value are left out."""
        if not self._run.tensorboard.is_dir():
            return {}
        if self._log is None:
            self._log = EventAccumulator(str(self._run.tensorboard), {SCALARS: 0})
        self._log.Reload()
        if self._tag not in self._log.Tags()[SCALARS]:
            return {}
        values = {int(event.step): self._sign * float(event.value) for event in self._log.Scalars(self._tag)}
        return {step: value for step, value in sorted(values.items()) if math.isfinite(value)}


def best_validation(run: RunFolder) -> float:
    """Return the key metric of a finished run's best validation.

    Raises:
        SegpipeError: the run has no best weights, or their sidecar names no metric.
    """
    sidecar = read_sidecar(run.best) if run.best.is_file() else None
    values = [] if sidecar is None else list(sidecar.training.get("validation", {}).values())
    if not values or not math.isfinite(values[0]):
        raise SegpipeError(
            f"{run.path}: has no validation with a value, so that its trial has no score; give folds whose validation "
            "cases have the classes"
        )
    return float(values[0])

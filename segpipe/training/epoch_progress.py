"""Log lines within an epoch, so that a user sees progress in a long epoch, and an estimate of the training's time."""

from __future__ import annotations

import sys
import time

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils import convert_to_tensor
from rich.console import Console

from segpipe.dataset.progress import SECONDS_BETWEEN_LINES, time_in_words
from segpipe.training.run_folder import is_main_process

SHARE_OF_EPOCH = 0.1
SHORTEST_SECONDS = 3.0
STEPS_OF_ESTIMATE = 5


class EpochProgress:
    """Logs the step, the mean loss so far and the remaining time of the epoch; attach to the trainer.

    On a terminal a line appears after a tenth of the epoch's steps, but not within 3 s of the line before; and after
    60 s in any case. In a log file a line appears every 60 s at most; TTY_COMPATIBLE=1 in the environment, which rich
    reads, makes a pipe count as a terminal. The last step has none: the epoch's own line follows it. After the first
    steps of a run a line estimates the time of the training. The loss is summed on its device and read for a line only,
    so that the training computes the same and a card waits for a line alone.
    """

    def __init__(self) -> None:
        self._began = (0, 0.0)
        self._logged = (0, 0.0)
        self._second_step = (0, 0.0)
        self._estimated = False
        self._is_terminal = False
        self._loss: torch.Tensor | float = 0.0

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._add_loss)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._log)

    def _begin(self, engine: Engine) -> None:
        """Start the clock, also in the middle of an epoch that a resumed run continues."""
        self._began = self._logged = (_steps_done(engine), time.perf_counter())
        self._is_terminal = Console(file=sys.stdout).is_terminal
        self._loss = 0.0

    def _log(self, engine: Engine) -> None:
        step, length, now = _steps_done(engine), engine.state.epoch_length, time.perf_counter()
        if not is_main_process():
            return
        self._estimate(engine, step, now)
        since = now - self._logged[1]
        tenth = step - self._logged[0] >= SHARE_OF_EPOCH * length and since >= SHORTEST_SECONDS
        if step == length or not ((tenth and self._is_terminal) or since >= SECONDS_BETWEEN_LINES):
            return
        self._logged = (step, now)
        done = step - self._began[0]
        left = time_in_words((length - step) * (now - self._began[1]) / done)
        engine.logger.info(
            f"Epoch {engine.state.epoch}/{engine.state.max_epochs}: step {step}/{length}, "
            f"loss {float(self._loss) / done:.4f}, {left} left"
        )

    def _add_loss(self, engine: Engine) -> None:
        loss = convert_to_tensor(engine.state.output["loss"], track_meta=False)
        self._loss = self._loss + loss.detach()

    def _estimate(self, engine: Engine, step: int, now: float) -> None:
        """Log the time of the training after the run's first steps; the first step also compiles, and is left out."""
        if self._estimated:
            return
        done = step - self._began[0]
        if done == 1:
            self._second_step = (step, now)
        if done < STEPS_OF_ESTIMATE and step < engine.state.epoch_length:
            return
        measured = step - self._second_step[0]
        if not measured:  # an epoch of one step
            return
        self._estimated = True
        seconds = (now - self._second_step[1]) / measured
        steps = engine.state.max_epochs * engine.state.epoch_length - engine.state.iteration
        engine.logger.info(
            f"The training takes about {time_in_words(steps * seconds)} without validation: {steps:,} more steps of "
            f"{seconds:.2g} s"
        )


def _steps_done(engine: Engine) -> int:
    """Return how many steps of the current epoch are complete."""
    return int(engine.state.iteration - (engine.state.epoch - 1) * engine.state.epoch_length)

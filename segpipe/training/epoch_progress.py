"""Log lines within an epoch, so that a user sees progress in a long epoch."""

from __future__ import annotations

import time

from ignite.engine import Engine, Events

from segpipe.training.run_folder import is_main_process

SHARE_OF_EPOCH = 0.1
SHORTEST_SECONDS = 3.0
LONGEST_SECONDS = 60.0


class EpochProgress:
    """Logs the step and the remaining seconds of the epoch; attach to the trainer.

    A line appears after a tenth of the epoch's steps, but not within 3 s of the line before; and after 60 s in any
    case. The last step has none: the epoch's own line follows it. Nothing is read from the network or the loss, so
    the training computes the same and no card has to wait.
    """

    def __init__(self) -> None:
        self._began = (0, 0.0)
        self._logged = (0, 0.0)

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._log)

    def _begin(self, engine: Engine) -> None:
        """Start the clock, also in the middle of an epoch that a resumed run continues."""
        self._began = self._logged = (_steps_done(engine), time.perf_counter())

    def _log(self, engine: Engine) -> None:
        step, length, now = _steps_done(engine), engine.state.epoch_length, time.perf_counter()
        since = now - self._logged[1]
        tenth = step - self._logged[0] >= SHARE_OF_EPOCH * length and since >= SHORTEST_SECONDS
        if step == length or not (tenth or since >= LONGEST_SECONDS) or not is_main_process():
            return
        self._logged = (step, now)
        left = (length - step) * (now - self._began[1]) / (step - self._began[0])
        engine.logger.info(
            f"Epoch {engine.state.epoch}/{engine.state.max_epochs}: step {step}/{length}, {left:.0f} s left"
        )


def _steps_done(engine: Engine) -> int:
    """Return how many steps of the current epoch are complete."""
    return int(engine.state.iteration - (engine.state.epoch - 1) * engine.state.epoch_length)

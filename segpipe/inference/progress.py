"""A log line for each scan while a cohort is segmented or scored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator

from segpipe.printable import printable


class LogProgress:
    """Logs each finished case with the path of its label map and its seconds; attach to an evaluator."""

    def __init__(self) -> None:
        self._since = 0.0

    def attach(self, engine: Evaluator) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._log)

    def _begin(self, _: Engine) -> None:
        self._since = time.perf_counter()

    def _log(self, engine: Evaluator) -> None:
        now = time.perf_counter()
        cases = ", ".join(" -> ".join(_names(record)) for record in engine.state.batch)
        done = f"{engine.state.iteration}/{engine.state.epoch_length}"
        engine.logger.info(f"{done}: {printable(cases)} ({now - self._since:.1f} s)")
        self._since = now


def _names(record: Mapping[str, Any]) -> list[str]:
    """Return the name of the case, and the path of its output if it has one."""
    return [str(record[key]) for key in ("case", "output") if key in record]

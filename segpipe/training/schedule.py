"""When to validate and when to stop."""

from __future__ import annotations

from ignite.engine import Events
from monai.engines import Evaluator, Trainer


class Validate:
    """Run the evaluator every `interval` epochs and after the last one; never when nothing is held out.

    MONAI's ValidationHandler leaves out a last epoch that the interval does not divide, and warns at every turn
    where the validation set is empty, as when the final weights are trained on every case.

    Args:
        evaluator: to run.
        interval: in epochs.
    """

    def __init__(self, evaluator: Evaluator, interval: int) -> None:
        self.evaluator = evaluator
        self.interval = interval

    def attach(self, engine: Trainer) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._validate)

    def _validate(self, engine: Trainer) -> None:
        due = engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs
        if due and self.evaluator.state.epoch_length:
            self.evaluator.run(engine.state.epoch)

"""When to validate, and when to stop because it no longer helps."""

from __future__ import annotations

from ignite.engine import Events
from monai.engines import Evaluator, Trainer


class Validate:
    """Run the evaluator every `interval` epochs and after the last one; never when nothing is held out.

    MONAI's ValidationHandler leaves out a last epoch that the interval does not divide, and warns at every
    turn where the validation set is empty, as when the final weights are trained on every case. Early
    stopping stands here because it needs nothing but the evaluator's own record of its best epoch, which a
    resume restores.

    Args:
        evaluator: to run; its key metric says which epoch is the best.
        interval: in epochs.
        patience: training stops after so many validations in a row without a better one; 0 never stops.
    """

    def __init__(self, evaluator: Evaluator, interval: int, patience: int = 0) -> None:
        self.evaluator = evaluator
        self.interval = interval
        self.patience = patience

    def attach(self, engine: Trainer) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._validate)

    def _validate(self, engine: Trainer) -> None:
        due = engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs
        if not due or not self.evaluator.state.epoch_length:
            return
        self.evaluator.run(engine.state.epoch)
        best_epoch = self.evaluator.state.best_metric_epoch
        if self.patience and engine.state.epoch - best_epoch >= self.patience * self.interval:
            engine.logger.info(
                f"No better validation since epoch {best_epoch}: stopping after epoch {engine.state.epoch}"
            )
            engine.terminate()

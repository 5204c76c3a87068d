"""Warm-up and cycles of the learning rate, validation, and early stopping."""

from __future__ import annotations

import math

from ignite.engine import Events
from monai.engines import Evaluator, Trainer

from segpipe.errors import SegpipeError
from segpipe.monai_run import refusal_ends_run
from segpipe.training.longer import cycle_of, lengths_of
from segpipe.training.run_folder import RunFolder


@refusal_ends_run()
def warm_up(share: float, steps: int) -> float:
    """Return the share of a training's steps in which the learning rate rises, as OneCycleLR can use it.

    OneCycleLR divides by the number of warm-up steps less one. For exactly one step the next larger share is
    returned: the first step then has the low rate of a warm-up, and the second step is near the peak.

    Args:
        share: of all steps, 0 <= share < 1.
        steps: of the whole training.

    Returns:
        `pct_start` for `torch.optim.lr_scheduler.OneCycleLR`; `share` itself unless its product with `steps` is 1.

    Raises:
        SegpipeError: the share is not in that range: at 1 no step is left in which the rate falls.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise SegpipeError(
            f"warm_up_share is {share!r}, must be a number from 0 to below 1: the share of all steps in which the "
            "learning rate rises; use 0.2"
        )
    share = float(share)
    while share * steps == 1.0:
        share = math.nextafter(share, math.inf)
    return share


@refusal_ends_run()
def cycle_steps(run_folder: RunFolder, epochs: int, steps: int) -> int:
    """Return the steps of the present cycle of the learning rate: of all epochs, or of those that made a run longer.

    Args:
        run_folder: folder of the run; if it resumes, its training state says when the cycle began.
        epochs: epochs of the run in all.
        steps: of an epoch.

    Raises:
        SegpipeError: the training state cannot be read.
    """
    state = lengths_of(run_folder.training_state) if run_folder.resumes else None
    if state is None or not isinstance(epochs, int):
        return epochs * steps
    return max(epochs - cycle_of(state, epochs).began, 1) * steps


class Validate:
    """Runs the evaluator every `interval` epochs and after the last epoch; never without validation cases.

    MONAI's ValidationHandler skips a last epoch that the interval does not divide, and warns each time if the
    validation set is empty, as when the final weights are trained on every case. Early stopping is here because it
    needs only the evaluator's record of its best epoch, which a resume restores.

    Args:
        evaluator: the evaluator to run; its key metric decides which epoch is the best.
        interval: number of epochs between validations.
        patience: training stops after this many validations in a row without a better one; 0: never. Test cases stop
            no training.
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
        training = getattr(engine, "training_state", None)
        began = 0 if training is None else training.cycle_began  # patience counts anew in a longer run
        best_epoch = max(self.evaluator.state.best_metric_epoch, began)
        if not getattr(self.evaluator, "chooses", True):  # set by SaveBest
            return
        if self.patience and engine.state.epoch - best_epoch >= self.patience * self.interval:
            engine.logger.info(
                f"No better validation since epoch {best_epoch}: stopping after epoch {engine.state.epoch}"
            )
            engine.terminate()

"""Makes a finished run longer: a new cycle of the learning rate for the further epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segpipe.errors import SegpipeError
from segpipe.networks.weights_files import read_state

_LENGTHS = ("epoch", "max_epochs")


@dataclass(frozen=True)
class Cycle:
    """The present cycle of a run's learning rate.

    Attributes:
        began: number of epochs before the cycle; 0 in a run that was never made longer.
        is_new: whether the cycle begins with this start of the run, after the end of the former cycle.
    """

    began: int = 0
    is_new: bool = False


def cycle_of(state: Mapping[str, Any], epochs: int) -> Cycle:
    """Return the cycle in which a run goes on.

    A finished run that gets more epochs than it has begins a new cycle. Every other run goes on in its cycle.

    Args:
        state: training state of the run.
        epochs: epochs of the run in all, as its configuration has them now.
    """
    if is_finished(state) and epochs != state["max_epochs"] and epochs > state["epoch"]:
        return Cycle(state["epoch"], is_new=True)
    return Cycle(state.get("cycle_began", 0))


def is_finished(state: Mapping[str, Any]) -> bool:
    """Return whether a run has had its last epoch, or was stopped by its validations."""
    return bool(state["epoch"] >= state["max_epochs"] or state.get("stopped_early"))


def refuse_finished(path: Path, state: Mapping[str, Any], epochs: int) -> None:
    """Refuse to resume a finished run that gets no further epoch.

    Args:
        path: folder of the run.
        state: training state of the run.
        epochs: epochs of the run in all, as its configuration has them now.

    Raises:
        SegpipeError: the message has both numbers of epochs.
    """
    if not is_finished(state) or cycle_of(state, epochs).is_new:
        return
    done, planned = state["epoch"], state["max_epochs"]
    another = "choose another --run_name (segpipe train: run_name=NAME) to train again"
    if epochs != planned:
        raise SegpipeError(
            f"{path}: this run has had {done} epochs, and epochs is {epochs}: a longer run needs more than {done}; "
            f"give --epochs {done + 1} or more (segpipe train: epochs={done + 1}), or {another}"
        )
    raise SegpipeError(
        f"{path}: this run is finished, after epoch {done} of {planned}; give more epochs to make it longer "
        f"(--epochs N, segpipe train: epochs=N), or {another}"
    )


def present_epochs(path: Path, then: Any, now: Any) -> Any:
    """Return the epochs that a saved run has in all, to compare with the configuration's.

    Args:
        path: of the training state.
        then: epochs in the configuration of the run's first start.
        now: epochs in the present configuration.

    Returns:
        for a finished run `now`, since it may be made longer; for a run that was made longer, its present epochs.
    """
    state = lengths_of(path)
    if state is None:
        return then
    if is_finished(state):
        return now
    return state["max_epochs"] if state.get("cycle_began") else then


def lengths_of(path: Path) -> Mapping[str, Any] | None:
    """Return a training state; None where it cannot be read or lacks its lengths: restoring it refuses that."""
    try:
        state = read_state(path)
    except SegpipeError:
        return None
    has_lengths = isinstance(state, Mapping) and all(isinstance(state.get(name), int) for name in _LENGTHS)
    return state if has_lengths else None


def restart_rates(optimizer: torch.optim.Optimizer, fresh: Sequence[Mapping[str, Any]]) -> None:
    """Give an optimiser the learning rates and momenta with which a schedule begins.

    Args:
        optimizer: with a restored state, whose moments stay.
        fresh: from `rates_of`, before the state was restored.
    """
    for group, first in zip(optimizer.param_groups, fresh, strict=True):
        group.update(first)


def rates_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the numbers of each parameter group, without its parameters."""
    return [
        {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]


def require_own_cycle(scheduler: Any, path: Path, steps: int, epochs: int) -> None:
    """Refuse a schedule over all epochs of a run for a cycle that has only some of them.

    Bundles of earlier versions have such a schedule.

    Args:
        scheduler: schedule of the learning rate.
        path: folder of the run.
        steps: of an epoch.
        epochs: epochs of the run in all.

    Raises:
        SegpipeError: the message says what to write.
    """
    length = getattr(scheduler, "total_steps", getattr(scheduler, "T_max", None))
    if length is not None and length == epochs * steps:
        raise SegpipeError(
            f"{path}: its schedule of the learning rate has {length} steps, for all {epochs} epochs and not for the "
            "new ones alone; give lr_scheduler total_steps (or T_max) from segpipe.training.cycle_steps in place of "
            "@train#trainer#max_epochs, as a newly planned bundle does"
        )

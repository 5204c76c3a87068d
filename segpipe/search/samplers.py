"""Optuna's samplers, seeded by trial: a trial's draws depend on (seed, place), not on the order of jobs.

The place of a trial counts from 0 and leaves out retries: a retried trial has the place of the trial that it repeats.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from segpipe.search.space import Choices, Space

SAMPLERS = ("grid", "random", "tpe")
_RETRIED = "failed_trial"  # Optuna's name for the number of the trial that a retry repeats


def original_number(trial: FrozenTrial) -> int:
    """Return the number of a trial, or of the trial that it repeats."""
    return int(trial.system_attrs.get(_RETRIED, trial.number))


def is_retry(trial: FrozenTrial) -> bool:
    """Return whether a trial repeats another one."""
    return _RETRIED in trial.system_attrs


def place_of(study: optuna.Study, trial: FrozenTrial) -> int:
    """Return the place of a trial among those that are no retries, from 0.

    All trials of the study count. Hyperband gives samplers a study that shows the trials of one bracket alone.
    """
    number = original_number(trial)
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return sum(not is_retry(one) for one in trials if one.number < number)


def sampler_of(name: str, space: Space, seed: int) -> BaseSampler:
    """Return a sampler.

    Args:
        name: one of `SAMPLERS`.
        space: the space; a grid needs a list of values for each id.
        seed: seed of the search.
    """
    if name == "grid":
        lists = {key: one.encoded for key, one in space.dimensions.items() if isinstance(one, Choices)}
        return PlacedGridSampler(lists, seed)
    made: Mapping[str, Callable[[int], BaseSampler]] = {
        "random": lambda drawn: RandomSampler(seed=drawn),
        "tpe": lambda drawn: TPESampler(seed=drawn),
    }
    return SeededByTrial(made[name], seed)


class PlacedGridSampler(GridSampler):
    """Optuna's grid, of which each place takes another combination: none is left out or taken twice."""

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose the combination by the trial's place."""
        placed = copy.copy(trial)
        placed.number = place_of(study, trial)
        super().before_trial(study, placed)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Leave the end of the search to the search, which counts places; Optuna's would stop before a retry."""


class SeededByTrial(BaseSampler):
    """A sampler that is made anew for each trial, seeded by (seed, place).

    Args:
        make: returns a sampler for a seed.
        seed: seed of the search.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._made: dict[int, BaseSampler] = {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Prepare the trial's own sampler."""
        self._of(study, trial).before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the ids that are drawn together."""
        space: dict[str, BaseDistribution] = self._of(study, trial).infer_relative_search_space(study, trial)
        return space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the values of the ids that are drawn together."""
        values: dict[str, Any] = self._of(study, trial).sample_relative(study, trial, search_space)
        return values

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the value of another id."""
        return self._of(study, trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forget the trial's own sampler."""
        self._of(study, trial).after_trial(study, trial, state, values)
        self._made.pop(trial.number, None)

    def _of(self, study: optuna.Study, trial: FrozenTrial) -> BaseSampler:
        if trial.number not in self._made:
            drawn = np.random.SeedSequence([self._seed, place_of(study, trial)]).generate_state(1)
            self._made[trial.number] = self._make(int(drawn[0]))
        return self._made[trial.number]

"""Runs the trials of a study: each trial is an ordinary run for each fold, some trials at a time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from segpipe.errors import SegpipeError, counted
from segpipe.search.experiment import ResolvedExperiment, require_same_run
from segpipe.search.samplers import is_retry, place_of
from segpipe.search.space import Choices, Space
from segpipe.search.study import (
    FOLDS,
    HEARTBEAT_SECONDS,
    REASON,
    is_double,
    retry_lost,
    storage_in_words,
    suggested,
)
from segpipe.search.trainings import (
    POLL_SECONDS,
    PlannedRun,
    RunState,
    TrainingProcess,
    cards_to_share,
    environment_of,
    failure,
    run_state,
    was_stopped,
)
from segpipe.search.validations import Validations, best_validation

_VALIDATION_SECONDS = 2.0  # between two looks at a run's validations
_ELSEWHERE_SECONDS = 2.0  # between two looks at the trials of other processes


@dataclass(frozen=True)
class SearchOptions:
    """The trials of a search.

    Attributes:
        trials: number of trials; None: every combination of a grid, else 20.
        folds: folds, or named splits, that each trial trains and is scored on.
        jobs: trials at a time; they share the processor's threads.
        sampler: one of `segpipe.search.samplers.SAMPLERS`; None: grid for a space of lists, else tpe.
        pruner: one of `segpipe.search.search.PRUNERS`; None: none for a grid, else median.
        seed: seed of the drawing.
        storage: URL that Optuna takes, for several machines; None: an SQLite file in the output folder.
        name: name of the study in its storage.
        heartbeat_seconds: with a storage of several machines, seconds between two signs of life of a trial.
    """

    trials: int | None = None
    folds: Sequence[int | str] = (0,)
    jobs: int = 1
    sampler: str | None = None
    pruner: str | None = None
    seed: int = 0
    storage: str | None = None
    name: str = "search"
    heartbeat_seconds: int = HEARTBEAT_SECONDS


class _LeftOutError(Exception):
    """The trial is one too many, or a double; it keeps no place in the table."""


class _FailedError(Exception):
    """A training of the trial failed; the reason is an attribute of the trial."""


class _StoppedError(BaseException):
    """The user interrupts: the trial stays running in the study, and is retried. No Exception, for Optuna."""


class Driver:
    """Runs the trials of a study in threads, each with one training at a time.

    Args:
        study: the study.
        space: the space.
        resolved: the bundle, with the overrides of every trial.
        output: folder of the runs.
        options: the trials, with their number.
        threads: processor threads of each training.
        tell: called with each line for the user.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        resolved: ResolvedExperiment,
        output: Path,
        options: SearchOptions,
        threads: int,
        tell: Callable[[str], None],
    ) -> None:
        self.study, self.space, self.resolved, self.output = study, space, resolved, output
        self.options, self.threads, self.tell = options, threads, tell
        self.trials = int(options.trials or 0)
        self._epochs = most_epochs(resolved, space)
        self._cards = cards_to_share(options.jobs)
        self._starting = threading.Lock()  # from the decision to start a trial to its place in the study
        self._stopping = threading.Event()
        self._errors: list[BaseException] = []
        self._slot = threading.local()
        self._own: set[int] = set()  # numbers of the trials that run here

    def run(self) -> None:
        """Run until every trial has ended, here or in another process on the same study."""
        again = retry_lost(self.study, self.trials, all_running=self.options.storage is None)
        if again:
            self.tell(f"{counted(again, 'trial')} whose process had ended: resumed")
        slots = [
            threading.Thread(target=self._work, args=(slot,), name=f"trial-{slot}", daemon=True)
            for slot in range(min(self.options.jobs, self.trials))
        ]
        for thread in slots:
            thread.start()
        try:
            while any(thread.is_alive() for thread in slots):
                time.sleep(POLL_SECONDS)
        finally:
            self._stopping.set()
            for thread in slots:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _work(self, slot: int) -> None:
        self._slot.number = slot
        try:
            while not self._stopping.is_set() and self._start():
                pass
        except _StoppedError:
            pass
        except (SQLAlchemyError, StorageInternalError) as error:
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            where = storage_in_words(self.options.storage, self.output)
            self._end(
                SegpipeError(
                    f"{where}: Optuna's storage fails: {reason}; mend it, and run the same command to go on"
                )
            )
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        """End the search with an error, which the main thread raises again."""
        self._errors.append(error)
        self._stopping.set()

    def _start(self) -> bool:
        """Run one trial, or wait for those of other processes; return False where none is left."""
        self._hold()
        try:
            is_left, runs_elsewhere = self._left()
            if is_left:
                self._slot.has_lost = False
                try:
                    self.study.optimize(self._objective, n_trials=1, catch=(_LeftOutError, _FailedError))
                except ValueError:  # Optuna cannot end a trial that another machine has ended
                    if not self._slot.has_lost:
                        raise
                return True
        finally:
            self._release()
        if runs_elsewhere:
            optuna.storages.fail_stale_trials(self.study)
            self._stopping.wait(_ELSEWHERE_SECONDS)
        return runs_elsewhere

    def _hold(self) -> None:
        self._starting.acquire()
        self._slot.holds = True

    def _release(self) -> None:
        if self._slot.holds:
            self._slot.holds = False
            self._starting.release()

    def _left(self) -> tuple[bool, bool]:
        """Return whether a trial is left to start, and whether another process runs one."""
        trials = self.study.get_trials(deepcopy=False)
        waiting = any(one.state is TrialState.WAITING for one in trials)
        begun = sum(not is_retry(one) for one in trials)
        running = {one.number for one in trials if one.state is TrialState.RUNNING}
        is_alone = self.options.storage is None
        return waiting or begun < self.trials, bool(running - self._own) and not is_alone

    def _objective(self, trial: optuna.Trial) -> float:
        """Train and validate every fold with the trial's values; return the mean of the best validations."""
        self._own.add(trial.number)
        self._release()
        try:
            (frozen,) = (one for one in self.study.get_trials(deepcopy=False) if one.number == trial.number)
            place = place_of(self.study, frozen)
            if place >= self.trials or is_double(self.study, frozen):
                raise _LeftOutError
            values = suggested(trial, self.space)
            self.tell(f"trial {place}: {in_words(values)}")
            scores: list[float] = []
            for position, fold in enumerate(self.options.folds):
                scores.append(self._fold(trial, place, values, fold, (position, scores)))
            trial.set_user_attr(FOLDS, dict(zip(map(str, self.options.folds), scores, strict=True)))
            self.tell(f"trial {place}: {sum(scores) / len(scores):.4f}")
            return sum(scores) / len(scores)
        except UpdateFinishedTrialError as error:
            self._slot.has_lost = True
            self.tell(f"trial {place}: its signs of life were late, so that it was given up; it is run again")
            raise _LeftOutError from error
        except SegpipeError as error:
            trial.set_user_attr(REASON, str(error))
            self.tell(f"trial {place}: failed: {error}")
            raise _FailedError from error
        finally:
            self._own.discard(trial.number)

    def _fold(
        self,
        trial: optuna.Trial,
        place: int,
        values: Mapping[str, Any],
        fold: int | str,
        before: tuple[int, Sequence[float]],
    ) -> float:
        """Train one fold of a trial, and return its best validation.

        Args:
            trial: the trial.
            place: its place.
            values: its values.
            fold: the fold.
            before: position of the fold, and the best validations of the folds before it.
        """
        experiment = self.resolved.experiment.with_overrides(values)
        name, folder = f"trial {place}, fold {fold}", f"trial_{place:04d}"
        planned = PlannedRun(
            name,
            experiment,
            self.output / folder,
            f"fold_{fold}",
            fold,
            self.output / "logs" / f"{folder}_{fold}.log",
        )
        configuration = experiment.settings(fold)
        require_same_run(
            planned.folder,
            replace(self.resolved, experiment=experiment, configuration=configuration),
            "--output",
        )
        validations = _Reported(
            trial, Validations(planned.folder, experiment.task, configuration), before, self._epochs
        )
        if run_state(planned.folder) is not RunState.FINISHED:
            self._train(planned, validations, place)
        try:
            validations.report()
        except optuna.TrialPruned:
            self.tell(f"trial {place}: pruned")
            raise
        return best_validation(planned.folder)

    def _train(self, planned: PlannedRun, validations: _Reported, place: int) -> None:
        """Train a run to its end, or until its trial is pruned or the user interrupts."""
        environment = environment_of(self.threads, self._slot.number, self._cards)
        training = TrainingProcess(planned, environment, self.tell)
        looked = time.monotonic()
        try:
            while (status := training.status()) is None:
                if self._stopping.wait(POLL_SECONDS):
                    raise _StoppedError
                if self.options.pruner != "none" and time.monotonic() - looked > _VALIDATION_SECONDS:
                    validations.report()
                    looked = time.monotonic()
        except BaseException as error:
            training.stop()
            training.wait()
            if isinstance(error, optuna.TrialPruned):
                self.tell(f"trial {place}: pruned")
            raise
        if self._stopping.is_set() and status:
            raise _StoppedError
        if was_stopped(status):  # not by this process: a later start of the search resumes the trial
            self.tell(f"{planned.name}: {failure(training, status)}; run the same command to go on")
            raise _FailedError
        if status:
            raise SegpipeError(failure(training, status))


class _Reported:
    """Reports the validations of a run to Optuna, each once, and asks it whether to prune the trial."""

    def __init__(
        self,
        trial: optuna.Trial,
        validations: Validations,
        before: tuple[int, Sequence[float]],
        epochs: int,
    ) -> None:
        self._trial, self._validations, self._epochs = trial, validations, epochs
        self._position, self._scores = before
        self._best = -math.inf
        self._steps: set[int] = set()

    def report(self) -> None:
        """Report the validations since the last call.

        Raises:
            optuna.TrialPruned: the pruner says so; no later validation is reported.
        """
        for epoch, value in self._validations.by_epoch().items():
            step = self._position * self._epochs + epoch
            self._best = max(self._best, value)
            if step in self._steps:
                continue
            self._steps.add(step)
            so_far = [*self._scores, self._best]
            self._trial.report(sum(so_far) / len(so_far), step)
            if self._trial.should_prune():
                raise optuna.TrialPruned


def in_words(values: Mapping[str, Any]) -> str:
    """Return the values of a trial as text."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def most_epochs(resolved: ResolvedExperiment, space: Space) -> int:
    """Return the most epochs of a trial's fold, which is the distance between the steps of two folds."""
    tried = space.dimensions.get("epochs")
    numbers = [resolved.configuration.get("epochs")]
    if tried is not None:
        numbers = list(tried.values) if isinstance(tried, Choices) else [int(tried.high)]
    return max((number for number in numbers if isinstance(number, int)), default=1)

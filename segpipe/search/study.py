"""A search's study in Optuna's storage: its record, its trials as rows, and trials whose process was killed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from segpipe.errors import SegpipeError
from segpipe.search.samplers import is_retry, original_number, place_of
from segpipe.search.space import Choices, Dimension, Space

RECORD, REASON, FOLDS = "segpipe", "reason", "folds"  # attributes of a study, and of its trials
STUDY_FILE = "study.db"
HEARTBEAT_SECONDS = 30
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_LIVE = (*_FINISHED, TrialState.RUNNING, TrialState.WAITING)
_WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class TrialRow:
    """A trial with its retries, as a row of the table.

    Attributes:
        place: number of the trial, from 0, without retries.
        state: "finished", "pruned", "running", "waiting" or "failed".
        values: id -> value.
        stored: id -> the same value as the study stores it.
        value: mean of the best validations over the folds; of a pruned trial the last one; NaN without one.
        folds: fold -> best validation; empty for a trial that is not finished.
        intermediate: step -> value.
        reason: why the trial failed; empty for other trials.
    """

    place: int
    state: str
    values: Mapping[str, Any]
    stored: Mapping[str, Any]
    value: float
    folds: Mapping[str, float]
    intermediate: Mapping[int, float]
    reason: str


def open_study(
    storage: str | None,
    name: str,
    output: Path,
    record: Mapping[str, Any],
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> optuna.Study:
    """Open the study of a search, or make it.

    Args:
        storage: URL that Optuna takes; None: an SQLite file in the output folder.
        name: name of the study in its storage.
        output: folder of the search.
        record: the search in plain types; of a study that exists it must be the same.
        sampler: of the trials that this process starts.
        pruner: of the same trials.
        heartbeat_seconds: with a URL, seconds between two signs of life of a trial.

    Raises:
        SegpipeError: the storage cannot be opened; or the study is of another bundle, another space or other options.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    url = storage or URL.create("sqlite", database=str(output / STUDY_FILE)).render_as_string()
    beat: dict[str, Any] = {
        "heartbeat_interval": heartbeat_seconds,
        "grace_period": 4 * heartbeat_seconds,
        "heartbeat_stale_trial_callback": RetryHeartbeatStaleTrialCallback(),
    }
    where = storage_in_words(storage, output)
    try:
        opened = RDBStorage(url, **(beat if storage else {}))
        study = optuna.create_study(
            storage=opened,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=sampler,
            pruner=pruner,
        )
        known = study.user_attrs.get(RECORD)
        has_trials = bool(study.get_trials(deepcopy=False))
    except (
        SQLAlchemyError,
        ArgumentError,
        NoSuchModuleError,
        ImportError,
        ValueError,
        RuntimeError,
    ) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise SegpipeError(
            f"{where}: cannot be opened as Optuna's storage: {reason}; give --storage a URL such as "
            "sqlite:////folder/study.db or postgresql://user@host/name"
        ) from error
    if known is None and has_trials:
        raise SegpipeError(
            f"{where}: its study {name} was not written by segpipe search; choose another --name"
        )
    if known is None:
        study.set_user_attr(RECORD, dict(record))
        known = study.user_attrs[RECORD]
    _require_same(known, record, name, where)
    return study


def storage_in_words(storage: str | None, output: Path) -> str:
    """Return the URL of a storage for messages, without its password; without a URL the path of the SQLite file."""
    if storage is None:
        return str(output / STUDY_FILE)
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except ArgumentError:
        return storage


def _require_same(known: Mapping[str, Any], record: Mapping[str, Any], name: str, where: str) -> None:
    for key, value in record.items():
        if known.get(key) != value:
            what = f"another {key}" if key in ("bundle", "space", "configuration") else f"other {key}"
            raise SegpipeError(
                f"{where}: the study {name} is of {what}: {known.get(key)!s:.160} then, {value!s:.160} now; give the "
                "same, or choose another study with --name and another folder with --output"
            )


def suggested(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Return the values of a trial; a trial that has them keeps them."""
    values: dict[str, Any] = {}
    for name, one in space.dimensions.items():
        if isinstance(one, Choices):
            values[name] = one.decoded(trial.suggest_categorical(name, one.encoded))
        elif one.whole:
            step = 1 if one.step is None else int(one.step)
            values[name] = trial.suggest_int(name, int(one.low), int(one.high), step=step, log=one.log)
        else:
            values[name] = trial.suggest_float(name, one.low, one.high, step=one.step, log=one.log)
    return values


def retry_lost(study: optuna.Study, trials: int, *, all_running: bool) -> int:
    """Retry the trials whose process was killed, with Optuna's own callback; return their number.

    Args:
        study: the study.
        trials: number of trials of the search; later ones stay as they are.
        all_running: whether no other process works on the study, so that every running trial is a lost one.
    """
    if all_running:
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
    found = study.get_trials(deepcopy=False)
    going_on = {original_number(one) for one in found if one.state in _LIVE}
    again = 0
    for trial in found:
        number = original_number(trial)
        lost = trial.state is TrialState.FAIL and REASON not in trial.user_attrs
        if lost and number not in going_on and place_of(study, trial) < trials:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                RetryHeartbeatStaleTrialCallback()(study, study.get_trials()[trial.number])
            going_on.add(number)
            again += 1
    return again


def is_double(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Return whether an earlier trial that has not failed repeats or is the same one."""
    number = original_number(trial)
    return any(
        one.number < trial.number and original_number(one) == number and one.state in _LIVE
        for one in study.get_trials(deepcopy=False)
    )


def rows_of(study: optuna.Study, space: Space, most: int | None = None) -> list[TrialRow]:
    """Return the trials of a study, each with its retries as one row, in their order.

    Args:
        study: the study.
        space: the space.
        most: number of trials; later ones are left out.
    """
    trials = study.get_trials(deepcopy=False)
    tries: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        tries.setdefault(original_number(trial), []).append(trial)
    firsts = [trial.number for trial in trials if not is_retry(trial)]
    return [_row(place, tries[number], space) for place, number in enumerate(firsts[:most])]


def _row(place: int, tries: Sequence[FrozenTrial], space: Space) -> TrialRow:
    order = [*_FINISHED, TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL]
    trial = min(tries, key=lambda one: order.index(one.state))
    value = trial.value if trial.state in _FINISHED and trial.value is not None else math.nan
    values = {}
    for name, one in space.dimensions.items():
        if name in trial.params:
            stored = trial.params[name]
            values[name] = one.decoded(stored) if isinstance(one, Choices) else stored
    return TrialRow(
        place,
        _WORDS[trial.state],
        values,
        {name: trial.params[name] for name in values},
        float(value),
        trial.user_attrs.get(FOLDS, {}) if trial.state is TrialState.COMPLETE else {},
        dict(trial.intermediate_values),
        trial.user_attrs.get(REASON, "its process was killed") if trial.state is TrialState.FAIL else "",
    )


def best_row(rows: Sequence[TrialRow]) -> TrialRow | None:
    """Return the finished trial with the highest value, of equal ones the first; None without one."""
    finished = [row for row in rows if row.state == "finished"]
    return max(finished, key=lambda row: (row.value, -row.place), default=None)


def plotted_study(rows: Sequence[TrialRow], space: Space) -> optuna.Study:
    """Return a study in memory with one trial for each row, for Optuna's plots."""
    study = optuna.create_study(direction="maximize")
    states = {word: state for state, word in _WORDS.items()}
    for row in rows:
        if set(row.values) != set(space.dimensions) or row.state in ("running", "waiting"):
            continue
        distributions = {name: _distribution(one) for name, one in space.dimensions.items()}
        study.add_trial(
            optuna.create_trial(
                state=states[row.state],
                value=row.value if row.state in ("finished", "pruned") and math.isfinite(row.value) else None,
                params=dict(row.stored),
                distributions=distributions,
                intermediate_values=dict(row.intermediate),
            )
        )
    return study


def _distribution(one: Dimension) -> optuna.distributions.BaseDistribution:
    if isinstance(one, Choices):
        return optuna.distributions.CategoricalDistribution(one.encoded)
    if one.whole:
        return optuna.distributions.IntDistribution(int(one.low), int(one.high), one.log, int(one.step or 1))
    return optuna.distributions.FloatDistribution(one.low, one.high, one.log, one.step)

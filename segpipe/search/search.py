"""A search over a bundle's numbers with Optuna: each trial is an ordinary run for each fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from segpipe.dataset import Manifest, load_manifest
from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import json_sha256, read_json, require_writable, write_json
from segpipe.search.crossval import require_folds
from segpipe.search.driver import Driver, SearchOptions, most_epochs
from segpipe.search.experiment import RepeatedExperiment, ResolvedExperiment, checked
from segpipe.search.samplers import SAMPLERS, sampler_of
from segpipe.search.space import Space, read_space
from segpipe.search.study import TrialRow, open_study, rows_of
from segpipe.search.trainings import only_one, threads_of_each
from segpipe.training.result_ids import result_ids

PRUNERS = ("none", "median", "hyperband")
RECORD_FILE = "search.json"
_DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search.

    Attributes:
        rows: the trials, in their order.
        space: the space.
        record: bundle, space and options of the study, in plain types.
    """

    rows: Sequence[TrialRow]
    space: Space
    record: Mapping[str, Any]

    @property
    def is_whole(self) -> bool:
        """Whether every trial has finished or was pruned."""
        return all(row.state in ("finished", "pruned") for row in self.rows)


def search(
    experiment: RepeatedExperiment,
    space_file: Path,
    output: Path,
    options: SearchOptions,
    tell: Callable[[str], None],
) -> SearchResult:
    """Run the trials of a search; a repeated command goes on where it was.

    Each trial is a run for each fold, `output/trial_0000/fold_0` and so on, as `segpipe train` makes them. The study
    is kept in Optuna's storage.

    Args:
        experiment: the bundle, with the overrides of every trial.
        space_file: see `segpipe.search.space.read_space`.
        output: folder of the runs; with a storage of several machines each machine may have its own.
        options: the trials.
        tell: called with each line for the user.

    Raises:
        SegpipeError: the configuration has a mistake, the space does not fit the bundle, an option is out of range, or
            the study is of another bundle or another space.
        KeyboardInterrupt: the user interrupts; every training has saved its state.
    """
    threads = threads_of_each(options.jobs)
    _require_options(options)
    resolved = checked(_without_ranges(experiment), options.folds[0])
    experiment = resolved.experiment
    manifest = load_manifest(resolved.manifest)
    require_folds(options.folds, manifest)
    _require_validations(options.folds, manifest)
    space = read_space(space_file, resolved.configuration, experiment.overrides)
    options = _whole(options, space)
    first = {name: getattr(one, "values", None) for name, one in space.dimensions.items()}
    checked(
        experiment.with_overrides({name: values[0] for name, values in first.items() if values}),
        options.folds[0],
    )
    require_writable(output)
    with _alone_in(output, options.storage):
        record = _record(resolved, space, options)
        sampler = sampler_of(str(options.sampler), space, options.seed)
        pruner = _pruner(str(options.pruner), resolved, space, options)
        study = open_study(
            options.storage, options.name, output, record, sampler, pruner, options.heartbeat_seconds
        )
        driver = Driver(study, space, resolved, output, options, _threads(output, threads, tell), tell)
        tell(
            f"{counted(driver.trials, 'trial')} on {counted(len(options.folds), 'fold')}, "
            f"{min(options.jobs, driver.trials)} at a time, {counted(driver.threads, 'thread')} each, below {output}; "
            f"to watch: tensorboard --logdir {output}"
        )
        driver.run()
        return SearchResult(rows_of(study, space, driver.trials), space, record)


def _alone_in(output: Path, storage: str | None) -> AbstractContextManager[None]:
    """Keep a second search out of a folder; with a storage of several machines they may share one, and their trials."""
    if storage is None:
        return only_one(output, "segpipe search")
    output.mkdir(parents=True, exist_ok=True)
    return nullcontext()


def _without_ranges(experiment: RepeatedExperiment) -> RepeatedExperiment:
    """Return the experiment without reference ranges, which nobody needs of a trial; an override has them."""
    name = "reference_ranges"
    if name in experiment.overrides or name not in experiment.settings(0):
        return experiment
    return experiment.with_overrides({name: False})


def _require_validations(folds: Sequence[int | str], manifest: Manifest) -> None:
    """Refuse splits that validate on test cases or a fold: these choose no weights, so that a trial has no score.

    Raises:
        SegpipeError: the message has the split.
    """
    without = [fold for fold in folds if isinstance(fold, str) and not manifest.splits[fold].validation]
    if without:
        raise SegpipeError(
            f"{manifest.name}: its split {shown(without)} has no validation cases, so that a trial would have no "
            "score; give --folds of folds, or of a split with validation cases"
        )


def _require_options(options: SearchOptions) -> None:
    """Refuse options that fit no space.

    Raises:
        SegpipeError: an option is out of range, or unknown.
    """
    for option, value, known in (
        ("--sampler", options.sampler, SAMPLERS),
        ("--pruner", options.pruner, PRUNERS),
    ):
        if value is not None and value not in known:
            raise SegpipeError(f"{option} {value:.80}: must be one of {', '.join(known)}")
    if options.trials is not None and options.trials < 1:
        raise SegpipeError(f"--trials {options.trials}: must be at least 1")
    if not 0 <= options.seed < 2**32:
        raise SegpipeError(f"--seed {options.seed}: must be a whole number of 0 to {2**32 - 1}")


def _whole(options: SearchOptions, space: Space) -> SearchOptions:
    """Return the options with their defaults for a space.

    Raises:
        SegpipeError: the sampler does not fit the space.
    """
    sampler = options.sampler or ("grid" if space.is_grid else "tpe")
    if sampler == "grid" and not space.is_grid:
        raise SegpipeError(
            "--sampler grid: the space has an id with low and high; give a list of values for each id"
        )
    trials = options.trials or (space.combinations if sampler == "grid" else _DEFAULT_TRIALS)
    if sampler == "grid":
        trials = min(trials, space.combinations)
    pruner = options.pruner or ("none" if sampler == "grid" else "median")
    return replace(options, trials=trials, sampler=sampler, pruner=pruner)


def _pruner(
    name: str, resolved: ResolvedExperiment, space: Space, options: SearchOptions
) -> optuna.pruners.BasePruner:
    if name == "median":
        return optuna.pruners.MedianPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(max_resource=most_epochs(resolved, space) * len(options.folds))
    return optuna.pruners.NopPruner()


def _record(resolved: ResolvedExperiment, space: Space, options: SearchOptions) -> dict[str, Any]:
    """Return what a study must have in common with a later start, on any machine."""
    settings = {
        name: value
        for name, value in result_ids(resolved.configuration).items()
        if name != "fold" and name not in space.dimensions
    }
    overrides = resolved.experiment.overrides
    return {
        "bundle": resolved.experiment.bundle.resolve().name,
        "space": space.as_plain(),
        "overrides": {name: value for name, value in result_ids(overrides).items() if name != "dataset_dir"},
        "configuration": json_sha256(settings),
        "folds": list(options.folds),
        "sampler": options.sampler,
        "pruner": options.pruner,
        "seed": options.seed,
    }


def _threads(output: Path, threads: int, tell: Callable[[str], None]) -> int:
    """Return the threads of the first start in a folder, on which the weights' last digits depend; record them."""
    path = output / RECORD_FILE
    before = read_json(path, "the record of this search") if path.is_file() else {}
    known = before.get("threads") if isinstance(before, dict) else None
    if isinstance(known, int) and known >= 1:
        if known != threads:
            tell(f"each training computes with {counted(known, 'thread')}, as at the first start of {output}")
        return known
    write_json(path, {"threads": threads})
    return threads

"""Cross-validation of a bundle: a run for each fold, the scores of all held-out cases, and the ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from segpipe.bundle.locator_margin import is_locator
from segpipe.bundle.next_commands import weights_of
from segpipe.bundle.source import BundleSource
from segpipe.bundle.task import Task
from segpipe.bundle.weights_list import WeightsList
from segpipe.bundle_check.check_bundle import RUN_ARGUMENTS
from segpipe.configuration.reading import configuration_files, read_configuration
from segpipe.csv_files import csv_text
from segpipe.dataset import Manifest, load_manifest
from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import read_json, require_writable, write_json, write_text
from segpipe.inference.option_values import require_precision
from segpipe.model_evaluation.classification import ImageEvaluation, evaluate_classifier
from segpipe.model_evaluation.evaluate import evaluate
from segpipe.model_evaluation.fold_runs import fold_runs
from segpipe.model_evaluation.options import EvaluateOptions, Evaluation
from segpipe.model_evaluation.pooled import pooled, pooled_images
from segpipe.search.experiment import RepeatedExperiment, ResolvedExperiment, checked, require_same_run
from segpipe.search.trainings import PlannedRun, only_one, run_all, threads_of_each

RECORD_FILE = "crossval.json"
FOLDS_FILE = "folds.csv"
EVALUATION = "held_out"
"""Folder of each fold's label maps or predictions, and scores."""
_INFERENCE = ("inference.yaml", "inference.yml", "inference.json")
_OF_A_MACHINE = ("bundle_root", "dataset_dir", "device", "num_workers", "precision")  # inference has its own


@dataclass(frozen=True)
class CrossvalOptions:
    """The folds, and how they are trained and scored.

    Attributes:
        folds: numbers of the folds.
        jobs: trainings at a time; they share the processor's threads.
        inference_configs: configuration files of the evaluation; empty: inference.yaml, and beside each configuration
            NAME.yaml of the training its NAME_inference.yaml, where the bundle has one.
        promote: whether the caller will promote the ensemble, so that what cannot be promoted is refused first.
        precision: number format of the evaluation, see `PredictOptions`. A fixed one gives the same scores each time.
    """

    folds: Sequence[int]
    jobs: int = 1
    inference_configs: Sequence[Path] = ()
    precision: str = "float32"
    promote: bool = False


@dataclass(frozen=True)
class Crossval:
    """The result of a cross-validation.

    Attributes:
        weights: fold -> weights of its run, for each fold whose training finished.
        failed: name of a fold -> why its training, or the scoring of its cases, failed.
        folds: name of a fold -> scores of its held-out cases.
        pooled: scores of the held-out cases of all these folds; None if every fold failed.
        written: files of the result.
    """

    weights: Mapping[int, Path]
    failed: Mapping[str, str]
    folds: Mapping[str, Evaluation | ImageEvaluation] = field(default_factory=dict)
    pooled: Evaluation | ImageEvaluation | None = None
    written: Sequence[Path] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every fold was trained, and every held-out case has a score."""
        left_out = self.pooled is None or bool(
            self.pooled.reasons
            if isinstance(self.pooled, ImageEvaluation)
            else self.pooled.scores.without_prediction
        )
        return not self.failed and not left_out


def parse_folds(text: str) -> tuple[int, ...]:
    """Return the folds of a text such as `0-4` or `0,2,4`, in ascending order.

    Raises:
        SegpipeError: the text has another form, or names a fold twice.
    """
    folds: list[int] = []
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        digits = [first, *([last] if dash else [])]
        if not all(one.isdecimal() and len(one) <= _MOST_DIGITS for one in digits) or int(digits[-1]) < int(
            first
        ):
            raise SegpipeError(f"--folds {text:.80}: must be numbers such as 0-4 or 0,2,4")
        if len(folds) + int(last or first) - int(first) >= _MOST_FOLDS:
            raise SegpipeError(f"--folds {text:.80}: names more than {_MOST_FOLDS} folds; name fewer")
        folds += range(int(first), int(last or first) + 1)
        if len(folds) > len(set(folds)):
            raise SegpipeError(f"--folds {text:.80}: names fold {folds[-1]} twice; name each fold once")
    return tuple(sorted(folds))


_MOST_FOLDS = 1000
_MOST_DIGITS = 9


def parse_folds_or_splits(text: str) -> tuple[int | str, ...]:
    """Return the folds of a text, or the names of a manifest's splits, such as `paper`.

    Raises:
        SegpipeError: see `parse_folds`; or a split is named twice.
    """
    names = [name.strip() for name in text.split(",")]
    if any(name[:1].isdecimal() or not name for name in names):
        return parse_folds(text)
    if len(names) > len(set(names)):
        raise SegpipeError(f"--folds {text:.80}: names a split twice; name each split once")
    return tuple(names)


def require_folds(folds: Sequence[int | str], manifest: Manifest) -> None:
    """Refuse folds and splits that a manifest has not.

    Args:
        folds: numbers of the folds, or names of splits.
        manifest: the manifest of the trainings.

    Raises:
        SegpipeError: the message lists the manifest's folds.
    """
    there = sorted({case.fold for case in manifest.training if case.fold is not None})
    unknown = [fold for fold in folds if isinstance(fold, str) and fold not in manifest.splits]
    if unknown:
        splits = f"the splits {shown(manifest.splits)}" if manifest.splits else "no named split"
        raise SegpipeError(
            f"{manifest.name}: has no split {shown(unknown)}; it has {splits}; give --folds of these, or numbers of "
            "folds"
        )
    absent = [str(fold) for fold in folds if isinstance(fold, int) and fold not in there]
    if absent:
        raise SegpipeError(
            f"{manifest.name}: has no fold {shown(absent)}; its training cases have "
            f"{f'the folds {shown(map(str, there), most=20)}' if there else 'no folds'}; give --folds of these, or "
            "divide the manifest with `segpipe data split`"
        )


def crossval(
    experiment: RepeatedExperiment,
    output: Path,
    options: CrossvalOptions,
    tell: Callable[[str], None],
    watch: Callable[[Any, int, int], None] | None = None,
    predicting: AbstractContextManager[object] | None = None,
) -> Crossval:
    """Train a run for each fold, and score the held-out cases of all folds.

    The runs are `output/fold_0` and so on, as `segpipe train` makes them. A finished run stays, and an interrupted run
    goes on, so that a repeated command continues. A training that fails does not stop the others. Then each finished
    run's weights segment or classify the cases that it held out, in `output/held_out/fold_0` and so on; `output` gets
    `metrics.csv`, `summary.json` and `report.html` of all of them, and `folds.csv` with the scores of each fold.

    Args:
        experiment: the bundle and its overrides.
        output: folder of the runs and the results.
        options: the folds.
        tell: called with each line for the user.
        watch: see `segpipe.prediction.predict.predict`.
        predicting: context that is entered while cases are segmented, once for each fold.

    Raises:
        SegpipeError: the configuration has a mistake; the manifest lacks a fold; the number of jobs is below 1; the
            folder holds runs of another bundle or of other overrides, or another command works there; or see
            `segpipe.model_evaluation.evaluate.evaluate`.
        KeyboardInterrupt: the user interrupts; every training has saved its state.
    """
    threads = threads_of_each(options.jobs)
    require_precision(options.precision)
    resolved = checked(experiment, options.folds[0])
    manifest = load_manifest(resolved.manifest)
    require_folds(options.folds, manifest)
    source = _source(resolved, options.inference_configs)
    if options.promote:
        _require_promotable(source, options.folds)
    require_writable(output)
    with only_one(output, "segpipe crossval"):
        runs = [
            PlannedRun(
                f"fold {fold}", experiment, output, f"fold_{fold}", fold, output / "logs" / f"fold_{fold}.log"
            )
            for fold in options.folds
        ]
        for run in runs:
            require_same_run(run.folder, resolved, "--output")
        threads = _recorded_threads(output, experiment, threads, tell)
        tell(
            f"{counted(len(runs), 'fold')}, {min(options.jobs, len(runs))} at a time, "
            f"{counted(threads, 'thread')} each, below {output}; to watch: tensorboard --logdir {output}"
        )
        failed = run_all(runs, options.jobs, threads, tell)
        weights = {
            fold: weights_of(run.folder.path)
            for fold, run in zip(options.folds, runs, strict=True)
            if run.name not in failed
        }
        if not weights:
            return Crossval(weights, failed)
        fold_runs(list(weights.values()), manifest)
        scored = partial(
            _scored, resolved, source, precision=options.precision, watch=watch, predicting=predicting
        )
        return _evaluated(weights, failed, scored, output, tell)


def _evaluated(
    weights: Mapping[int, Path],
    failed: Mapping[str, str],
    scored: Callable[..., Evaluation | ImageEvaluation],
    output: Path,
    tell: Callable[[str], None],
) -> Crossval:
    """Score each fold, and the cases of all folds together; a fold that cannot be scored does not stop the others."""
    failed = dict(failed)
    folds: dict[str, Evaluation | ImageEvaluation] = {}
    for fold, path in weights.items():
        name = f"fold {fold}"
        tell(f"{name}: scoring the cases that it held out, with {path}")
        try:
            folds[name] = scored(
                path,
                fold,
                output / EVALUATION / f"fold_{fold}",
                lambda line, name=name: tell(f"{name}: {line}"),
            )
        except SegpipeError as error:
            failed[name] = f"its held-out cases have no scores: {error}"
            tell(f"{name}: failed: {failed[name]}")
    if not folds:
        return Crossval(weights, failed)
    of_masks = {name: one for name, one in folds.items() if isinstance(one, Evaluation)}
    of_images = {name: one for name, one in folds.items() if isinstance(one, ImageEvaluation)}
    together = pooled(of_masks, output) if of_masks else pooled_images(of_images, output)
    rows = [
        row
        for name, one in {**folds, "all": together}.items()
        for row in (_mask_rows(name, one) if isinstance(one, Evaluation) else _image_rows(name, one))
    ]
    write_text(output / FOLDS_FILE, csv_text(_COLUMNS, rows))
    return Crossval(weights, failed, folds, together, (output / FOLDS_FILE,))


_COLUMNS = ("fold", "class", "metric", "value", "low", "high", "cases")


Row = list[str | float | int]


def _mask_rows(fold: str, evaluation: Evaluation) -> list[Row]:
    summary = evaluation.summary
    return [
        [fold, name, metric, one.interval.mean, one.interval.low, one.interval.high, one.interval.cases]
        for name, figures in {**summary.by_class, "all": summary.all_classes}.items()
        for metric, one in figures.items()
    ]


def _image_rows(fold: str, evaluation: ImageEvaluation) -> list[Row]:
    summary, images = evaluation.summary, len(evaluation.images.cases)
    overall: list[Row] = [
        [fold, "all", metric, one.value, one.low, one.high, images] for metric, one in summary.overall.items()
    ]
    by_name: list[Row] = [
        [fold, name, metric, score.value, score.low, score.high, one.images]
        for name, one in summary.by_name.items()
        for metric, score in one.scores.items()
    ]
    return [*overall, *by_name]


def _scored(
    resolved: ResolvedExperiment,
    source: BundleSource,
    weights: Path,
    fold: int,
    output: Path,
    report: Callable[[str], None],
    *,
    precision: str,
    watch: Callable[[Any, int, int], None] | None,
    predicting: AbstractContextManager[object] | None,
) -> Evaluation | ImageEvaluation:
    """Score the cases that one run held out."""
    how = EvaluateOptions(split=str(fold), precision=precision, checksums=resolved.checksums, held_out=True)
    bundle = BundleSource(
        source.root, [weights], source.configs, source.overrides, source.device, source.trust
    )
    of_task: Mapping[Task, Callable[..., Evaluation | ImageEvaluation]] = {
        "segmentation": evaluate,
        "classification": evaluate_classifier,
    }
    return of_task[resolved.experiment.task](
        bundle, resolved.manifest, output, how, resolved.dataset_dir, watch, report, predicting
    )


def _source(resolved: ResolvedExperiment, given: Sequence[Path]) -> BundleSource:
    """Return the bundle for the evaluation: its inference, with those overrides that inference has too.

    Raises:
        SegpipeError: the bundle has no such configuration.
    """
    experiment = resolved.experiment
    root, configs = experiment.bundle, list(given)
    if not configs:
        configs = configuration_files(root, (), _INFERENCE)
        for path in experiment.files[1:]:
            beside = path.with_name(f"{path.stem}_inference{path.suffix}")
            configs += [beside] if beside.is_file() else []
    files = configuration_files(root, configs)
    there = read_configuration(root, files, {}).settings
    overrides = {
        name: value
        for name, value in experiment.overrides.items()
        if name not in (*_OF_A_MACHINE, *RUN_ARGUMENTS) and _top(name) in there
    }
    device = experiment.overrides.get("device")
    return BundleSource(root, (), files, overrides, device, experiment.trust)


def _require_promotable(source: BundleSource, folds: Sequence[int]) -> None:
    """Refuse to promote weights that are no ensemble, or would not fit the bundle's own inference.

    Raises:
        SegpipeError: there is one fold; the bundle is a locator, or names weights elsewhere; or an override, or another
            configuration, changes the inference.
    """
    root = Path(source.root)
    if len(folds) < 2:
        raise SegpipeError(
            f"--promote: makes an ensemble of several folds, and --folds names fold {folds[0]} alone; name more, or "
            "promote the run of this fold with `segpipe promote`"
        )
    if is_locator(root):
        raise SegpipeError(
            f"--promote: {root} is a locator, whose margin is of one network; leave --promote out"
        )
    WeightsList(root).require_place()
    names = [Path(path).name for path in source.configs]
    changed = [*(source.overrides or {}), *(name for name in names if Path(name).stem != "inference")]
    if changed:
        raise SegpipeError(
            f"--promote: {shown(changed)} would change the inference, and the bundle's own inference.yaml has other "
            "numbers; write these numbers into the bundle's configs/, or leave --promote out"
        )


def _top(identifier: str) -> str:
    return identifier.replace("#", "::").partition("::")[0]


def _recorded_threads(
    output: Path, experiment: RepeatedExperiment, threads: int, tell: Callable[[str], None]
) -> int:
    """Return the threads of the first start in a folder, on which the weights' last digits depend; record them.

    Raises:
        SegpipeError: the record cannot be read.
    """
    path = output / RECORD_FILE
    before = read_json(path, "the record of this cross-validation") if path.is_file() else {}
    known = before.get("threads") if isinstance(before, dict) else None
    if isinstance(known, int) and known >= 1 and known != threads:
        tell(
            f"each training computes with {counted(known, 'thread')}, as at the first start of {output}: the last "
            "digits of weights depend on the number"
        )
        threads = known
    write_json(path, {**experiment.as_plain(), "threads": threads})
    return threads

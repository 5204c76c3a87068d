"""Postprocessing of a bundle's label maps, chosen on the cases that its weights held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.bundle.train_overlap import TrainingRecord
from segpipe.bundle_names import require_writable_bundle
from segpipe.csv_files import csv_text
from segpipe.dataset import Manifest, load_manifest
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError, counted, shown
from segpipe.evaluation.scored_cases import CaseScore, ScoredCases
from segpipe.files import require_writable, write_text
from segpipe.labels import LabelTable
from segpipe.model_evaluation.evaluate import evaluate
from segpipe.model_evaluation.fold_runs import FoldRun, fold_runs, folds_left_out
from segpipe.model_evaluation.label_map_steps import HeldOutCase, choose_steps
from segpipe.model_evaluation.label_map_trials import Choice
from segpipe.model_evaluation.options import EvaluateOptions, Evaluation
from segpipe.model_evaluation.postprocessing_text import PostprocessingTexts, write_texts
from segpipe.model_evaluation.stale_ranges import commands_to_measure_again
from segpipe.prediction.options import Prediction
from segpipe.printable import printable
from segpipe.volumes import read_volume

TRIALS_FILE = "postprocessing.csv"
_COLUMNS = (
    "class",
    "step",
    "dice_gain",
    "interval_low",
    "interval_high",
    "confidence",
    "p_value",
    "steps_tried",
    "cases",
    "patients",
    "cases_changed",
    "kept",
)


@dataclass(frozen=True)
class PostprocessOptions:
    """The cases and the steps of a choice, and what is written.

    Attributes:
        split: fold or named split of the manifest; None: the one that the weights held out.
        fold_weights: weights of several folds; each file segments the cases that its own training held out.
        volumes: smallest volumes to try, in mm3 (mm2 in 2D); empty: volumes of the references' pieces.
        precision: see `PredictOptions`.
        checksums: whether files are compared with the manifest's SHA-256.
        replace: whether steps that were written before are replaced.
        dry_run: whether the bundle stays as it is.
    """

    split: str | None = None
    fold_weights: Sequence[str | Path] = ()
    volumes: Sequence[float] = ()
    precision: str = "auto"
    checksums: bool = True
    replace: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Postprocessing:
    """The result of a choice.

    Attributes:
        choice: all trials, and the steps kept.
        evaluations: name of the held-out cases, such as "fold 0" -> scores of their label maps without the steps.
        trials: file of the trials.
        written: files of the bundle that were changed.
        measure_again: commands for the reference ranges that were measured without the steps, lines for a shell.
    """

    choice: Choice
    evaluations: Mapping[str, Evaluation]
    trials: Path
    written: Sequence[Path]
    measure_again: Sequence[str] = ()

    @property
    def knows_patients(self) -> bool:
        """Whether the patients of the cases are known."""
        return any(one.scores.knows_patients for one in self.evaluations.values())

    @property
    def without_prediction(self) -> dict[str, str]:
        """Case -> why it took no part; empty where the reason is not known."""
        return {
            case: one.scores.reasons.get(case, "")
            for one in self.evaluations.values()
            for case in one.scores.without_prediction
        }

    @property
    def warnings(self) -> list[str]:
        """Limits of the scores' validity, with the fold where there are several."""
        of_several = len(self.evaluations) > 1
        return [
            f"{name}: {warning}" if of_several else warning
            for name, one in self.evaluations.items()
            for warning in one.warnings
        ]


def postprocess(
    bundle: BundleSource,
    manifest: str,
    output: Path,
    options: PostprocessOptions,
    dataset_dir: Path | None = None,
    watch: Callable[[Prediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
    predicting: AbstractContextManager[object] | None = None,
) -> Postprocessing:
    """Segment held-out cases, try steps on their label maps, and write the steps that gain into the bundle.

    `output` gets what `segpipe evaluate` writes for the label maps without the steps, in a folder for each fold where
    there are several, and `postprocessing.csv` with every trial. The steps go into `configs/inference.yaml` and
    `configs/evaluate.yaml`, before the label map is saved or scored. Weights still fit the bundle: their identity has
    no postprocessing.

    Args:
        bundle: the bundle, and the weights whose held-out cases are known.
        manifest: name of a shipped manifest, or the path of a JSON file.
        output: folder of label maps and scores; a later call keeps the label maps and continues.
        options: the cases and the steps.
        dataset_dir: folder of the manifest's files; default: the folder that the manifest names.
        watch: see `segpipe.prediction.predict.predict`.
        report: called with each message that the user should read before the end.
        predicting: context that is entered while scans are segmented, once for each fold.

    Raises:
        SegpipeError: the bundle is not one of segpipe's, or has steps already; no case is held out, or the weights were
            trained on one of the cases or their patients, or may have been; the runs of several folds do not fit
            together, see `segpipe.model_evaluation.fold_runs.fold_runs`; a volume is not above 0 or would empty a
            class; or see `segpipe.model_evaluation.evaluate.evaluate`.
    """
    _require_options(bundle, options)
    root = Path(bundle.root)
    if not options.dry_run:
        require_writable_bundle(root, "steps")
    texts = PostprocessingTexts(root)
    described = load_manifest(manifest)
    runs = fold_runs(options.fold_weights, described)
    source = _without_steps(bundle, texts, output, replaced=options.replace)
    scored = partial(
        _evaluation,
        manifest=manifest,
        options=options,
        dataset_dir=dataset_dir,
        watch=watch,
        predicting=predicting,
    )
    weights: Sequence[Sequence[Path]]
    if runs:
        of_runs = [run.weights for run in runs]
        weights = [*([path] for path in of_runs), *([of_runs] if len(runs) > 1 else [])]
        evaluations = _of_each_fold(scored, source, runs, described, output, report)
    else:
        name, split, part, used = _held_out(source, options.split, described)
        weights = [used]
        evaluations = {name: scored(source, output, split=split, part=part, report=report)}
    choice = choose_steps(lambda: _cases(evaluations), _table(evaluations), options.volumes)
    about = _about(evaluations, choice, Path(manifest).stem)
    trials = output / TRIALS_FILE
    of_folds = [f"dice_gain_{fold}".replace(" ", "_") for fold in choice.folds]
    write_text(trials, csv_text([*_COLUMNS, *of_folds], _rows(choice)))
    new = texts.with_steps(choice, _printable(_table(evaluations)), about)
    written = [] if options.dry_run else write_texts(new)
    stale = commands_to_measure_again(root, weights, manifest, dataset_dir) if written else []
    return Postprocessing(choice, evaluations, trials, written, stale)


def _require_options(bundle: BundleSource, options: PostprocessOptions) -> None:
    for volume in options.volumes:
        if not 0 < volume < float("inf"):
            raise SegpipeError(f"--volume {volume:g}: must be above 0, in mm3 (mm2 in 2D)")
    given = [name for name, value in (("--weights", bundle.weights), ("--split", options.split)) if value]
    if options.fold_weights and given:
        raise SegpipeError(
            f"--fold-weights and {' and '.join(given)} are given: each file of --fold-weights segments the cases that "
            f"its own training held out; leave out {' and '.join(given)}"
        )


def _without_steps(
    bundle: BundleSource, texts: PostprocessingTexts, output: Path, *, replaced: bool
) -> BundleSource:
    """Return a bundle without the steps that segpipe wrote before.

    Raises:
        SegpipeError: there are steps, and they must not be replaced.
    """
    if not texts.written_before:
        return bundle
    if not replaced:
        raise SegpipeError(
            f"{bundle.root}: segpipe postprocess has written steps into its configuration already; give --replace to "
            "choose anew without them"
        )
    require_writable(output)
    bare = output.resolve() / "inference_without_steps.yaml"
    write_text(bare, texts.bare_inference)
    return replace(bundle, configs=[bare])


def _evaluation(
    source: BundleSource,
    output: Path,
    *,
    split: str,
    part: str | None,
    report: Callable[[str], None] | None,
    manifest: str,
    options: PostprocessOptions,
    dataset_dir: Path | None,
    watch: Callable[[Prediction, int, int], None] | None,
    predicting: AbstractContextManager[object] | None,
) -> Evaluation:
    """Score held-out cases without steps."""
    how = EvaluateOptions(
        split=split, part=part, precision=options.precision, checksums=options.checksums, held_out=True
    )
    return evaluate(source, manifest, output, how, dataset_dir, watch, report, predicting)


def _of_each_fold(
    scored: Callable[..., Evaluation],
    source: BundleSource,
    runs: Sequence[FoldRun],
    manifest: Manifest,
    output: Path,
    report: Callable[[str], None] | None,
) -> dict[str, Evaluation]:
    """Score the held-out cases of each run with the run's weights, fold after fold."""

    def tell(message: str, start: str = "") -> None:
        if report is not None:
            report(f"{start}{message}")

    left_out = folds_left_out(runs, manifest)
    if left_out:
        tell(f"no run of fold {shown(left_out)} is given: the cases of these folds take no part")
    evaluations = {}
    for number, run in enumerate(runs, start=1):
        cases = counted(len(run.cases), "held-out case")
        tell(f"{run.name}, {number} of {len(runs)}: {cases}, weights {run.weights}")
        evaluations[run.name] = scored(
            replace(source, weights=[run.weights]),
            output / run.folder,
            split=run.split,
            part=run.part,
            report=partial(tell, start=f"{run.name}: "),
        )
    return evaluations


def _held_out(
    source: BundleSource, split: str | None, manifest: Manifest
) -> tuple[str, str, str | None, Sequence[Path]]:
    """Return the name of the cases that the weights held out, their split and its part, and the weights.

    Raises:
        SegpipeError: no split is given, and the weights have no record of one, or held out no case, or different ones.
    """
    opened = open_bundle(source, with_ranges=False)
    if split is not None:
        part = "validation" if split in manifest.splits else None
        return _name(split, part), split, part, opened.weights
    records = [TrainingRecord.read(path) for path in opened.weights]
    names = shown([str(path) for path in opened.weights])
    folds = {record.fold for record in records}
    if None in folds:
        raise SegpipeError(
            f"{names}: the weights do not say which cases were held out; give --weights of a run, with the sidecar "
            "beside them, or --split"
        )
    if "all" in folds:
        raise SegpipeError(
            f"{names}: the weights were trained on all cases, and none is held out to choose postprocessing on; give "
            "--weights of a run that held a fold out, or --split test"
        )
    if len(folds) > 1:
        raise SegpipeError(
            f"{names}: the weights held out different folds ({shown(sorted(map(str, folds)))}), so that each case "
            "trained one of them; give --fold-weights for each, --weights of one run, or --split test"
        )
    (fold,) = folds
    part = None if isinstance(fold, int) else "validation"
    return _name(str(fold), part), str(fold), part, opened.weights


def _name(split: str, part: str | None) -> str:
    return f"{part} of {split}" if part else split if split == "test" else f"fold {split}"


def _table(evaluations: Mapping[str, Evaluation]) -> LabelTable:
    return next(iter(evaluations.values())).scores.table


def _about(evaluations: Mapping[str, Evaluation], choice: Choice, manifest: str) -> str:
    """Return words on the cases that the steps were chosen on."""
    knows_patients = any(one.scores.knows_patients for one in evaluations.values())
    patients = counted(choice.patients, "patient") if knows_patients else "patients not known"
    cases = counted(len(choice.cases), "case")
    return printable(f"{', '.join(evaluations)} of {manifest}: {cases}, {patients}")


def _cases(evaluations: Mapping[str, Evaluation]) -> Iterator[HeldOutCase]:
    """Yield the scored cases with their label maps, fold after fold."""
    rows: list[tuple[str, ScoredCases, CaseScore]] = [
        (name, one.scores, row) for name, one in evaluations.items() for row in one.scores.rows
    ]
    for name, scores, row in with_progress(rows, "Trying steps"):
        pair = scores.pairs[row.case]
        predicted = read_volume(pair.prediction)
        referenced = read_volume(pair.reference, frame=pair.frame)
        yield HeldOutCase(
            row.case,
            row.patient,
            scores.coding.prediction_indices(predicted.array),
            scores.coding.reference_indices(referenced.array),
            predicted.grid,
            name,
        )


def _rows(choice: Choice) -> Iterator[list[str | float | int]]:
    for trial in choice.trials:
        interval = trial.difference.interval
        yield [
            trial.difference.class_name,
            trial.step.in_words(choice.unit),
            interval.mean,
            interval.low,
            interval.high,
            trial.confidence,
            trial.difference.p_value,
            trial.tried,
            interval.cases,
            interval.patients,
            trial.changed,
            trial.reason,
            *(one.gain for one in trial.by_fold),
        ]


def _printable(table: LabelTable) -> LabelTable:
    """Return a table whose names can stand in a comment."""
    return replace(table, labels=tuple(replace(label, name=printable(label.name)) for label in table.labels))

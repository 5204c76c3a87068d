"""Postprocessing of a bundle's label maps, chosen on the cases that its weights held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.bundle.train_overlap import TrainingRecord
from segpipe.csv_files import csv_text
from segpipe.dataset import Manifest, load_manifest
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError, counted, shown
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.files import require_writable, write_text
from segpipe.labels import LabelTable
from segpipe.model_evaluation.evaluate import evaluate
from segpipe.model_evaluation.label_map_steps import Choice, HeldOutCase, choose_steps
from segpipe.model_evaluation.options import EvaluateOptions, Evaluation
from segpipe.model_evaluation.postprocessing_text import PostprocessingTexts, write_texts
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
        volumes: smallest volumes to try, in mm3 (mm2 in 2D); empty: volumes of the references' pieces.
        precision: see `PredictOptions`.
        checksums: whether files are compared with the manifest's SHA-256.
        replace: whether steps that were written before are replaced.
        dry_run: whether the bundle stays as it is.
    """

    split: str | None = None
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
        evaluation: scores of the label maps without the steps.
        trials: file of the trials.
        written: files of the bundle that were changed.
    """

    choice: Choice
    evaluation: Evaluation
    trials: Path
    written: Sequence[Path]


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

    `output` gets what `segpipe evaluate` writes for the label maps without the steps, and `postprocessing.csv` with
    every trial. The steps go into `configs/inference.yaml` and `configs/evaluate.yaml`, before the label map is saved
    or scored. Weights still fit the bundle: their identity has no postprocessing.

    Args:
        bundle: the bundle, and the weights whose held-out cases are known.
        manifest: name of a shipped manifest, or the path of a JSON file.
        output: folder of label maps and scores; a later call keeps the label maps and continues.
        options: the cases and the steps.
        dataset_dir: folder of the manifest's files; default: the folder that the manifest names.
        watch: see `segpipe.prediction.predict.predict`.
        report: called with each message that the user should read before the end.
        predicting: context that is entered while scans are segmented.

    Raises:
        SegpipeError: the bundle is not one of segpipe's, or has steps already; no case is held out, or the weights were
            trained on one of the cases or their patients, or may have been; a volume is not above 0 or would empty a
            class; or see `segpipe.model_evaluation.evaluate.evaluate`.
    """
    _require_volumes(options.volumes)
    root = Path(bundle.root)
    texts = PostprocessingTexts(root)
    source = bundle
    if texts.written_before:
        if not options.replace:
            raise SegpipeError(
                f"{root}: segpipe postprocess has written steps into its configuration already; give --replace to "
                "choose anew without them"
            )
        require_writable(output)
        bare = output.resolve() / "inference_without_steps.yaml"
        write_text(bare, texts.bare_inference)
        source = replace(bundle, configs=[bare])
    split, part = _held_out(source, options.split, load_manifest(manifest))
    evaluation = evaluate(
        source,
        manifest,
        output,
        EvaluateOptions(
            split=split,
            part=part,
            precision=options.precision,
            checksums=options.checksums,
            held_out=True,
        ),
        dataset_dir,
        watch,
        report,
        predicting,
    )
    scores = evaluation.scores
    choice = choose_steps(lambda: _cases(scores), scores.table, options.volumes)
    name = f"{part} of {split}" if part else split if split == "test" else f"fold {split}"
    about = printable(
        f"{name} of {Path(manifest).stem}: {counted(len(choice.cases), 'case')}, "
        + (counted(choice.patients, "patient") if scores.knows_patients else "patients not known")
    )
    trials = output / TRIALS_FILE
    write_text(trials, csv_text(_COLUMNS, _rows(choice)))
    new = texts.with_steps(choice, _printable(scores.table), about)
    return Postprocessing(choice, evaluation, trials, [] if options.dry_run else write_texts(new))


def _require_volumes(volumes: Sequence[float]) -> None:
    for volume in volumes:
        if not 0 < volume < float("inf"):
            raise SegpipeError(f"--volume {volume:g}: must be above 0, in mm3 (mm2 in 2D)")


def _held_out(source: BundleSource, split: str | None, manifest: Manifest) -> tuple[str, str | None]:
    """Return the split, and its part, whose cases the weights held out.

    Raises:
        SegpipeError: no split is given, and the weights have no record of one, or held out no case, or different ones.
    """
    opened = open_bundle(source, with_ranges=False)
    if split is not None:
        return split, "validation" if split in manifest.splits else None
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
            "trained one of them; give --weights of one run, or --split test"
        )
    (fold,) = folds
    return str(fold), None if isinstance(fold, int) else "validation"


def _cases(scores: ScoredCases) -> Iterator[HeldOutCase]:
    """Yield the scored cases with their label maps."""
    for row in with_progress(scores.rows, "Trying steps"):
        pair = scores.pairs[row.case]
        predicted, referenced = read_volume(pair.prediction), read_volume(pair.reference)
        yield HeldOutCase(
            row.case,
            row.patient,
            scores.coding.prediction_indices(predicted.array),
            scores.coding.reference_indices(referenced.array),
            predicted.grid,
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
            interval.cases,
            interval.patients,
            trial.changed,
            trial.reason,
        ]


def _printable(table: LabelTable) -> LabelTable:
    """Return a table whose names can stand in a comment."""
    return replace(table, labels=tuple(replace(label, name=printable(label.name)) for label in table.labels))

"""`segpipe evaluate` of a bundle on the cases of a manifest, by the bundle's task."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segpipe.cli.printed import say
from segpipe.cli.printed_scores import print_files, print_scores, print_warnings
from segpipe.errors import SegpipeError

if TYPE_CHECKING:
    from segpipe.bundle.source import BundleSource
    from segpipe.model_evaluation.options import EvaluateOptions


def class_groups(given: Sequence[str]) -> dict[str, list[str]]:
    """Return class of the bundle -> classes of the manifest that it joins.

    Raises:
        SegpipeError: a text is not NAME=CLASS,CLASS.
    """
    groups = {}
    for text in given:
        name, equals, members = text.partition("=")
        if not (name and equals and members):
            raise SegpipeError(
                f"--group {text}: must be NAME=CLASS,CLASS, such as infected=ground-glass,effusion"
            )
        groups[name] = members.split(",")
    return groups


def evaluate_bundle(
    bundle: BundleSource, manifest: str, output: Path, dataset_dir: Path | None, options: Mapping[str, Any]
) -> None:
    """Segment or classify the cases with the bundle and score them; print and write the scores.

    Args:
        bundle: the bundle.
        manifest: name of a shipped manifest, or path of a JSON file.
        output: folder of the results.
        dataset_dir: folder in which the manifest's paths begin; None: the folder that the manifest names.
        options: of `EvaluateOptions`.

    Raises:
        SegpipeError: see `segpipe.model_evaluation`.
        typer.Exit: a case has no prediction, or the user interrupts.
    """
    from segpipe.import_time import collecting_nothing

    with collecting_nothing():
        from segpipe.bundle.task import task_of
        from segpipe.inference.heap import keep_freed_memory
        from segpipe.model_evaluation.options import EvaluateOptions

    keep_freed_memory()
    root = Path(bundle.root)
    # a folder without metadata is refused when it is opened
    task = task_of(root) if (root / "configs" / "metadata.json").is_file() else "segmentation"
    of_task = {"segmentation": _segmentation, "classification": _classification}[task]
    try:
        left_out, warnings, card = of_task(bundle, manifest, output, EvaluateOptions(**options), dataset_dir)
    except KeyboardInterrupt:
        say("segpipe: interrupted; finished cases stay; run the same command to continue", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    print_warnings(warnings)
    print_files(output)
    for path in card:
        say(path)
    _send_report(bundle.weights, output)
    if left_out:
        raise typer.Exit(1)


def _send_report(weights: Sequence[str | Path], output: Path) -> None:
    """Add the report to the run of MLflow that followed the training of the weights, if there is one."""
    from segpipe.report import EVALUATION_FILES
    from segpipe.training.tracking_settings import RECORD

    if len(weights) == 1 and Path(weights[0]).with_name(RECORD).is_file():
        from segpipe.training.mlflow_run import send_files

        files = {output / name: f"evaluation/{output.absolute().name}" for name in EVALUATION_FILES}
        say(send_files(Path(weights[0]), files))


_Result = tuple[
    bool, Sequence[str], Sequence[Path]
]  # whether a case has no prediction, warnings, files of the card


def _segmentation(
    bundle: BundleSource, manifest: str, output: Path, options: EvaluateOptions, dataset_dir: Path | None
) -> _Result:
    from segpipe.cli.cohort import Progress
    from segpipe.model_evaluation.evaluate import evaluate

    progress = Progress(quiet=False)
    evaluation = evaluate(
        bundle,
        manifest,
        output,
        options,
        dataset_dir,
        watch=progress.watch,
        report=progress.report,
        predicting=progress,
    )
    print_scores(evaluation.scores, evaluation.summary)
    return bool(evaluation.scores.without_prediction), evaluation.warnings, evaluation.card


def _classification(
    bundle: BundleSource, manifest: str, output: Path, options: EvaluateOptions, dataset_dir: Path | None
) -> _Result:
    from segpipe.cli.cohort import Progress
    from segpipe.cli.printed_classification import print_classification
    from segpipe.model_evaluation.classification import evaluate_classifier

    progress = Progress(quiet=False, doing="Classifying")
    evaluation = evaluate_classifier(
        bundle,
        manifest,
        output,
        options,
        dataset_dir,
        watch=progress.watch,
        report=progress.report,
        predicting=progress,
    )
    print_classification(evaluation.images, evaluation.summary, evaluation.reasons)
    return bool(evaluation.reasons), evaluation.warnings, evaluation.card

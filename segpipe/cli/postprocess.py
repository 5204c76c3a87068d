"""`segpipe postprocess`: choose steps that clean label maps on held-out cases, and write them into a bundle."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.bundle_options import Bundle, Device, Trust, Weights, bundle_source
from segpipe.cli.printed import print_table, say
from segpipe.cli.printed_scores import print_warnings
from segpipe.errors import counted, shown
from segpipe.import_time import collecting_nothing

if TYPE_CHECKING:
    from segpipe.model_evaluation.label_map_trials import Choice
    from segpipe.model_evaluation.postprocess import Postprocessing


def postprocess(
    bundle: Bundle,
    manifest: Annotated[
        str,
        typer.Option(metavar="MANIFEST", help="Name of a shipped manifest, or path of a JSON file."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the label maps without the steps, their scores, and postprocessing.csv.",
        ),
    ],
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder in which the manifest's paths begin. Default: the folder that the manifest names.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="Fold, named split or test to choose on. Default: the cases that the weights held out.",
        ),
    ] = None,
    fold_weights: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Weights of the run of one fold; repeat for each fold. Each file segments the cases that its own "
            "training held out, and steps are chosen on the cases of all folds.",
        ),
    ] = None,
    volume: Annotated[
        list[float] | None,
        typer.Option(
            metavar="MM3",
            help="Smallest volume of a piece to try, mm2 in 2D; repeat for each. Default: from the references.",
        ),
    ] = None,
    weights: Weights = None,
    device: Device = None,
    precision: Annotated[
        str,
        typer.Option(help="float32, bfloat16, float16, int8, or auto: the faster one, timed at the start."),
    ] = "auto",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace steps that this command wrote before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Leave the bundle as it is.")] = False,
    no_checksums: Annotated[
        bool, typer.Option("--no-checksums", help="Accept files that differ from the manifest's checksums.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Choose steps that clean label maps: fill holes, remove small pieces, keep the largest piece.

    The command segments the cases that the weights held out; --fold-weights takes the runs of several folds. It keeps a
    step for a class where the Dice of these cases gains, by a paired interval over patients that holds for all steps
    tried, and where no fold loses. The steps are written into the bundle's inference.yaml and evaluate.yaml.
    """
    with collecting_nothing():
        from segpipe.cli.cohort import Progress
        from segpipe.inference.heap import keep_freed_memory
        from segpipe.model_evaluation.postprocess import PostprocessOptions
        from segpipe.model_evaluation.postprocess import postprocess as chosen_postprocessing

    keep_freed_memory()
    progress = Progress(quiet=False)
    try:
        result = chosen_postprocessing(
            bundle_source(bundle, weights, None, None, device, trust),
            manifest,
            output,
            PostprocessOptions(
                split=split,
                fold_weights=fold_weights or (),
                volumes=volume or (),
                precision=precision,
                checksums=not no_checksums,
                replace=replace,
                dry_run=dry_run,
            ),
            dataset_dir,
            watch=progress.watch,
            report=progress.report,
            predicting=progress,
        )
    except KeyboardInterrupt:
        say("segpipe: interrupted; finished cases stay; run the same command to continue", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    _print(result, dry_run=dry_run)
    if result.without_prediction:
        raise typer.Exit(1)


def _print(result: Postprocessing, *, dry_run: bool) -> None:
    choice = result.choice
    whose = f" of {counted(choice.patients, 'patient')}" if result.knows_patients else ""
    print_table(
        ["class", "step", "Dice gain", "interval", "changed", "kept"],
        [
            [
                trial.difference.class_name,
                trial.step.in_words(choice.unit),
                f"{trial.difference.interval.mean:+.4f}" if trial.difference.interval.cases else "-",
                f"{trial.difference.interval.low:+.4f} to {trial.difference.interval.high:+.4f}"
                if trial.difference.interval.is_known
                else "-",
                f"{trial.changed} of {len(choice.cases)}",
                trial.reason,
            ]
            for trial in choice.trials
        ],
        title=f"Steps in the order of their trials, on {counted(len(choice.cases), 'held-out case')}{whose}",
    )
    _print_levels(choice)
    _print_folds(choice)
    for case, reason in result.without_prediction.items():
        say(f"{case} took no part{f': {reason}' if reason else ''}", err=True)
    print_warnings(result.warnings)
    say(result.trials)
    if not choice.kept:
        say("no step gains: the bundle gets no postprocessing of label maps")
    elif dry_run:
        say(f"--dry-run: {counted(len(choice.kept), 'step')} gained, and the bundle stays as it is")
    else:
        say("scores of these cases with the steps are slightly too good: score other cases to report them")
    for path in result.written:
        say(path)
    if result.measure_again:
        say("reference ranges were measured with other steps, so measure them again:")
    for command in result.measure_again:
        say(f"  {command}")


def _print_levels(choice: Choice) -> None:
    """Print the confidence of the intervals, which several steps on one class make higher."""
    classes: dict[tuple[int, float], list[str]] = {}
    for trial in choice.trials:
        names = classes.setdefault((trial.tried, trial.confidence), [])
        if trial.difference.class_name not in names:
            names.append(trial.difference.class_name)
    levels = [
        f"{100 * confidence:.4g} % for {counted(tried, 'step')} ({shown(names)})"
        for (tried, confidence), names in classes.items()
    ]
    say(
        "Intervals and test hold for all steps of a class together: 95 %, corrected for the number of steps tried "
        f"(Bonferroni), which is {'; '.join(levels)}"
    )


def _print_folds(choice: Choice) -> None:
    """Print the gain in each fold of the steps that change a label map."""
    if not choice.folds:
        return
    print_table(
        ["class", "step", *choice.folds],
        [
            [
                trial.difference.class_name,
                trial.step.in_words(choice.unit),
                *(f"{one.gain:+.4f} ({one.cases})" if one.cases else "-" for one in trial.by_fold),
            ]
            for trial in choice.trials
            if trial.changed
        ],
        title="Dice gain in each fold (cases)",
    )
    say("A step that lowers the mean Dice of its class in one fold is not kept")

"""`segpipe crossval`: train and score every fold of a bundle, with one command."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.bundle_names import is_installed
from segpipe.cli.bundle_options import Bundle, Trust
from segpipe.cli.check import Configs, Overrides
from segpipe.cli.overrides import parse_overrides
from segpipe.cli.printed import print_table, say
from segpipe.import_time import collecting_nothing

if TYPE_CHECKING:
    from segpipe.model_evaluation.options import Evaluation
    from segpipe.search.crossval import Crossval

Folds = Annotated[str, typer.Option(metavar="FOLDS", help="Folds to hold out, such as 0-4 or 0,2,4.")]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", help="Trainings at a time; they share the processor's threads.")
]


def crossval(
    bundle: Bundle,
    folds: Folds,
    override: Overrides = None,
    config: Configs = None,
    jobs: Jobs = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder of the runs and the results. Default: runs/crossval in the bundle.",
        ),
    ] = None,
    inference_config: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="File of configs/ for the scores; later files override earlier ones. Default: inference, and "
            "NAME_inference for each --config NAME after the first.",
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Number format of the scores: float32, bfloat16, float16 or auto.")
    ] = "float32",
    promote: Annotated[
        bool, typer.Option("--promote", help="Copy the weights of all folds into the bundle, as an ensemble.")
    ] = False,
    replace: Annotated[bool, typer.Option(help="With --promote: replace the bundle's weights.")] = False,
    trust: Trust = False,
) -> None:
    """Train a run for each fold, and score the held-out cases of all folds in one table and one report.

    The runs are those of `segpipe train`, with the same overrides for every fold. After an interruption or a failure
    run the same command again: finished folds stay, and the others go on. Exit status 1 if a fold failed.
    """
    with collecting_nothing():
        from segpipe.bundle.promote import require_promotable
        from segpipe.cli.cohort import Progress
        from segpipe.inference.heap import keep_freed_memory
        from segpipe.search.crossval import CrossvalOptions, crossval, parse_folds
        from segpipe.search.experiment import RepeatedExperiment

    experiment = RepeatedExperiment(bundle, config or (), parse_overrides(override or ()), trust)
    options = CrossvalOptions(parse_folds(folds), jobs, inference_config or (), precision, promote)
    if promote:
        require_promotable(bundle, ["model.pt"], replace=replace)
    where = output or default_output(bundle, "crossval")
    keep_freed_memory()
    progress = Progress(quiet=False, doing="Scoring")
    try:
        done = crossval(experiment, where, options, say, progress.watch, progress)
    except KeyboardInterrupt:
        say("segpipe: interrupted; finished folds stay; run the same command to continue", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    _show(done, where)
    if done.failed:
        for name, reason in done.failed.items():
            say(f"segpipe: {name} failed: {reason}", err=True)
        left = len(done.failed)
        say(
            f"segpipe: {left} of {len(options.folds)} folds failed; run the same command to go on with them",
            err=True,
        )
    elif len(done.weights) > 1:
        _ensemble(done, bundle, promoted=promote, replace=replace, trust=trust)
    if not done.is_whole:
        raise typer.Exit(1)


def default_output(bundle: Path, name: str) -> Path:
    """Return the folder of several runs; of a bundle that came with segpipe, in the working directory."""
    return Path("runs").absolute() / name if is_installed(bundle) else bundle / "runs" / name


def _show(done: Crossval, where: Path) -> None:
    from segpipe.cli.printed_classification import print_classification
    from segpipe.cli.printed_scores import print_files, print_scores, print_warnings
    from segpipe.model_evaluation.options import Evaluation

    if done.pooled is None:
        return
    if isinstance(done.pooled, Evaluation):
        _print_folds({name: one for name, one in done.folds.items() if isinstance(one, Evaluation)})
        print_scores(done.pooled.scores, done.pooled.summary)
    else:
        print_classification(done.pooled.images, done.pooled.summary, done.pooled.reasons)
    print_warnings(done.pooled.warnings)
    print_files(where)
    for path in done.written:
        say(path)


def _print_folds(folds: dict[str, Evaluation]) -> None:
    """Print the mean Dice of each class in each fold."""
    first = next(iter(folds.values()))
    names = list(first.summary.by_class)

    def cell(evaluation: Evaluation, name: str) -> str:
        interval = evaluation.summary.by_class[name]["dice"].interval
        return f"{interval.mean:.3f}" if interval.cases else "-"

    print_table(
        ["Dice", *names, "cases"],
        [
            [fold, *(cell(one, name) for name in names), str(len(one.scores.rows))]
            for fold, one in folds.items()
        ],
        title="held-out cases of each fold",
    )


def _ensemble(done: Crossval, bundle: Path, *, promoted: bool, replace: bool, trust: bool) -> None:
    """Promote the weights of all folds, or print the command that does so."""
    from segpipe.bundle.locator_margin import is_locator

    weights = list(done.weights.values())
    if not promoted and is_locator(bundle):  # it takes one network
        return
    if not promoted:
        from segpipe.bundle.next_commands import short

        command = ["segpipe", "promote", *map(short, weights), "--bundle", short(bundle)]
        say(f"next: {shlex.join(command)}")
        return
    from segpipe.bundle.promote_ensemble import promote_ensemble

    for path in promote_ensemble(weights, bundle, replace=replace, trust=trust):
        say(path)

"""`segpipe search`: try numbers of a bundle in many ordinary runs, with Optuna."""

from __future__ import annotations

import importlib.util
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.bundle_options import Bundle, Trust
from segpipe.cli.check import Configs, Overrides
from segpipe.cli.crossval import Jobs, default_output
from segpipe.cli.overrides import parse_overrides
from segpipe.cli.printed import print_table, say
from segpipe.errors import SegpipeError
from segpipe.import_time import collecting_nothing

if TYPE_CHECKING:
    from segpipe.search.search import SearchResult

_PACKAGES = {"optuna": "Optuna", "plotly": "Plotly"}


def search(
    bundle: Bundle,
    space: Annotated[
        Path,
        typer.Option(
            metavar="SPACE",
            help="YAML file: id -> list of values, or low and high, with log or step; or the name of a file in the "
            "bundle's configs/spaces/.",
        ),
    ],
    override: Overrides = None,
    config: Configs = None,
    trials: Annotated[
        int | None,
        typer.Option(help="Number of trials. Default: every combination of a grid, else 20."),
    ] = None,
    folds: Annotated[
        str,
        typer.Option(
            metavar="FOLDS", help="Folds of each trial, such as 0-4, or a named split; its score is the mean."
        ),
    ] = "0",
    jobs: Jobs = 1,
    sampler: Annotated[
        str | None,
        typer.Option(help="grid, random or tpe. Default: grid for a space of lists, else tpe."),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            help="none, median or hyperband: ends trials early by their validations. Default: none for a grid, else "
            "median."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 0,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Optuna's storage, for several machines; each runs this command. Default: study.db in the output "
            "folder.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the study in its storage.")] = "search",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder of the runs and the results. Default: runs/search in the bundle.",
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the best trial's values as a file for --config of train."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Train a bundle with the values of a space, and list the trials by their validation scores.

    Each trial is a run of `segpipe train` for each fold. After an interruption run the same command again: finished
    trials stay, and interrupted ones go on. Exit status 1 if a trial failed.
    """
    missing = [title for package, title in _PACKAGES.items() if importlib.util.find_spec(package) is None]
    if missing:
        raise SegpipeError(
            f"segpipe search: {' and '.join(missing)} not installed; run: pip install 'segpipe[search]'"
        )
    with collecting_nothing():
        from segpipe.files import require_writable_file, write_text
        from segpipe.search.crossval import parse_folds_or_splits
        from segpipe.search.driver import SearchOptions
        from segpipe.search.experiment import RepeatedExperiment
        from segpipe.search.page import override_file, write_search
        from segpipe.search.search import search
        from segpipe.search.space import space_path

    experiment = RepeatedExperiment(bundle, config or (), parse_overrides(override or ()), trust)
    options = SearchOptions(trials, parse_folds_or_splits(folds), jobs, sampler, pruner, seed, storage, name)
    where = output or default_output(bundle, "search")
    if export is not None:
        require_writable_file(export)
    try:
        result = search(experiment, space_path(bundle, space), where, options, say)
    except KeyboardInterrupt:
        say("segpipe: interrupted; finished trials stay; run the same command to continue", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    _show(result)
    for path in write_search(result, where):
        say(path)
    if export is not None:
        write_text(export, override_file(result))
        files = [*(config or [Path("train.yaml")]), export]
        words = [
            str(bundle),
            *(word for file in files for word in ("--config", str(file))),
            *(override or ()),
        ]
        say(f"{export}: for segpipe train {shlex.join(words)}")
    failed = [row for row in result.rows if row.reason]
    for row in failed:
        say(f"segpipe: trial {row.place} failed: {row.reason}", err=True)
    if not result.is_whole:
        raise typer.Exit(1)


def _show(result: SearchResult) -> None:
    """Print the trials, the best first."""
    import math

    from segpipe.search.driver import in_words

    order = {"finished": 0, "pruned": 1}
    rows = sorted(
        result.rows,
        key=lambda row: (order.get(row.state, 2), -row.value if math.isfinite(row.value) else 0, row.place),
    )
    print_table(
        ["trial", "state", "value", "values"],
        [
            [
                str(row.place),
                row.state,
                f"{row.value:.4f}" if math.isfinite(row.value) else "-",
                in_words(row.values),
            ]
            for row in rows
        ],
        title="trials, the best first; value: mean over the folds of the best validation",
    )

"""`segpipe quantize`: quantise the weights of a bundle to int8."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.bundle_options import Bundle, InferenceConfig, Override, Trust, Weights, bundle_source
from segpipe.cli.cohort import Progress
from segpipe.cli.printed import print_table, say
from segpipe.errors import SegpipeError, counted
from segpipe.import_time import collecting_nothing

if TYPE_CHECKING:
    from segpipe.inference.engines.quantised import QuantisedRecord


def quantize(
    bundle: Bundle,
    manifest: Annotated[
        str, typer.Option(metavar="MANIFEST", help="Manifest of the data that the weights were trained on.")
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
            help="Cases to score: a fold's number, a named split, or test. Default: those that the weights held out, "
            "else test, or the first fold.",
        ),
    ] = None,
    windows: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Windows of training cases that ranges of values are measured on."
        ),
    ] = 40,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed that draws these windows.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder that keeps label maps and scores. Default: none is kept.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a network in int8 that is there.")
    ] = False,
    weights: Weights = None,
    config: InferenceConfig = None,
    override: Override = None,
    trust: Trust = False,
    no_checksums: Annotated[
        bool, typer.Option("--no-checksums", help="Accept files that differ from the manifest's checksums.")
    ] = False,
) -> None:
    """Quantise a bundle's weights to int8 for `segpipe predict`, on processors.

    Held-out cases are scored before and after. Nothing is written if a class loses more than .002 of mean Dice.
    """
    with collecting_nothing():
        from segpipe.inference.heap import keep_freed_memory
        from segpipe.model_evaluation.quantise import QuantiseOptions, quantise

    keep_freed_memory()
    progress = Progress(quiet=False)
    try:
        done = quantise(
            bundle_source(bundle, weights, config, override, None, trust),
            manifest,
            QuantiseOptions(split, windows, seed, checksums=not no_checksums, replace=replace),
            dataset_dir,
            output,
            watch=progress.watch,
            report=progress.report,
            predicting=lambda: progress,
        )
    except KeyboardInterrupt:
        say("segpipe: interrupted; no file was written beside the weights", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    _print(done.record)
    if done.refusal:
        raise SegpipeError(done.refusal)
    for path in done.files:
        say(f"{path} ({path.stat().st_size / 1e6:.2f} MB)")


def _print(record: QuantisedRecord) -> None:
    from segpipe.inference.engines.quantised import losses

    lost = losses(record.float32, record.int8)
    print_table(
        ["class", "Dice, float32", "Dice, int8", "loss"],
        [
            [name, f"{dice:.4f}", f"{record.int8[name]:.4f}", f"{lost[name]:+.4f}"]
            for name, dice in record.float32.items()
        ],
        title=f"Mean Dice of {counted(record.cases['number'], 'case')}, {record.cases['part']}",
    )
    for warning in record.warnings:
        say(f"WARNING: {warning}", err=True)

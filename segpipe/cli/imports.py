"""`segpipe import ...`: make a bundle from a model of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli.printed import say

app = typer.Typer(no_args_is_help=True, help="Make a bundle from a model that another program trained.")


@app.callback()
def _group() -> None:
    pass


@app.command()
def nnunet(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS_FOLDER",
            help="Folder of one trained configuration, with dataset.json, plans.json and fold_0.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="BUNDLE", help="Folder of the new bundle.")
    ],
    fold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLD",
            help="Fold to take, a number or all; repeat for an ensemble. Default: every numbered fold.",
        ),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the checkpoint in each fold's folder.")
    ] = "checkpoint_final.pth",
    network_of_plans: Annotated[
        bool,
        typer.Option(
            "--network-of-plans",
            help="Take a trainer that is none of nnU-Net's own: it builds the network of the plans.",
        ),
    ] = False,
) -> None:
    """Write a bundle that segments as a trained model of nnU-Net 2 does; its folds become an ensemble.

    Windows, weights, mirror images, normalisation and resampling are nnU-Net's. Checkpoints are read without running
    code.
    """
    from segpipe.nnunet import import_nnunet

    made = import_nnunet(
        folder, output, folds=fold or (), checkpoint=checkpoint, network_of_plans=network_of_plans
    )
    axes = ", ".join(map(str, made.flips))
    say(
        f"{made.root}: written from {made.configuration.name}, trained by {made.trainer}",
        f"folds: {', '.join(made.folds)}{'; their scores are averaged' if len(made.folds) > 1 else ''}",
        f"classes: {', '.join(made.labels.names)}",
        f"mirror images: {f'along {axes}; --set flips=[] leaves them out' if axes else 'none'}",
        f"next: segpipe predict SCANS --bundle {made.root} --output FOLDER",
    )

"""`segpipe plan`: plan a bundle for a data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli.printed import print_table, say

_GIGABYTES = {"gb": 1.0, "g": 1.0, "gib": 2**30 / 1e9, "mb": 1e-3, "m": 1e-3, "mib": 2**20 / 1e9}


def plan(
    manifest: Annotated[
        str, typer.Argument(metavar="MANIFEST", help="Name of a shipped manifest, or path of a JSON file.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="BUNDLE", help="Folder of the new bundle.")
    ],
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder in which the manifest's paths begin. Default: the folder that the manifest names.",
        ),
    ] = None,
    network: Annotated[str, typer.Option(help="unet or segnet.")] = "unet",
    memory: Annotated[
        str, typer.Option(metavar="8GB", help="Memory that training may take; what exceeds it is refused.")
    ] = "8GB",
    dims: Annotated[
        int | None,
        typer.Option(min=2, max=3, help="2: slice by slice; 3: volumes. Default: chosen from the data."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the training. Default: chosen from the data.")
    ] = None,
    no_validation: Annotated[
        bool, typer.Option("--no-validation", help="Train on every case, and validate on none.")
    ] = False,
    cuda: Annotated[
        bool | None, typer.Option(help="Plan for a CUDA card. Default: if this machine has one.")
    ] = None,
) -> None:
    """Write a bundle whose numbers come from the data, each with its reason: read it, edit it, run it with MONAI."""
    import torch

    from segpipe.dataset import dataset_dir_of, load_manifest
    from segpipe.planning import PlanOptions, plan_bundle

    wishes = PlanOptions(
        memory_gb=_gigabytes(memory),
        network=network,
        dims=dims,
        epochs=epochs,
        cuda=torch.cuda.is_available() if cuda is None else cuda,
        validate=not no_validation,
    )
    folder = dataset_dir_of(manifest, load_manifest(manifest), dataset_dir)
    planned = plan_bundle(manifest, folder, output, wishes)
    numbers = planned.plan.numbers.items()
    print_table(
        ["number", "value", "why"], [(name, str(number.value), number.why) for name, number in numbers]
    )
    for warning in planned.plan.warnings:
        say(f"warning: {warning}", err=True)
    say(f"{planned.root}: written; training is planned to peak at {planned.plan.peak_gb:.1f} GB of memory")


def _gigabytes(text: str) -> float:
    from segpipe.errors import SegpipeError

    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]+)\s*", text)
    if match is None or match.group(2).lower() not in _GIGABYTES:
        raise SegpipeError(f"--memory {text}: must be a number with its unit, such as 8GB")
    return float(match.group(1)) * _GIGABYTES[match.group(2).lower()]

"""`segpipe plan`: plan a bundle for a data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segpipe.cli.printed import print_table, say

if TYPE_CHECKING:
    from segpipe.labels import LabelTable
    from segpipe.planning.plans import PlannedValue
    from segpipe.planning.start_copy import StartCopy

_NOUNS = {"class": ("class", "classes"), "findings": ("finding", "findings")}
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
    network: Annotated[
        str | None,
        typer.Option(
            help="For label maps unet (the default), segnet or resenc (residual encoder); else efficientnet (the "
            "default) or densenet."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="M|L|XL",
            help="Size of the network resenc, as nnU-Net's: a step takes up to 10, 24 or 40 GB. Default: a size for a "
            "processor.",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="8GB",
            help="Memory that training may take; what exceeds it is refused. Default: 8GB; with --preset what this "
            "machine has. Only for label maps.",
        ),
    ] = None,
    dims: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=3,
            help="2: slice by slice; 3: volumes. Default: chosen from the data. Only for label maps.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the training. Default: chosen from the data.")
    ] = None,
    no_validation: Annotated[
        bool, typer.Option("--no-validation", help="Train on every case, and validate on none.")
    ] = False,
    cuda: Annotated[
        bool | None,
        typer.Option(help="Plan for a CUDA card. Default: if this machine has one. Only for label maps."),
    ] = None,
    locate: Annotated[
        bool,
        typer.Option(
            "--locate",
            help="Also write a locator, a small network that finds the region to segment. Only for label maps.",
        ),
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="BUNDLE",
            help="Repeat the network of a trained bundle, or file of weights, and start training from its weights. "
            "Only for label maps.",
        ),
    ] = None,
    balanced: Annotated[
        bool,
        typer.Option(
            "--balanced",
            help="Draw cases with rare classes or findings more often. Of images this replaces weights in the loss.",
        ),
    ] = False,
    conv: Annotated[
        str | None,
        typer.Option(
            help="Convolutions of a U-Net: plain (the default), separable or dynamic. Only for label maps."
        ),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            help="Attention of a U-Net: none (the default) or multi_scale_context. Only for label maps."
        ),
    ] = None,
) -> None:
    """Write a bundle whose numbers come from the data, each with its reason: read it, edit it, run it with MONAI."""
    from segpipe.dataset import dataset_dir_of, load_manifest

    described = load_manifest(manifest)
    folder = dataset_dir_of(manifest, described, dataset_dir)
    common: dict[str, Any] = {"epochs": epochs, "validate": not no_validation, "balanced": balanced}
    form = {"--preset": preset, "--conv": conv, "--attention": attention}
    of_maps = {
        "--memory": memory,
        "--dims": dims,
        "--cuda": cuda,
        "--locate": locate or None,
        "--from": start,
    }
    if described.target == "mask":
        if start is not None:
            _refuse_form(start, {"--network": network, **form})
        common |= {"network": network or "unet", "preset": preset, "dims": dims, "locate": locate}
        common |= {"conv": conv or "plain", "attention": attention or "none"}
        _plan_maps(manifest, folder, output, memory, cuda, start, common)
    else:
        _refuse(described.target, {**of_maps, **form})
        _plan_images(manifest, folder, output, {**common, "network": network or "efficientnet"})


def _refuse_form(start: str, given: Mapping[str, str | None]) -> None:
    from segpipe.errors import SegpipeError

    chosen = [f"{name} is {value}" for name, value in given.items() if value is not None]
    if chosen:
        raise SegpipeError(
            f"plan: --from {start} repeats the network of these weights, and {', '.join(chosen)}; leave out one"
        )


def _refuse(target: str, others: Mapping[str, object]) -> None:
    from segpipe.errors import SegpipeError

    given = [name for name, value in others.items() if value is not None]
    if given:
        raise SegpipeError(
            f"plan: {', '.join(given)} is not for a manifest whose target is {target}; leave the option out"
        )


def _plan_maps(
    manifest: str,
    folder: Path,
    output: Path,
    memory: str | None,
    cuda: bool | None,
    start: str | None,
    common: Mapping[str, Any],
) -> None:
    import torch

    from segpipe.bundle.locator_margin import LOCATOR_FOLDER
    from segpipe.planning import PlanOptions, plan_bundle

    wishes = PlanOptions(
        memory_gb=_memory_at_hand() if memory is None and common["preset"] else _gigabytes(memory or "8GB"),
        cuda=torch.cuda.is_available() if cuda is None else cuda,
        **common,
    )
    planned = plan_bundle(manifest, folder, output, wishes, start)
    _print(planned.plan.numbers, planned.plan.warnings)
    _print_codes(planned.labels)
    if planned.start is not None:
        _print_start(planned.start)
    say(f"{planned.root}: written; training is planned to peak at {planned.plan.peak_gb:.1f} GB of memory")
    if planned.locator is not None:
        say(f"{planned.root / LOCATOR_FOLDER}: the locator, a bundle of its own:")
        _print(planned.locator.numbers, planned.locator.warnings)
        say(
            f"train both, then: segpipe promote RUN/best.pt --bundle {planned.root / LOCATOR_FOLDER}, which also "
            "measures the margin"
        )


def _print_start(start: StartCopy) -> None:
    """Print what each layer starts from."""
    rows = [
        (one["layer"], one["start"], f"{one['parameters']:,}", one["why"]) for one in start.record["layers"]
    ]
    print_table(["layer", "start", "parameters", "why"], rows)
    say(start.sentence)


def _print_codes(labels: LabelTable) -> None:
    """Print which classes have coded terms, which DICOM SEG needs, and which lack them."""
    from segpipe.errors import shown

    coded = [f"{one.name} ({one.codes.text})" for one in labels.targets if one.codes is not None]
    lacking = [one.name for one in labels.targets if one.codes is None]
    if coded:
        say(f"coded terms for DICOM SEG: {shown(coded)}")
    if lacking:
        say(
            f"without coded terms for DICOM SEG: {shown(lacking)}; add category and type in configs/metadata.json, or "
            "give `segpipe predict --dicom-seg` a table, --segment-codes"
        )


def _plan_images(manifest: str, folder: Path, output: Path, options: Mapping[str, Any]) -> None:
    from segpipe.planning.image_planner import ImagePlanOptions, plan_image_bundle

    planned = plan_image_bundle(manifest, folder, output, ImagePlanOptions(**options))
    _print(planned.plan.numbers, planned.plan.warnings)
    names = planned.data.categories
    say(f"{planned.root}: written, for {names.num} {_NOUNS[names.target][names.num > 1]}")


def _print(numbers: Mapping[str, PlannedValue], warnings: Sequence[str]) -> None:
    print_table(
        ["number", "value", "why"],
        [(name, str(number.value), number.why) for name, number in numbers.items()],
    )
    for warning in warnings:
        say(f"warning: {warning}", err=True)


def _memory_at_hand() -> float:
    """Return the GB that a training can have on this machine: of its card, else of its main memory."""
    import torch

    from segpipe.memory import free_memory_bytes

    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else free_memory_bytes()
    return free / 1e9


def _gigabytes(text: str) -> float:
    from segpipe.errors import SegpipeError

    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]+)\s*", text)
    if match is None or match.group(2).lower() not in _GIGABYTES:
        raise SegpipeError(f"--memory {text}: must be a number with its unit, such as 8GB")
    return float(match.group(1)) * _GIGABYTES[match.group(2).lower()]

"""`segpipe limits`: what the training cases of a bundle's weights were."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli.check import Trust
from segpipe.cli.imports import collecting_nothing
from segpipe.cli.overrides import parse_overrides
from segpipe.cli.printed import say


def limits(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.")],
    manifest: Annotated[
        str, typer.Option(metavar="MANIFEST", help="Of the data that the weights were trained on.")
    ],
    dataset_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the manifest's paths begin; default: as the manifest notes."),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Several are an ensemble; default: the bundle's."),
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Of configs/; the later override. Default: inference."),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ID=VALUE", help="Override an id of the configuration."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: the bundle's.")] = None,
    trust: Trust = False,
    checksums: Annotated[bool, typer.Option(help="Compare every file with the manifest's SHA-256.")] = True,
) -> None:
    """Measure the training cases, so that `segpipe predict` can warn of scans and results that are unlike them."""
    with collecting_nothing():
        from segpipe.dataset import dataset_dir_of, load_manifest
        from segpipe.prediction.measured_ranges import write_limits

    written = write_limits(
        bundle,
        manifest,
        dataset_dir_of(manifest, load_manifest(manifest), dataset_dir),
        weights=weights or (),
        configs=config or (),
        overrides=parse_overrides(override or (), "--set "),
        device=device,
        trust=trust,
        checksums=checksums,
        report=lambda message: say(f"segpipe: {message}", err=True),
    )
    say(written)

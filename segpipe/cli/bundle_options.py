"""The command-line options that name a bundle, and the bundle source made from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.bundle_names import bundle_folder, named_bundles
from segpipe.cli.overrides import parse_overrides

if TYPE_CHECKING:
    from segpipe.bundle_source import BundleSource


def bundle_names(incomplete: str) -> list[str]:
    """Return the names of bundles that begin with a text, for the completion of a command line."""
    return [bundle.name for bundle in named_bundles() if bundle.name.startswith(incomplete)]


BUNDLE_HELP = "Folder of the bundle, or its name; see `segpipe bundles`."
Bundle = Annotated[
    Path,
    typer.Argument(metavar="BUNDLE", help=BUNDLE_HELP, parser=bundle_folder, autocompletion=bundle_names),
]
BundleOption = Annotated[
    Path,
    typer.Option(
        "--bundle", metavar="BUNDLE", help=BUNDLE_HELP, parser=bundle_folder, autocompletion=bundle_names
    ),
]
Weights = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE", help="Weights file; several files are an ensemble. Default: the bundle's weights."
    ),
]
InferenceConfig = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE", help="File of configs/; later files override earlier ones. Default: inference."
    ),
]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="ID=VALUE", help="Override an id of the configuration."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: the bundle's.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run the bundle's own code this once; see `segpipe audit`."),
]


def bundle_source(
    bundle: Path,
    weights: Sequence[Path] | None,
    config: Sequence[Path] | None,
    override: Sequence[str] | None,
    device: str | None,
    trust: bool,
) -> BundleSource:
    """Return the source that these options name.

    Raises:
        SegpipeError: an override is not ID=VALUE, or its value is no YAML.
    """
    from segpipe.bundle_source import BundleSource

    overrides = parse_overrides(override or (), "--set ")
    return BundleSource(bundle, weights or (), config or (), overrides, device, trust)

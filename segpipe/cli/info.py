"""`segpipe info`: what a bundle is, and the layers of its network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.bundle_options import InferenceConfig, Override, Trust, Weights, bundle_source
from segpipe.cli.imports import collecting_nothing
from segpipe.cli.printed import print_table, say
from segpipe.errors import SegpipeError

if TYPE_CHECKING:
    from segpipe.bundle.information import BundleInformation, Layers

_HASH_SHOWN = 12


def info(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.")],
    layers: Annotated[
        bool, typer.Option("--layers", help="List the layers with output shapes and numbers of parameters.")
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Input size for --layers, such as 224,224; default: the metadata's."
        ),
    ] = None,
    weights: Weights = None,
    config: InferenceConfig = None,
    override: Override = None,
    trust: Trust = False,
) -> None:
    """Show a bundle's task, classes, input and weights; with --layers the network, layer by layer."""
    with collecting_nothing():
        from segpipe.bundle.information import bundle_information

    source = bundle_source(bundle, weights, config, override, None, trust)
    about, table = bundle_information(source, layers=layers, size=_size(size))
    _print_information(about)
    if table is not None:
        _print_layers(table)


def _print_information(about: BundleInformation) -> None:
    shape = " x ".join(map(str, about.shape))
    channels = f"{about.channels} channel{'s' if about.channels > 1 else ''}"
    say(
        f"{about.name} {about.version}".strip(),
        f"task:     {about.task} ({about.target})",
        f"classes:  {', '.join(about.classes)}",
        f"takes:    {', '.join(part for part in (about.modality, channels, shape) if part)}",
    )
    for file in about.weights:
        held = (
            "missing"
            if file.size is None
            else f"{file.size / 1e6:.1f} MB, SHA-256 {file.sha256[:_HASH_SHOWN]}"
        )
        say(f"weights:  {file.path} ({held})")


def _print_layers(table: Layers) -> None:
    from rich.table import Column

    print_table(
        [
            Column("layer", overflow="fold"),
            Column("kind", overflow="fold"),
            Column("output", overflow="fold"),
            Column("parameters", justify="right"),
            Column("trained", justify="right"),
        ],
        [
            (
                layer.name or "(network)",
                layer.kind,
                [" x ".join(map(str, shape)) for shape in layer.outputs] or "not called",
                f"{layer.parameters:,}",
                f"{layer.trained:,}",
            )
            for layer in table.layers
        ],
    )
    say(
        f"input {' x '.join(map(str, table.input))}: {table.parameters:,} parameters, of which {table.trained:,} are "
        "trained"
    )


def _size(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdigit() and int(part) > 0 for part in parts):
        raise SegpipeError(f"--size is {text!r:.80}; must be whole numbers above 0, such as 224,224")
    return tuple(int(part) for part in parts)

"""`segpipe data tiles`: cut labelled slices into tiles of two classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli.printed import say


def tiles(
    manifest: Annotated[
        str,
        typer.Argument(
            metavar="MANIFEST", help="Manifest of 2D images with label maps: its name, or its path."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Empty folder for the tiles and their manifest."),
    ],
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder in which the manifest's paths begin. Default: the folder that the manifest names.",
        ),
    ] = None,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="Pixels along each side of a tile.")] = 24,
    share: Annotated[
        float, typer.Option(help="Share of labelled pixels from which a tile is of the second class.")
    ] = 0.5,
    most: Annotated[int, typer.Option(help="Tiles of each class that a slice gives at most.")] = 12,
    classes: Annotated[
        tuple[str, str], typer.Option(metavar="WITHOUT WITH", help="Names of the two classes.")
    ] = ("healthy", "infected"),
    seed: Annotated[int, typer.Option(help="Seed of the draw where a slice has more tiles.")] = 0,
) -> None:
    """Cut labelled slices into square tiles with or without labelled pixels, to train a classifier on."""
    from segpipe.dataset import dataset_dir_of, load_manifest
    from segpipe.dataset.importing.tiles import TileOptions, write_tiles
    from segpipe.errors import counted, shown

    described = load_manifest(manifest)
    folder = dataset_dir_of(manifest, described, dataset_dir)
    written = write_tiles(described, folder, output, TileOptions(size, share, most, classes, seed))
    if written.without:
        say(f"{counted(len(written.without), 'slice')} without a tile: {shown(written.without)}", err=True)
    numbers = ", ".join(f"{count} {name}" for name, count in written.counts.items())
    say(f"{written.manifest}: {numbers}, of {counted(written.slices, 'slice')}")

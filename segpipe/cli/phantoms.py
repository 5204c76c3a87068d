"""`segpipe phantoms ...`: synthetic MRI, to train and try everything without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make synthetic MRI volumes with labels.")

Seed = Annotated[int, typer.Option(min=0, help="The same seed writes the same files.")]


@app.command()
def dataset(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="New folder: imagesTr, labelsTr, dataset.json.")
    ],
    cases: Annotated[int, typer.Option(min=1, help="How many phantoms.")] = 32,
    seed: Seed = 0,
) -> None:
    """Write phantoms with labels and a manifest, to train on."""
    from segpipe.dataset.phantom_files import write_phantom_dataset

    typer.echo(write_phantom_dataset(folder, cases, seed))


@app.command()
def scans(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder: one scan a file format.")],
    references: Annotated[
        Path, typer.Option(metavar="DIR", help="New folder elsewhere: the label maps of the scans.")
    ],
    seed: Seed = 0,
) -> None:
    """Write new phantom scans as NIfTI, MetaImage, NRRD and DICOM, to segment."""
    from segpipe.dataset.phantom_files import write_phantom_scans

    for path in write_phantom_scans(folder, references, seed):
        typer.echo(path)

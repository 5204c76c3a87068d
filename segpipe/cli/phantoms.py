"""`segpipe phantoms ...`: write synthetic MRI and CT, to try every command without a download."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.printed import say

app = typer.Typer(no_args_is_help=True, help="Make synthetic MRI or CT with labels.")

if TYPE_CHECKING:
    from segpipe.phantoms.files import PhantomKind


class Modality(StrEnum):
    """Modality of the phantoms."""

    MRI = "mri"
    CT = "ct"


Shows = Annotated[
    Modality, typer.Option(help="mri: volumes for the hippocampus bundle; ct: lungs, 512 x 512, in HU.")
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed writes the same files.")]


@app.command()
def dataset(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="New folder: images, label maps, dataset.json.")
    ],
    cases: Annotated[int, typer.Option(min=1, help="How many phantoms.")] = 32,
    seed: Seed = 0,
    modality: Shows = Modality.MRI,
) -> None:
    """Write phantoms with labels and a manifest, to train on."""
    from segpipe.phantoms.files import write_phantom_dataset

    say(write_phantom_dataset(folder, cases, seed, _kind(modality)))


@app.command()
def scans(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder: one scan a file format.")],
    references: Annotated[
        Path, typer.Option(metavar="DIR", help="New folder elsewhere: the label maps of the scans.")
    ],
    seed: Seed = 0,
    modality: Shows = Modality.MRI,
) -> None:
    """Write new phantom scans as NIfTI, MetaImage, NRRD and DICOM, to segment."""
    from segpipe.phantoms.files import write_phantom_scans

    for path in write_phantom_scans(folder, references, seed, _kind(modality)):
        say(path)


def _kind(modality: Modality) -> PhantomKind:
    from segpipe.phantoms.files import MRI, ct

    return MRI if modality is Modality.MRI else ct()

"""`segpipe phantoms ...`: write synthetic scans and images, to try every command without a download."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.printed import say

app = typer.Typer(no_args_is_help=True, help="Make synthetic MRI, CT, retinal OCT or X-rays with labels.")

if TYPE_CHECKING:
    from segpipe.phantoms.files import PhantomKind


class Modality(StrEnum):
    """Modality of the phantoms with label maps."""

    MRI = "mri"
    CT = "ct"


class DatasetModality(StrEnum):
    """Modality of the phantoms that a data set may have."""

    MRI = "mri"
    CT = "ct"
    OCT = "oct"
    X_RAY = "x-ray"


_VOLUMES = "mri: volumes for the hippocampus bundle; ct: lungs, 512 x 512, in HU"
Seed = Annotated[int, typer.Option(min=0, help="The same seed writes the same files.")]


@app.command()
def dataset(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="New folder: images, label maps, dataset.json.")
    ],
    cases: Annotated[int, typer.Option(min=1, help="How many phantoms.")] = 32,
    seed: Seed = 0,
    modality: Annotated[
        DatasetModality,
        typer.Option(help=f"{_VOLUMES}; oct: retina, one class an image; x-ray: chest, several findings."),
    ] = DatasetModality.MRI,
    test_cases: Annotated[
        int, typer.Option(min=0, help="How many phantoms more, listed under test; oct and x-ray only.")
    ] = 0,
) -> None:
    """Write phantoms with labels and a manifest, to train on."""
    from segpipe.errors import SegpipeError
    from segpipe.phantoms import write_class_phantoms, write_finding_phantoms
    from segpipe.phantoms.files import write_phantom_dataset

    if modality in (DatasetModality.OCT, DatasetModality.X_RAY):
        write = write_class_phantoms if modality is DatasetModality.OCT else write_finding_phantoms
        say(write(folder, cases, seed, num_test=test_cases))
        return
    if test_cases:
        raise SegpipeError(
            f"--test-cases {test_cases}: only oct and x-ray have test cases, the modality is {modality}; leave the "
            "option out (segpipe phantoms scans writes further scans)"
        )
    say(write_phantom_dataset(folder, cases, seed, _kind(Modality(modality))))


@app.command()
def scans(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder: one scan a file format.")],
    references: Annotated[
        Path, typer.Option(metavar="DIR", help="New folder elsewhere: the label maps of the scans.")
    ],
    seed: Seed = 0,
    modality: Annotated[Modality, typer.Option(help=f"{_VOLUMES}.")] = Modality.MRI,
) -> None:
    """Write new phantom scans as NIfTI, MetaImage, NRRD and DICOM, to segment."""
    from segpipe.phantoms.files import write_phantom_scans

    for path in write_phantom_scans(folder, references, seed, _kind(modality)):
        say(path)


def _kind(modality: Modality) -> PhantomKind:
    from segpipe.phantoms.files import MRI, ct

    return MRI if modality is Modality.MRI else ct()

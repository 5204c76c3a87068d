"""`segpipe reference-ranges`: measure the training cases of a bundle's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli.bundle_options import (
    Bundle,
    Device,
    InferenceConfig,
    Override,
    Trust,
    Weights,
    bundle_source,
)
from segpipe.cli.printed import say
from segpipe.import_time import collecting_nothing


def reference_ranges(
    bundle: Bundle,
    manifest: Annotated[
        str, typer.Option(metavar="MANIFEST", help="Manifest of the data that the weights were trained on.")
    ],
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder in which the manifest's paths begin. Default: the folder that the manifest names.",
        ),
    ] = None,
    weights: Weights = None,
    config: InferenceConfig = None,
    override: Override = None,
    device: Device = None,
    trust: Trust = False,
    most_patients: Annotated[
        int | None,
        typer.Option(metavar="N", min=5, help="Measure the cases of at most N patients. Default: of all."),
    ] = None,
    checksums: Annotated[bool, typer.Option(help="Compare every file with the manifest's SHA-256.")] = True,
) -> None:
    """Measure the training cases, so that `segpipe predict` can warn of scans and results that differ from them."""
    with collecting_nothing():
        from segpipe.bundle.task import task_of
        from segpipe.dataset import dataset_dir_of, load_manifest
        from segpipe.prediction.measured_image_ranges import write_image_ranges
        from segpipe.prediction.measured_ranges import write_reference_ranges

    measure = {"segmentation": write_reference_ranges, "classification": write_image_ranges}[task_of(bundle)]
    written = measure(
        bundle_source(bundle, weights, config, override, device, trust),
        manifest,
        dataset_dir_of(manifest, load_manifest(manifest), dataset_dir),
        checksums=checksums,
        most_patients=most_patients,
        report=lambda message: say(f"segpipe: {message}", err=True),
    )
    say(written)

"""`segpipe data ...`: a folder made a manifest, what is wrong with a data set, and its folds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Describe data sets, check them, divide them into folds.")

ManifestArgument = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="Name of a shipped manifest, or path of a JSON file.")
]


@app.command()
def create(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the scans and label maps.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUTPUT.JSON", help="Manifest to write.")],
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="TEMPLATE", help="Such as 'images/{case}_t1.nii.gz'; once a channel."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="Such as 'masks/{case}.nii.gz'.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Columns image (image_t1, ...), label; if known case, patient."),
    ] = None,
    patient: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="Of case ids, such as '{patient}_*'.")
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="CT, MRI, ...: one for all channels, or one each.")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="VALUE=NAME", help="What a label's value means.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the data set; default: the folder's.")] = None,
    checksums: Annotated[bool, typer.Option(help="Note every file's SHA-256.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the manifest.")] = False,
) -> None:
    """Write a manifest of a folder: MSD, nnU-Net, a table, or pairs of files told by their names."""
    from segpipe.dataset import create_manifest, write_manifest
    from segpipe.errors import SegpipeError

    if output.exists() and not overwrite:
        raise SegpipeError(f"{output}: exists already; choose another --output, or add --overwrite")
    created = create_manifest(
        folder,
        images=image or (),
        label=label,
        table=csv,
        name=name,
        labels=_class_names(classes or ()),
        modality=modality or (),
        patient=patient,
        checksums=checksums,
        ask=_ask if sys.stdin.isatty() else None,
    )
    write_manifest(created.manifest, output)
    content = created.manifest
    patients = {case.patient for case in content.training} - {None}
    typer.echo(f"{folder}: {created.layout}")
    typer.echo(
        f"{output}: {len(content.training)} cases with label maps, {len(content.test)} without, "
        f"{len(patients) or 'unknown'} patients"
    )
    typer.echo(f"channels: {', '.join(content.modality)}")
    typer.echo(f"classes: {', '.join(f'{value} {name}' for value, name in content.labels.items())}")
    for note in created.notes:
        typer.echo(f"note: {note}")


def _ask(question: str, default: str) -> str:
    return str(typer.prompt(question, default=default or None))


def _class_names(given: Sequence[str]) -> dict[int, str] | None:
    from segpipe.errors import SegpipeError

    names: dict[int, str] = {}
    for text in given:
        value, equals, name = text.partition("=")
        if not equals or not name.strip() or not value.strip().lstrip("-").isdigit():
            raise SegpipeError(f"--class {text}: must be VALUE=NAME, such as --class 1=tumour")
        if int(value) in names:
            raise SegpipeError(f"--class: the value {int(value)} is named twice; leave one")
        names[int(value)] = name.strip()
    return names or None


@app.command()
def check(
    manifest: ManifestArgument,
    dataset_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the manifest's paths begin.")],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="METADATA.JSON", help="A bundle's label table; default: the manifest's labels."),
    ] = None,
    checksums: Annotated[bool, typer.Option(help="Compare files with the manifest's checksums.")] = True,
) -> None:
    """Read every file of a data set and print what is wrong; exit status 2 if there are errors."""
    from segpipe.dataset import check_cases, check_folds, load_manifest
    from segpipe.labels import load_label_table

    content = load_manifest(manifest)
    table = load_label_table(labels) if labels else content.label_table()
    check_folds(content)
    cases = [*content.training, *content.test]
    findings = check_cases(cases, dataset_dir, content, table, checksums=checksums)
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding}")
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo(f"{content.name}: {len(cases)} cases, {errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise typer.Exit(2)


@app.command()
def folds(
    manifest: ManifestArgument,
    output: Annotated[Path, typer.Argument(metavar="OUTPUT.JSON", help="The manifest to write.")],
    num_folds: Annotated[int, typer.Option("--folds", help="How many.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same folds.")] = 0,
) -> None:
    """Divide a manifest's cases, or those of an MSD dataset.json, into folds that no patient crosses."""
    from segpipe.dataset import load_manifest, with_folds, write_manifest

    content = with_folds(load_manifest(manifest), num_folds, seed)
    write_manifest(content, output)
    typer.echo(f"{output}: {len(content.training)} cases in {num_folds} folds")
    if any(case.patient is None for case in content.training):
        typer.echo("some patients are unknown: each of their cases counts as a patient of its own")

"""`segpipe data ...`: what is wrong with a data set, and its folds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Check data sets and divide them into folds.")

ManifestArgument = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="Name of a shipped manifest, or path of a JSON file.")
]


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

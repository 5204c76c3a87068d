"""`segpipe data ...`: fetch, import, check, split and show data sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.data_create import create
from segpipe.cli.data_tiles import tiles
from segpipe.cli.printed import print_table, say

if TYPE_CHECKING:
    from segpipe.dataset import Finding, Part
    from segpipe.overview import ClassRow, FindingRow, Range


_FINDINGS_SHOWN = 10
_WIDEST_TABLE = 10  # columns; with more classes, each class has a row

app = typer.Typer(
    no_args_is_help=True, help="Fetch data sets, describe them, check them, divide them, look at them."
)

DatasetDirOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder in which the manifest's paths begin. Default: the folder that the manifest names.",
    ),
]
WindowOption = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH",
        help="Values shown black and white, for images of a class or findings without a scale, such as slices in HU.",
    ),
]
ManifestArgument = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="Name of a shipped manifest, or path of a JSON file.")
]


@app.command()
def fetch(
    manifest: ManifestArgument,
    dataset_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")],
    max_gb: Annotated[
        float, typer.Option(help="Largest size of a download, packed or unpacked, in GB.")
    ] = 50.0,
    max_hours: Annotated[float, typer.Option(help="Longest time of a download, in hours.")] = 72.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that differ from the manifest's checksums.")
    ] = False,
) -> None:
    """Download a data set whose manifest names its files by URL and SHA-256; run again to continue.

    For your own manifests. The shipped manifests name no download: get each data set from the source that its manifest
    names. `segpipe data check` compares the files with the checksums of the manifest.
    """
    from segpipe.dataset import fetch as fetch_files
    from segpipe.dataset import load_manifest

    content = load_manifest(manifest)
    written = fetch_files(
        content, dataset_dir, max_bytes=int(max_gb * 1e9), max_hours=max_hours, overwrite=overwrite
    )
    say(f"{dataset_dir}: {written} files written" if written else f"{dataset_dir}: all is there")


app.command()(create)
app.command()(tiles)


@app.command()
def check(
    manifest: ManifestArgument,
    dataset_dir: DatasetDirOption = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="METADATA.JSON",
            help="A bundle's metadata with its label table, classes or findings; default: the manifest's.",
        ),
    ] = None,
    checksums: Annotated[bool, typer.Option(help="Compare files with the manifest's checksums.")] = True,
    resample_channels: Annotated[
        bool,
        typer.Option(
            "--resample-channels",
            help="Check the channels as resampled, also where the manifest does not say so.",
        ),
    ] = False,
    window: WindowOption = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the findings to this file, too.")
    ] = None,
) -> None:
    """Read every file of a data set and say what is wrong; exit status 2 with errors, 1 with warnings alone."""
    from segpipe.dataset import CheckOptions, check_dataset, dataset_dir_of, load_manifest
    from segpipe.dataset.resampled_channels import resampling_note
    from segpipe.files import require_writable_file, write_json

    listed = load_manifest(manifest)
    content = replace(listed, resample_channels=listed.resample_channels or resample_channels)
    if json_file is not None:
        require_writable_file(json_file)
    folder = dataset_dir_of(manifest, content, dataset_dir)
    options = CheckOptions(checksums=checksums, metadata=labels, window=window, where=manifest)
    findings = check_dataset(content, folder, options)
    number = len(content.training) + len(content.test)
    errors = [finding for finding in findings if finding.severity == "error"]
    warnings = [finding for finding in findings if finding.severity == "warning"]
    if json_file is not None:
        rows = {"errors": list(map(asdict, errors)), "warnings": list(map(asdict, warnings))}
        write_json(json_file, {"manifest": content.name, "cases": number, **rows})
    _print_findings([*errors, *warnings])
    if content.resample_channels:
        say(f"note: {resampling_note(content, folder, strict=False)}")
    if content.resample_channels and not listed.resample_channels:
        say(
            "note: the manifest does not say so; create it with --resample-channels to train with such channels"
        )
    say(f"{content.name}: {number} cases, {len(errors)} errors, {len(warnings)} warnings")
    if findings:
        raise typer.Exit(2 if errors else 1)


def _print_findings(findings: Sequence[Finding]) -> None:
    """Print a table on a terminal, or one line per finding into a file or a pipe."""
    if not sys.stdout.isatty():
        for finding in findings:
            say(f"{finding.severity}: {finding}")
        return
    from rich.table import Column

    if findings:
        print_table(
            [Column(name, overflow="fold") for name in ("", "case", "file", "finding")],
            [(finding.severity, finding.case, finding.file, finding.message) for finding in findings],
            show_lines=True,
        )


@app.command()
def split(
    manifest: ManifestArgument,
    dataset_dir: DatasetDirOption = None,
    folds: Annotated[int | None, typer.Option(help="Number of folds, for cross-validation.")] = None,
    train: Annotated[int | None, typer.Option(min=1, help="Share, or number of cases, to train on.")] = None,
    validation: Annotated[int, typer.Option(min=0, help="Share, or number of cases, to validate with.")] = 0,
    test: Annotated[
        int, typer.Option(min=0, help="Share, or number of cases, to score once at the end.")
    ] = 0,
    name: Annotated[str, typer.Option(help="Name of the split that --train makes.")] = "holdout",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same division.")] = 0,
    ignore_folders: Annotated[
        bool,
        typer.Option(
            "--ignore-folders",
            help="Where patients are unknown: let a split divide the scans of one folder.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUTPUT.JSON", help="Manifest to write. Default: replace MANIFEST."
        ),
    ] = None,
) -> None:
    """Divide cases into folds or one split: no patient on two sides, every class on each side if possible."""
    from segpipe.dataset import (
        divide_manifest,
        is_plain_decathlon,
        known_dataset_dir,
        load_manifest,
        write_manifest,
    )
    from segpipe.errors import SegpipeError
    from segpipe.files import require_writable_file

    content = load_manifest(manifest)
    target = output or Path(manifest)
    if output is None and (not target.is_file() or is_plain_decathlon(target)):
        raise SegpipeError(
            f"{manifest}: segpipe does not change shipped or plain MSD manifests; give the file to write "
            "with --output"
        )
    require_writable_file(target)
    shares = None if train is None else {"train": train, "validation": validation, "test": test}
    folder = dataset_dir or known_dataset_dir(manifest, content)
    division = divide_manifest(
        content,
        folder,
        num_folds=folds,
        shares=shares,
        name=name,
        seed=seed,
        keep_folders=not ignore_folders,
    )
    write_manifest(division.manifest, target)
    _print_parts(division.parts)
    for note in division.notes:
        say(f"note: {note}")
    say(f"{target}: written")


def _print_parts(parts: Sequence[Part]) -> None:
    rows = [
        ("part", *(part.name for part in parts)),
        ("cases", *(str(part.cases) for part in parts)),
        ("patients", *(str(part.patients) for part in parts)),
        *((f"with {name}", *(str(part.cases_with[name]) for part in parts)) for name in parts[0].cases_with),
    ]
    if len(rows) <= _WIDEST_TABLE:
        rows = list(zip(*rows, strict=True))
    print_table(rows[0], rows[1:])


@app.command()
def show(
    manifest: ManifestArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUTDIR", help="Folder for index.html and contact_sheet.png."),
    ],
    dataset_dir: DatasetDirOption = None,
    cases: Annotated[
        int,
        typer.Option(
            min=1, max=500, help="Largest number of cases to draw; of images, of each class or finding."
        ),
    ] = 24,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="METADATA.JSON", help="A bundle's label table, for its colours; of label maps only."
        ),
    ] = None,
    window: WindowOption = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same cases.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page.")] = False,
) -> None:
    """Write a page of a data set's tables and pictures; exit status 1 where cases have errors."""
    from segpipe.dataset import dataset_dir_of, load_manifest
    from segpipe.labels import load_label_table
    from segpipe.overview import show_dataset

    content = load_manifest(manifest)
    table = load_label_table(labels) if labels else None
    folder = dataset_dir_of(manifest, content, dataset_dir)
    shown = show_dataset(
        content,
        folder,
        output,
        table,
        cases=cases,
        seed=seed,
        window=window,
        where=manifest,
        overwrite=overwrite,
    )
    _print_parts(shown.summary.parts)
    _print_classes(shown.summary.classes)
    _print_prevalence(shown.summary.findings)
    _print_ranges([*shown.summary.geometry, *shown.summary.intensities])
    _print_findings(shown.bad[:_FINDINGS_SHOWN])
    if len(shown.bad) > _FINDINGS_SHOWN:
        say(f"and {len(shown.bad) - _FINDINGS_SHOWN} more errors, all on the page")
    for note in shown.summary.notes:
        say(f"note: {note}")
    left_out = f"; {len(shown.left_out)} more are left out" if shown.left_out else ""
    say(f"{shown.page}: {len(shown.cards)} cases are shown{left_out}")
    if shown.bad:
        raise typer.Exit(1)


def _print_classes(rows: Sequence[ClassRow]) -> None:
    """Print the classes of label maps, or of whole images, which have no voxels and one share."""
    cells = []
    for row in rows:
        weight = "none" if row.weight is None else f"{row.weight:.3g}"
        measures = [f"{100 * row.share:.3g} %"]
        if row.voxels is not None:
            measures = [str(row.voxels), *measures, f"{100 * row.frequency:.3g} %"]
        cells.append([row.name, str(row.cases), *measures, weight])
    if rows:
        heads = ["share"] if rows[0].voxels is None else ["voxels", "share", "frequency"]
        print_table(["class", "cases", *heads, "weight"], cells)


def _print_prevalence(rows: Sequence[FindingRow]) -> None:
    cells = [
        [
            row.name,
            *map(str, (row.present, row.absent, row.unknown)),
            "none" if row.prevalence is None else f"{100 * row.prevalence:.3g} %",
        ]
        for row in rows
    ]
    if rows:
        print_table(["finding", "present", "absent", "unknown", "prevalence"], cells)


def _print_ranges(ranges: Sequence[Range]) -> None:
    if ranges:
        print_table(
            ["", "min", "median", "max", "unit"],
            [[one.name, *(f"{value:.4g}" for value in one.spread), one.unit] for one in ranges],
        )

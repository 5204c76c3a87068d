"""`segpipe evaluate`: score predictions against references, or a bundle on the cases of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from segpipe.bundle_names import bundle_folder
from segpipe.cli.bundle_options import BUNDLE_HELP, bundle_names, bundle_source
from segpipe.cli.evaluate_bundle import class_groups, evaluate_bundle
from segpipe.cli.evaluate_folders import evaluate_folders, value_mapping
from segpipe.cli.evaluate_table import evaluate_table
from segpipe.errors import SegpipeError

_FOLDERS, _BUNDLE = "Two folders, or a table and a manifest", "A bundle on a manifest"
_OF_TABLE = ("--predictions", "--references", "--dataset-dir", "--split", "--part")


def evaluate(
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder of label maps; or the predictions.csv of a classification.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder of label maps of the same names; or, for a table, a manifest with the true classes or "
            "findings.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="METADATA.JSON",
            help="A bundle's label table for the values in both folders. Default: every value is a class.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    prediction_value: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STORED=VALUE",
            help="Count a value in predictions as another, such as 255=1; repeat for each value.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    reference_value: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STORED=VALUE",
            help="Count a value in references as another, such as 255=1; repeat for each value.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the scans, with the same names, to draw in the report.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Pattern that reads the patient from the case id, such as '{patient}_*'. Default: each case "
            "counts as a patient.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help=BUNDLE_HELP,
            parser=bundle_folder,
            autocompletion=bundle_names,
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="MANIFEST",
            help="Name of a shipped manifest, or path of a JSON file.",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder in which the manifest's paths begin. Default: the folder that the manifest names.",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="Cases to score: test (the manifest's list; the default), a fold's number, a named split, or "
            "train. Default for a table: all labelled cases.",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="Part of a named split: validation or test. Default: test if the split has one.",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CLASS,CLASS",
            help="A class of the bundle that joins several classes of the manifest.",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Weights file; several files are an ensemble. Default: the bundle's weights.",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="File of configs/; later files override earlier ones. Default: inference.",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="ID=VALUE",
            help="Override an id of the configuration.",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Run the bundle's own code this once; see `segpipe audit`.",
            rich_help_panel=_BUNDLE,
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda or cuda:N; default: the bundle's.", rich_help_panel=_BUNDLE),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16, float16, int8, or auto: the faster one, timed at the start (the default).",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    no_checksums: Annotated[
        bool,
        typer.Option(
            "--no-checksums",
            help="Accept files that differ from the manifest's checksums.",
            rich_help_panel=_BUNDLE,
        ),
    ] = False,
    card: Annotated[
        bool,
        typer.Option(
            "--card",
            help="Write the results into the bundle's README and metadata.json.",
            rich_help_panel=_BUNDLE,
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for metrics.csv, summary.json and report.html. Default: no file is written.",
        ),
    ] = None,
    tolerance_mm: Annotated[
        float,
        typer.Option(metavar="MM", help="Distance within which surfaces agree, for the surface Dice."),
    ] = 1.0,
) -> None:
    """Score predictions, with intervals over patients; exit status 1 if a reference has no prediction.

    Give two folders of label maps, or the table of a classification and a manifest (--predictions, --references); or a
    bundle and a manifest (--bundle, --manifest, --output). With a bundle, the cases are segmented or classified first;
    after an interruption run the same command again to continue.
    """
    folders = {
        "--predictions": predictions,
        "--references": references,
        "--labels": labels,
        "--prediction-value": prediction_value,
        "--reference-value": reference_value,
        "--images": images,
        "--patient": patient,
    }
    of_bundle = {
        "--bundle": bundle,
        "--manifest": manifest,
        "--dataset-dir": dataset_dir,
        "--split": split,
        "--part": part,
        "--group": group,
        "--weights": weights,
        "--config": config,
        "--set": override,
        "--trust": trust,
        "--device": device,
        "--precision": precision,
        "--no-checksums": no_checksums,
        "--card": card,
    }
    if predictions is not None and references is not None and _is_table(predictions):
        others = {name: value for name, value in {**folders, **of_bundle}.items() if name not in _OF_TABLE}
        _refuse_others("a table of a classification", others)
        evaluate_table(predictions, str(references), output, dataset_dir, split, part)
    elif predictions is not None and references is not None:
        _refuse_others("--predictions and --references", of_bundle)
        mappings = {
            "prediction_mapping": value_mapping("--prediction-value", prediction_value or ()),
            "reference_mapping": value_mapping("--reference-value", reference_value or ()),
        }
        evaluate_folders(predictions, references, labels, mappings, images, patient, tolerance_mm, output)
    elif bundle is not None and manifest is not None and output is not None:
        _refuse_others("--bundle and --manifest", folders)
        options = {
            "split": split or "test",
            "part": part,
            "groups": class_groups(group or ()),
            "precision": precision or "auto",
            "checksums": not no_checksums,
            "tolerance_mm": tolerance_mm,
            "card": card,
        }
        source = bundle_source(bundle, weights, config, override, device, trust)
        evaluate_bundle(source, manifest, output, dataset_dir, options)
    else:
        given = [name for name, value in {**folders, **of_bundle, "--output": output}.items() if value]
        raise SegpipeError(
            f"evaluate: got {', '.join(given) or 'no option'}; give two folders (--predictions and --references), or a "
            "bundle with a manifest and a folder for the results (--bundle, --manifest and --output)"
        )


def _is_table(predictions: Path) -> bool:
    """Return whether the predictions are a table and no folder of label maps."""
    return not predictions.is_dir() and (predictions.is_file() or predictions.suffix.lower() == ".csv")


def _refuse_others(ours: str, others: Mapping[str, object]) -> None:
    given = [name for name, value in others.items() if value]
    if given:
        raise SegpipeError(
            f"evaluate: {', '.join(given)} cannot be combined with {ours}; leave out one or the other"
        )

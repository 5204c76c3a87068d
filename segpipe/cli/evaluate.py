"""`segpipe evaluate`: score label maps against references, or a bundle on the cases of a manifest."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segpipe.cli.bundle_options import bundle_source
from segpipe.cli.printed import say
from segpipe.cli.printed_scores import print_files, print_scores, print_warnings
from segpipe.errors import SegpipeError, counted, shown

if TYPE_CHECKING:
    from segpipe.bundle.source import BundleSource

_FOLDERS, _BUNDLE = "Two folders", "A bundle on a manifest"


def evaluate(
    predictions: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of label maps.", rich_help_panel=_FOLDERS)
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of label maps of the same names.", rich_help_panel=_FOLDERS),
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
        Path | None, typer.Option(metavar="DIR", help="Folder of the bundle.", rich_help_panel=_BUNDLE)
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
            "train.",
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
            help="float32, bfloat16, float16, or auto: the faster one, timed at the start (the default).",
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
    """Score label maps, with intervals over patients; exit status 1 if a reference has no prediction.

    Give two folders (--predictions, --references), or a bundle and a manifest (--bundle, --manifest, --output). With a
    bundle, the cases are segmented first; after an interruption run the same command again to continue.
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
    if predictions is not None and references is not None:
        _refuse_others("--predictions and --references", of_bundle)
        mappings = {
            "prediction_mapping": _value_mapping("--prediction-value", prediction_value or ()),
            "reference_mapping": _value_mapping("--reference-value", reference_value or ()),
        }
        _evaluate_folders(predictions, references, labels, mappings, images, patient, tolerance_mm, output)
    elif bundle is not None and manifest is not None and output is not None:
        _refuse_others("--bundle and --manifest", folders)
        options = {
            "split": split or "test",
            "part": part,
            "groups": _groups(group or ()),
            "precision": precision or "auto",
            "checksums": not no_checksums,
            "tolerance_mm": tolerance_mm,
            "card": card,
        }
        source = bundle_source(bundle, weights, config, override, device, trust)
        _evaluate_bundle(source, manifest, output, dataset_dir, options)
    else:
        given = [name for name, value in {**folders, **of_bundle, "--output": output}.items() if value]
        raise SegpipeError(
            f"evaluate: got {', '.join(given) or 'no option'}; give two folders (--predictions and --references), or a "
            "bundle with a manifest and a folder for the results (--bundle, --manifest and --output)"
        )


def _refuse_others(ours: str, others: Mapping[str, object]) -> None:
    given = [name for name, value in others.items() if value]
    if given:
        raise SegpipeError(
            f"evaluate: {', '.join(given)} cannot be combined with {ours}; leave out one or the other"
        )


def _groups(given: Sequence[str]) -> dict[str, list[str]]:
    groups = {}
    for text in given:
        name, equals, members = text.partition("=")
        if not (name and equals and members):
            raise SegpipeError(
                f"--group {text}: must be NAME=CLASS,CLASS, such as infected=ground-glass,effusion"
            )
        groups[name] = members.split(",")
    return groups


def _value_mapping(option: str, given: Sequence[str]) -> dict[int, int]:
    mapping: dict[int, int] = {}
    for text in given:
        match = re.fullmatch(r"\s*(-?[0-9]+)\s*=\s*(-?[0-9]+)\s*", text)
        if match is None:
            raise SegpipeError(f"{option} {text}: must be STORED=VALUE, two whole numbers, such as 255=1")
        stored, value = map(int, match.groups())
        if mapping.setdefault(stored, value) != value:
            raise SegpipeError(
                f"{option}: {stored} is given as {mapping[stored]} and as {value}; leave one of them"
            )
    return mapping


def _evaluate_folders(
    predictions: Path,
    references: Path,
    labels: Path | None,
    mappings: Mapping[str, Mapping[int, int]],
    images: Path | None,
    patient: str | None,
    tolerance_mm: float,
    output: Path | None,
) -> None:
    from segpipe.evaluation.scoring import files_by_name, score_folder
    from segpipe.evaluation.summary import summarise, write_scores
    from segpipe.labels import load_label_table
    from segpipe.report import ReportContext, context_rows, program, require_evaluation_writable, write_report

    if output is not None:
        require_evaluation_writable(output)
    table = load_label_table(labels) if labels else None
    scans: dict[str, Path] = {}
    if images is not None:
        scans = _scans_of(
            sorted(files_by_name(predictions).keys() & files_by_name(references).keys()), images
        )
    scores = score_folder(
        predictions, references, table, tolerance_mm=tolerance_mm, patient=patient, **mappings
    )
    summary = summarise(scores)
    print_scores(scores, summary)
    print_warnings(scores.warnings)
    if output is not None:
        about = {"predictions": str(predictions), "references": str(references), "patient": patient}
        about |= {
            f"values of {side}": ", ".join(f"{old} counted as {new}" for old, new in mapping.items())
            for side, mapping in zip(("predictions", "references"), mappings.values(), strict=True)
            if mapping
        }
        made_by = program()
        rows = context_rows({**about, "classes": ", ".join(scores.table.target_names)}.items())
        context = ReportContext(warnings=scores.warnings, sections=[("Scored", rows)]).by(made_by)
        write_report(scores, summary, output, scans, context)
        write_scores(scores, summary, output, {**about, "warnings": scores.warnings, **made_by})
        print_files(output)
    if scores.without_prediction:
        raise typer.Exit(1)


def _scans_of(cases: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return case -> scan to draw it with; nnU-Net's scan names end in the channel number.

    Raises:
        SegpipeError: no scan of the folder belongs to a case.
    """
    from segpipe.evaluation.scoring import files_by_name

    scans = files_by_name(folder, are_scans=True)
    numbered = {case: f"{case}_0000" for case in cases}
    scan_of = {
        case: scans.get(case, scans.get(name) if name not in numbered else None)
        for case, name in numbered.items()
    }
    known = {case: path for case, path in scan_of.items() if path is not None}
    if cases and not known:
        raise SegpipeError(
            f"--images {folder}: no scan has the name of a case: {shown(scans, most=3)} against "
            f"{shown(cases, most=3)}; names are paths below the folders without suffix"
        )
    lacking = [case for case in cases if case not in known]
    if lacking:
        say(
            f"{counted(len(lacking), 'case')} drawn without a scan, as {folder} has none: {shown(lacking)}",
            err=True,
        )
    return known


def _evaluate_bundle(
    bundle: BundleSource, manifest: str, output: Path, dataset_dir: Path | None, options: Mapping[str, Any]
) -> None:
    from segpipe.cli.imports import collecting_nothing

    with collecting_nothing():
        from segpipe.cli.predict import Progress
        from segpipe.inference.heap import keep_freed_memory
        from segpipe.model_evaluation.evaluate import evaluate as evaluate_bundle
        from segpipe.model_evaluation.options import EvaluateOptions

    keep_freed_memory()
    progress = Progress(quiet=False)
    try:
        evaluation = evaluate_bundle(
            bundle,
            manifest,
            output,
            EvaluateOptions(**options),
            dataset_dir,
            watch=progress.watch,
            report=progress.report,
            predicting=progress,
        )
    except KeyboardInterrupt:
        say("segpipe: interrupted; finished cases stay; run the same command to continue", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    print_scores(evaluation.scores, evaluation.summary)
    print_warnings(evaluation.warnings)
    print_files(output)
    for path in evaluation.card:
        say(path)
    if evaluation.scores.without_prediction:
        raise typer.Exit(1)

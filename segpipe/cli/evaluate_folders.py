"""`segpipe evaluate` of two folders of label maps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from segpipe.cli.printed import say
from segpipe.cli.printed_scores import print_files, print_scores, print_warnings
from segpipe.errors import SegpipeError, counted, shown


def value_mapping(option: str, given: Sequence[str]) -> dict[int, int]:
    """Return stored value -> value that replaces it.

    Raises:
        SegpipeError: a text is not STORED=VALUE, or a value is mapped twice.
    """
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


def evaluate_folders(
    predictions: Path,
    references: Path,
    labels: Path | None,
    mappings: Mapping[str, Mapping[int, int]],
    images: Path | None,
    patient: str | None,
    tolerance_mm: float,
    output: Path | None,
) -> None:
    """Score label maps against their references; print and write the scores.

    Args:
        predictions: folder of label maps.
        references: folder of label maps of the same names.
        labels: metadata with the label table; None: every value is a class.
        mappings: see `segpipe.evaluation.scoring.score_folder`.
        images: folder of the scans, to draw them; None: label maps alone.
        patient: template of the case ids; None: each case is a patient.
        tolerance_mm: tolerance of the surface Dice.
        output: folder of the files; None: no file.

    Raises:
        SegpipeError: see `score_folder`.
        typer.Exit: a reference has no prediction.
    """
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

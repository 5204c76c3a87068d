"""`segpipe evaluate` of the table of a classification against a manifest."""

from __future__ import annotations

from pathlib import Path

import typer

from segpipe.cli.printed_classification import print_classification
from segpipe.cli.printed_scores import print_files, print_warnings


def evaluate_table(
    predictions: Path,
    manifest: str,
    output: Path | None,
    dataset_dir: Path | None,
    split: str | None,
    part: str | None,
) -> None:
    """Score the predictions of a table against a manifest; print and write the scores.

    Args:
        predictions: `predictions.csv`, see `segpipe.evaluation.classification.predictions`.
        manifest: name of a shipped manifest, or path of a JSON file; of target class or findings.
        output: folder of the files; None: no file.
        dataset_dir: folder of the images, to draw them; None: the folder that the manifest names.
        split: cases to score; None: all labelled cases.
        part: part of a named split.

    Raises:
        SegpipeError: the table or the manifest is refused.
        typer.Exit: a case has no prediction.
    """
    from segpipe.dataset import evaluation_split_of, known_dataset_dir, load_manifest
    from segpipe.evaluation.classification import summarise_images, write_classification
    from segpipe.evaluation.classification.predictions import paired_predictions
    from segpipe.report import ReportContext, context_rows, program, require_evaluation_writable
    from segpipe.report.classification import Unscored, write_classification_report

    if output is not None:
        require_evaluation_writable(output)
    described = load_manifest(manifest)
    cases = (*described.training, *described.test)
    if split is not None or part is not None:
        cases = evaluation_split_of(described, split or "test", part).cases
    folder = dataset_dir or known_dataset_dir(manifest, described)
    paired = paired_predictions(predictions, described, cases, folder)
    summary = summarise_images(paired.images)
    print_classification(paired.images, summary, paired.reasons, paired.without_reference)
    print_warnings(summary.cautions)
    if output is not None:
        about = {"predictions": str(predictions), "references": manifest, "split": split, "part": part}
        made_by = program()
        names = ", ".join(paired.images.categories.names)
        rows = context_rows(
            {**about, "data set": described.name, paired.images.categories.target: names}.items()
        )
        context = ReportContext(
            lead=f"Predictions of a table against {described.name}.",
            warnings=summary.cautions,
            sections=[("Scored", rows)],
        ).by(made_by)
        unscored = Unscored(paired.reasons, paired.without_reference)
        write_classification_report(paired.images, summary, output, context, unscored)
        write_classification(
            paired.images,
            summary,
            output,
            {
                **about,
                "manifest": {"name": described.name, "sha256": described.sha256},
                "warnings": list(summary.cautions),
                **made_by,
            },
            reasons=paired.reasons,
            without_reference=paired.without_reference,
        )
        print_files(output)
    if paired.reasons:
        raise typer.Exit(1)

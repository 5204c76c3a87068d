"""`segpipe compare`: compare two models on the same cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segpipe.cli.printed import print_table, say

if TYPE_CHECKING:
    from segpipe.evaluation.comparison import Comparison

_SHOWN = ("dice", "hd95_mm", "surface_dice", "volume_error_percent", "lesion_f1")


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="FIRST", help="Folder that `segpipe evaluate` wrote for a model.")
    ],
    second: Annotated[
        Path, typer.Argument(metavar="SECOND", help="Folder of the other model, with the same cases.")
    ],
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", metavar="NAME", help="Name of a model; give one for each. Default: the folders' names."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="METRIC", help=f"A score; default for segmentations: {', '.join(_SHOWN)}."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for comparison.html. Default: no page is written."
        ),
    ] = None,
) -> None:
    """Compare two models case by case: scores and differences with 95 % intervals, and in words what differs.

    Both folders are of segmentations, or both of classifications of the same images.
    """
    from segpipe.errors import SegpipeError
    from segpipe.evaluation.summary import read_summary
    from segpipe.files import require_writable_files
    from segpipe.report.comparison import COMPARISON_FILE

    names = name or [folder.resolve().name for folder in (first, second)]
    if len(names) != 2 or names[0] == names[1]:
        raise SegpipeError(
            f"--name {', '.join(names)}: must be two names that differ, in the order of the folders"
        )
    if output is not None:
        require_writable_files(output, [COMPARISON_FILE])
    of_task = _compare_classifications if _are_classifications(first, second) else _compare_segmentations
    summaries = [read_summary(folder) if folder.is_dir() else {} for folder in (first, second)]
    of_task((first, second), names, summaries, metric, output)


def _are_classifications(first: Path, second: Path) -> bool:
    """Return whether both tables are of classified images; refuse two tasks."""
    from segpipe.errors import SegpipeError
    from segpipe.evaluation.case_scores import CaseScores
    from segpipe.evaluation.classification.image_table import is_classification

    classified = [is_classification(path) for path in (first, second)]
    if any(classified) and not all(classified):
        other = second if classified[0] else first
        CaseScores.read(other)  # refuses a file that is no table of scores
        raise SegpipeError(
            f"comparison: {first if classified[0] else second} has the scores of a classification, and {other} those "
            "of a segmentation; compare two evaluations of one task"
        )
    return all(classified)


def _compare_classifications(
    folders: Sequence[Path],
    names: Sequence[str],
    summaries: Sequence[Mapping[str, Any]],
    metrics: Sequence[str] | None,
    output: Path | None,
) -> None:
    from segpipe.cli.printed_classification import print_paired_scores
    from segpipe.evaluation.classification.comparison import compare_images
    from segpipe.evaluation.classification.image_table import read_images
    from segpipe.evaluation.classification.statistics import NAME_METRICS, OVERALL_METRICS
    from segpipe.report.classification_comparison import write_classification_comparison
    from segpipe.report.comparison import description_warnings

    _require_metrics(metrics, tuple(dict.fromkeys((*OVERALL_METRICS, *NAME_METRICS))))
    first, second = (read_images(folder) for folder in folders)
    result = compare_images(first, second)
    print_paired_scores(result, names, metrics)
    for warning in description_warnings(names, summaries):
        say(f"WARNING: {warning}", err=True, bold=True)
    if output is not None:
        say(write_classification_comparison(names, result, summaries, output))


def _require_metrics(wanted: Sequence[str] | None, known: Sequence[str]) -> None:
    from segpipe.errors import SegpipeError

    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise SegpipeError(f"--metric {', '.join(unknown)}: there are {', '.join(known)}")


def _compare_segmentations(
    folders: Sequence[Path],
    names: Sequence[str],
    summaries: Sequence[Mapping[str, Any]],
    metric: Sequence[str] | None,
    output: Path | None,
) -> None:
    from segpipe.errors import counted, shown
    from segpipe.evaluation.case_scores import CaseScores
    from segpipe.evaluation.comparison import compare as compare_scores
    from segpipe.evaluation.metrics import METRICS
    from segpipe.report.comparison import comparison_warnings, write_comparison

    _require_metrics(metric, METRICS)
    scores = [CaseScores.read(folder) for folder in folders]
    result = compare_scores(*scores)
    _print_comparison(result, names, metric or _SHOWN)
    for model, cases in zip(names, (result.only_first, result.only_second), strict=True):
        if cases:
            are = "is" if len(cases) == 1 else "are"
            say(f"{counted(len(cases), 'case')} of {model} alone {are} left out: {shown(cases)}", err=True)
    for warning in comparison_warnings(names, result, summaries):
        say(f"WARNING: {warning}", err=True, bold=True)
    if output is not None:
        say(write_comparison(names, result, summaries, output))


def _print_comparison(result: Comparison, names: Sequence[str], metrics: Sequence[str]) -> None:
    """Print a row for each class and metric that a case has, and a sentence for each difference."""
    from segpipe.errors import counted
    from segpipe.report.comparison import comparison_rows

    rows, sentences = [], []
    for class_name, of_class in result.differences.items():
        for row in comparison_rows(result, class_name, metrics):
            texts = [[text, *under] for text, under in (*row["means"], row["difference"])]
            rows.append([class_name, row["title"], *texts, str(row["cases"]), row["direction"]])
        chosen = [of_class[name] for name in metrics]
        sentences += [one.in_words(names) for one in chosen if one.differs]
    heads = ["class", "metric", *names, f"{names[0]} minus {names[1]}", "cases", f"{names[0]} is"]
    print_table(heads, rows, title=f"{counted(len(result.cases), 'case')} scored for both", show_lines=True)
    say(
        "Means, and below them 95 % intervals (bootstrap); the difference is over cases in which both have a value"
    )
    if sentences:
        say(*sentences)
    else:
        say("No difference has an interval that leaves out 0")

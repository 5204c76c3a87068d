"""The scores of a classification, and of two compared classifications, on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from segpipe.cli.printed import print_table, say
from segpipe.errors import counted

if TYPE_CHECKING:
    from segpipe.evaluation.classification import ClassificationSummary, ClassifiedImages, Score
    from segpipe.evaluation.classification.comparison import ClassificationComparison

_OF_NAMES = ("auroc", "auprc", "sensitivity", "specificity", "ppv", "npv")
_COMPARED = ("accuracy", "exact_match", "balanced_accuracy", "macro_auroc", "brier", "ece")
_COMPARED_OF_NAMES = ("auroc",)
_REASONS_SHOWN = 20


def print_classification(
    images: ClassifiedImages,
    summary: ClassificationSummary,
    reasons: Mapping[str, str],
    without_reference: Sequence[str] = (),
) -> None:
    """Print the scores over all names and of each name with their intervals, and the images without a score."""
    from segpipe.evaluation.classification.comparison import TITLES

    kind = images.categories.target
    print_table(
        ["score", "value", "95 % interval"],
        [
            *([TITLES[metric], _value(score), _span(score)] for metric, score in summary.overall.items()),
            [
                "calibration error if perfect",
                f"{summary.floor.mean:.3f}",
                f"95 % below {summary.floor.high:.3f}",
            ],
        ],
        title=f"images: {len(images.cases)}",
    )
    print_table(
        ["class" if kind == "class" else "finding", *(TITLES[metric] for metric in _OF_NAMES), "positives"],
        [
            [
                name,
                *(_cell(one.scores[metric]) for metric in _OF_NAMES),
                f"{one.positives} of {one.images}",
            ]
            for name, one in summary.by_name.items()
        ],
        show_lines=True,
    )
    drawn = "patients" if summary.patients else "images, each counted as one patient,"
    say(f"Scores, and their 95 % intervals (bootstrap; {drawn} are drawn)")
    for name, one in summary.by_name.items():
        if one.why_no_interval:
            say(f"{name}: {one.why_no_interval}")
    for image in without_reference[:_REASONS_SHOWN]:
        say(f"no reference for the prediction {image}", err=True)
    for case, reason in list(reasons.items())[:_REASONS_SHOWN]:
        say(f"no prediction for {case}: it is in no score: {reason}", err=True)
    more = len(reasons) + len(without_reference) - _REASONS_SHOWN
    if more > 0 and max(len(reasons), len(without_reference)) > _REASONS_SHOWN:
        say(
            f"{counted(len(reasons), 'image')} without a prediction, {len(without_reference)} predictions without a "
            "reference; --output lists them in summary.json",
            err=True,
        )


def print_paired_scores(
    comparison: ClassificationComparison, names: Sequence[str], metrics: Sequence[str] | None
) -> None:
    """Print a row for each name and metric, and a sentence for each difference."""
    from segpipe.evaluation.classification.comparison import OVERALL
    from segpipe.report.classification_comparison import paired_rows

    rows, sentences = [], []
    for name, of_name in comparison.scores.items():
        wanted = metrics or (_COMPARED if name == OVERALL else _COMPARED_OF_NAMES)
        for row in paired_rows(comparison, name):
            if row["metric"] in wanted:
                texts = [[text, span] if span else text for text, span in (*row["scores"], row["difference"])]
                rows.append([name, row["title"], *texts, row["test"], row["direction"]])
        sentences += [
            score.in_words(names) for metric, score in of_name.items() if metric in wanted and score.differs
        ]
    heads = ["name", "metric", *names, f"{names[0]} minus {names[1]}", "test", f"{names[0]} is"]
    number = counted(len(comparison.images[0].cases), "image")
    print_table(heads, rows, title=f"{number} scored for both", show_lines=True)
    drawn = "patients are drawn with all their images" if comparison.patients else "images are drawn"
    say(f"Scores, and below them 95 % intervals (bootstrap; {drawn})")
    if sentences:
        say(*sentences)
    else:
        say("No difference has an interval that leaves out 0")


def _value(score: Score) -> str:
    return "-" if math.isnan(score.value) else f"{score.value:.3f}"


def _span(score: Score) -> str:
    return f"{score.low:.3f} to {score.high:.3f}" if score.is_known else ""


def _cell(score: Score) -> list[str]:
    span = _span(score)
    return [_value(score), span] if span else [_value(score)]

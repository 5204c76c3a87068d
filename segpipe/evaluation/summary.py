"""Scores of many cases as files, and their summary: means with intervals, medians, scores of pooled voxels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.evaluation.case_scores import METRICS_FILE, CaseScores
from segpipe.evaluation.intervals import Interval, mean_intervals
from segpipe.evaluation.metrics import METRICS, PooledScores
from segpipe.evaluation.scored_cases import ScoredCases
from segpipe.files import composed_name, read_json, write_json, write_text

SUMMARY_FILE = "summary.json"
CONFIDENCE = 0.95
_TEXT = {"type": "string"}
_SCHEMA = {  # of the entries that segpipe reads again
    "type": "object",
    "properties": {
        "about": {
            "type": "object",
            "properties": {
                "warnings": {"type": "array", "items": _TEXT},
                "weights": {"type": "array", "items": {"$ref": "#/$defs/file"}},
                "manifest": {"$ref": "#/$defs/set"},
            },
        },
        "tolerance_mm": {"type": "number"},
        "references_sha256": {"type": "object", "additionalProperties": _TEXT},
        "colors": {"type": "object", "additionalProperties": {"$ref": "#/$defs/color"}},
    },
    "$defs": {
        "file": {
            "type": "object",
            "properties": {"file": _TEXT, "sha256": _TEXT},
            "required": ["file", "sha256"],
        },
        "set": {
            "type": "object",
            "properties": {"name": _TEXT, "sha256": _TEXT},
            "required": ["name", "sha256"],
        },
        "color": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
    },
}
_SHOWN = 200  # characters of a schema error, which quotes the refused value
_HEX_DIGITS = 16  # of a reference's hash: enough to tell two references apart


@dataclass(frozen=True)
class Figure:
    """One metric of one class, summarised over cases.

    Attributes:
        interval: the mean with its interval and its number of cases.
        median: median over the cases that have a value, infinite values included; nan without a value.
    """

    interval: Interval
    median: float

    def cases_in_words(self, cases: int) -> str:
        """Return how many cases the mean is of, such as "17 of 20 cases"; empty where it is of all, or of none.

        Args:
            cases: number of cases in which a label map contains the class: the cases of the Dice.
        """
        number = self.interval.cases
        if number == cases or not (number or self.interval.infinite):
            return ""
        return f"{number} of {cases} cases"

    def as_plain(self) -> dict[str, Any]:
        """Return the figure in JSON's types; numbers that are not finite become None."""
        numbers = {"median": self.median, **vars(self.interval)}
        return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


@dataclass(frozen=True)
class Summary:
    """The scores of many cases, summarised.

    Attributes:
        by_class: foreground class -> metric -> figure.
        all_classes: metric -> figure of each case's mean over the classes for which the case has a value.
        pooled: scores over the voxels of all cases together.
        confusion: `(C, C)`, confusion matrix of all cases together.
    """

    by_class: Mapping[str, Mapping[str, Figure]]
    all_classes: Mapping[str, Figure]
    pooled: PooledScores
    confusion: NDArray[np.int64]


def summarise(scores: ScoredCases) -> Summary:
    """Summarise the scores of the cases that have both label maps."""
    cases = CaseScores.of(scores)
    table = np.concatenate([cases.values, cases.class_means[:, :, None]], axis=2)
    columns = table.reshape(len(table), -1)
    intervals = mean_intervals(columns, cases.drawn, confidence=CONFIDENCE)
    figures = np.empty(len(intervals), object)
    figures[:] = [
        Figure(interval, _median(column)) for interval, column in zip(intervals, columns.T, strict=True)
    ]
    of_metric = figures.reshape(table.shape[1:])
    confusion = np.sum([row.metrics.confusion for row in scores.rows], axis=0)
    return Summary(
        by_class={
            name: dict(zip(METRICS, of_metric[:, position], strict=True))
            for position, name in enumerate(scores.table.target_names)
        },
        all_classes=dict(zip(METRICS, of_metric[:, -1], strict=True)),
        pooled=PooledScores.of(confusion, scores.table.target_classes),
        confusion=confusion,
    )


def write_scores(scores: ScoredCases, summary: Summary, folder: Path, about: Mapping[str, Any]) -> None:
    """Write `metrics.csv`, see `CaseScores`, and `summary.json`.

    `summary.json` has the confusion matrix of each case as `[reference, prediction, voxels]` of its nonzero entries,
    with class indices.

    Args:
        scores: scores of the cases.
        summary: summary of the same cases.
        folder: folder of the two files.
        about: what was scored and by what, in plain types.
    """
    write_text(folder / METRICS_FILE, CaseScores.of(scores).as_csv())
    colors = {label.name: list(label.color) for label in scores.table.labels}
    colors |= {target.name: list(target.color) for target in scores.table.targets}
    content = {
        "about": dict(about),
        "cases": len(scores.rows),
        "patients": len({row.patient for row in scores.rows}) if scores.knows_patients else None,
        "tolerance_mm": scores.tolerance_mm,
        "confidence": CONFIDENCE,
        "classes": {
            name: {metric: figure.as_plain() for metric, figure in figures.items()}
            for name, figures in summary.by_class.items()
        },
        "all_classes": {metric: figure.as_plain() for metric, figure in summary.all_classes.items()},
        "pooled": summary.pooled.as_plain(scores.table.target_names),
        "confusion": {
            "names": list(scores.table.names),
            "voxels": summary.confusion.tolist(),
            "cases": {composed_name(row.case): _pairs(row.metrics.confusion) for row in scores.rows},
        },
        "classes_of_one_side": [vars(one_sided) for one_sided in scores.one_sided],
        "without_prediction": list(scores.without_prediction),
        "without_reference": list(scores.without_reference),
        "reasons": dict(scores.reasons),
        "ignored_files": list(scores.ignored_files),
        "references_sha256": {
            composed_name(row.case): row.reference_sha256[:_HEX_DIGITS] for row in scores.rows
        },
        "colors": colors,
    }
    write_json(folder / SUMMARY_FILE, content)


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's `summary.json`; empty where there is none.

    Raises:
        SegpipeError: the file cannot be read, or was not written by segpipe.
    """
    path = folder / SUMMARY_FILE
    if not path.is_file():
        return {}
    content: dict[str, Any] = read_json(path, "the summary")
    problem = best_match(Draft7Validator(_SCHEMA).iter_errors(content))
    if problem is not None:
        raise SegpipeError(
            f"{path}: is no summary that segpipe wrote ({problem.json_path}: {problem.message[:_SHOWN]}); write it "
            "anew with `segpipe evaluate`"
        )
    return content


def _pairs(confusion: NDArray[np.int64]) -> list[list[int]]:
    """Return true class, predicted class and voxels of each nonzero entry."""
    return [[*pair, int(confusion[tuple(pair)])] for pair in np.argwhere(confusion).tolist()]


def _median(column: NDArray[np.float64]) -> float:
    present = column[~np.isnan(column)]
    return float(np.median(present)) if present.size else float("nan")

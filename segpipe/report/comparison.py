"""The report of a comparison: two models on the same cases, as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from segpipe.errors import counted, shown
from segpipe.evaluation.comparison import Comparison, Difference
from segpipe.evaluation.metrics import METRICS
from segpipe.files import write_text
from segpipe.labels import class_color
from segpipe.report.charts import MOST_POINTS, Row, against
from segpipe.report.context import ReportContext, Rows, context_rows, program
from segpipe.report.metrics import METRIC_OF, SHOWN, Metric
from segpipe.report.rendering import case_table, css_color, mean_text, render

COMPARISON_FILE = "comparison.html"
_OF_CASES = ("dice", "hd95_mm")
_DICE, _REFERENCE_ML = METRICS.index("dice"), METRICS.index("reference_ml")
_VOLUME_ROUNDING = 1e-4  # file formats round spacings
_SIZE_OF = Metric("volume_error_percent", "size of the volume error, %", 1)
_METRICS = tuple(_SIZE_OF if metric.key == _SIZE_OF.key else metric for metric in SHOWN)
_KEYS = tuple(metric.key for metric in _METRICS)


def write_comparison(
    names: Sequence[str], comparison: Comparison, summaries: Sequence[Mapping[str, Any]], folder: Path
) -> Path:
    """Write `comparison.html` and return its path.

    Args:
        names: names of the two models.
        comparison: comparison of the two models.
        summaries: content of each model's `summary.json`; may be empty.
        folder: folder of the page.
    """
    context = comparison_context(
        names,
        summaries,
        comparison_warnings(names, comparison, summaries),
        "Two models on the same cases, case by case.",
    )
    path = folder / COMPARISON_FILE
    write_text(path, _page(names, comparison, _colors(comparison, summaries), context))
    return path


def comparison_context(
    names: Sequence[str], summaries: Sequence[Mapping[str, Any]], warnings: Sequence[str], lead: str
) -> ReportContext:
    """Return the texts around the figures of a comparison.

    Args:
        names: names of the two models.
        summaries: content of each model's `summary.json`; may be empty.
        warnings: limits of the comparison's validity.
        lead: sentence below the title.
    """
    sections = [
        (name, _about(summary.get("about", {})))
        for name, summary in zip(names, summaries, strict=True)
        if summary
    ]
    return ReportContext(lead=lead, warnings=warnings, sections=sections).by(program())


def comparison_warnings(
    names: Sequence[str], comparison: Comparison, summaries: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the limits of the comparison's validity, such as different references.

    Args:
        names: names of the two models.
        comparison: comparison of the two models.
        summaries: content of each model's `summary.json`; may be empty.
    """
    warnings = description_warnings(names, summaries)
    others = _other_references(comparison, summaries)
    if others:
        warnings.append(
            f"Not comparable: the two were scored against different references in {counted(len(others), 'case')}: "
            f"{shown(others)}. Evaluate both against the same references."
        )
    return warnings


def description_warnings(names: Sequence[str], summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the warnings of both evaluations, and of different settings or manifests.

    Args:
        names: names of the two models.
        summaries: content of each model's `summary.json`; may be empty.
    """
    abouts = [summary.get("about", {}) for summary in summaries]
    warnings = [
        f"{name}: {warning}"
        for name, about in zip(names, abouts, strict=True)
        for warning in about.get("warnings", [])
    ]
    for what, values in (
        (
            "have different tolerances of the surface Dice (mm)",
            [summary.get("tolerance_mm") for summary in summaries],
        ),
        ("were scored with different manifests", [about.get("manifest") for about in abouts]),
    ):
        if None not in values and values[0] != values[1]:
            values_in_words = " and ".join(_value_in_words(value) for value in values)
            warnings.append(
                f"Not comparable: the two {what}: {values_in_words}. Evaluate both in the same way."
            )
    return warnings


def _other_references(comparison: Comparison, summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cases whose reference hashes differ, or whose true volumes differ."""
    first, second = (values[:, _REFERENCE_ML, :-1] for values in comparison.values)
    known = np.isfinite(first) & np.isfinite(second)
    unlike = np.any(known & ~np.isclose(first, second, rtol=_VOLUME_ROUNDING, atol=0), axis=1).tolist()
    ours, theirs = (summary.get("references_sha256", {}) for summary in summaries)
    return [
        case
        for case, other in zip(comparison.cases, unlike, strict=True)
        if other or (case in ours and ours[case] != theirs.get(case, ours[case]))
    ]


def _value_in_words(value: Any) -> str:
    return f"{value['name']} ({value['sha256'][:12]})" if isinstance(value, dict) else f"{value:g}"


def _about(about: Mapping[str, Any]) -> Rows:
    weights = ", ".join(
        f"{file_record['file']} (SHA-256 {file_record['sha256'][:16]}...)"
        for file_record in about.get("weights", [])
    )
    manifest = about.get("manifest")
    return context_rows(
        [
            ("bundle", about.get("bundle")),
            ("weights", weights),
            ("scored", f"{about.get('part')} of {manifest['name']}" if manifest else None),
            *(
                (name, about.get(name))
                for name in ("predictions", "references", "segpipe", "commit", "command")
            ),
        ]
    )


def _colors(comparison: Comparison, summaries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the colour of each class; the mean of classes has the page's text colour."""
    known: Mapping[str, Sequence[int]] = next(
        (summary["colors"] for summary in summaries if "colors" in summary), {}
    )
    *classes, mean = comparison.differences
    colors = {name: css_color(known.get(name, class_color(index))) for index, name in enumerate(classes, 1)}
    return {**colors, mean: "var(--accent)"}


def _page(
    names: Sequence[str], comparison: Comparison, colors: Mapping[str, str], context: ReportContext
) -> str:
    classes = list(comparison.differences)
    several = len(classes) > 2
    ordered = [classes[-1], *classes[:-1]] if several else classes[:-1]
    return render(
        "comparison.html",
        context,
        title=f"{names[0]} against {names[1]}",
        names=names,
        case_word="case",
        cases=comparison.cases,
        knows_patients=comparison.patients is not None,
        patients=len(set(comparison.patients)) if comparison.patients else None,
        headline=[
            (f"Dice, {ordered[0]}: {name}", mean_text(means[ordered[0]]["dice"], METRIC_OF["dice"]))
            for name, means in zip(names, comparison.means, strict=True)
        ],
        words=[
            comparison.differences[name][metric.key].in_words(names)
            for name in ordered
            for metric in _METRICS
            if comparison.differences[name][metric.key].differs
        ],
        groups=[(name, colors[name], comparison_rows(comparison, name)) for name in ordered],
        charts=[(name, _chart(comparison, classes.index(name), names, colors[name])) for name in ordered],
        most_points=MOST_POINTS,
        left_out=[
            (name, cases)
            for name, cases in zip(names, (comparison.only_first, comparison.only_second), strict=True)
            if cases
        ],
        data=_cases(comparison, names),
    )


def comparison_rows(comparison: Comparison, name: str, keys: Sequence[str] = _KEYS) -> list[dict[str, Any]]:
    """Return a row for each metric of a class that has a case.

    Args:
        comparison: comparison of the two models.
        name: name of the class.
        keys: names of the metrics, in `segpipe.evaluation.metrics.METRICS`.

    Returns:
        `title` of the metric, `means` of both models and their `difference` as text with further lines, number of
        `cases`, `direction` of the first model.
    """
    rows = []
    for metric in map(_displayed, keys):
        difference = comparison.differences[name][metric.key]
        intervals = [means[name][metric.key] for means in comparison.means]
        if not any(interval.cases for interval in intervals):
            continue
        rows.append(
            {
                "title": metric.title,
                "means": [(mean_text(interval, metric), _under(interval, metric)) for interval in intervals],
                "difference": _difference(difference, metric),
                "cases": difference.interval.cases,
                "direction": difference.direction,
            }
        )
    return rows


def _displayed(key: str) -> Metric:
    """Return the display of a metric; one that no page shows has its name as title."""
    known = {metric.key: metric for metric in (*METRIC_OF.values(), *_METRICS)}
    return known.get(key, Metric(key, key, 3))


def _under(interval: Any, metric: Metric) -> list[str]:
    """Return the lines below a mean: its interval, and the number of cases where it leaves out missed structures."""
    lines = [metric.span(interval)] if interval.is_known else []
    scored = interval.cases + interval.infinite
    return lines + ([f"{interval.cases} of {scored} cases"] if interval.infinite else [])


def _difference(difference: Difference, metric: Metric) -> tuple[str, list[str]]:
    signed = Metric(metric.key, metric.title, metric.digits, signed=True)
    interval = difference.interval
    return mean_text(interval, signed), [signed.span(interval)] if interval.is_known else []


def _chart(comparison: Comparison, position: int, names: Sequence[str], color: str) -> Markup:
    first, second = (values[:, _DICE, position] for values in comparison.values)
    titles = [f"Dice, {name}" for name in names]
    return against(Row("", color, second), first, titles, comparison.cases)


def _cases(comparison: Comparison, names: Sequence[str]) -> Markup:
    """Return the table of cases: both models' scores and their difference, the largest difference first."""
    columns, places = [], []
    for key in _OF_CASES:
        metric = METRIC_OF[key]
        columns += [metric.column(title=f"{metric.title}, {name}") for name in names]
        columns.append(metric.column(title=f"{metric.title}, difference", signed=True, size=True))
        places.append(METRICS.index(key))
    first, second = comparison.values
    both = np.isfinite(first) & np.isfinite(second)
    between = np.subtract(first, second, out=np.full(first.shape, np.nan), where=both)
    stacked = np.stack([first, second, between], axis=2)[:, places].reshape(len(first), -1, first.shape[2])
    key_of_difference = (2 if comparison.patients else 1) + len(names)
    return case_table(
        comparison.cases,
        comparison.patients,
        list(comparison.differences),
        columns,
        np.moveaxis(stacked, 2, 0).tolist(),
        (key_of_difference, True),
    )

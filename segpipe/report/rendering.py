"""The templates of all pages, and the functions that fill them in."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from segpipe.errors import shown
from segpipe.printable import printable, printable_output
from segpipe.report.context import ReportContext
from segpipe.report.metrics import Metric


def render(template: str, context: ReportContext, **content: Any) -> str:
    """Return a page.

    Args:
        template: file name of the template in this folder.
        context: texts around the figures.
        content: variables of the template.
    """
    return (
        _environment()
        .get_template(template)
        .render(
            context=context,
            number=lambda value: f"{value:,}".replace(",", "\u202f"),
            percent=lambda share: f"{100 * share:.2f} %",
            shown=lambda names: shown(names, most=20),
            **content,
        )
    )


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=printable_output,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["in_lines"] = lambda text: Markup("\n").join(map(printable, text.split("\n")))
    return environment


def case_table(
    cases: Sequence[str],
    patients: Sequence[str] | None,
    classes: Sequence[str],
    columns: Sequence[Mapping[str, Any]],
    values: Sequence[Sequence[Sequence[float | str]]],
    sorted_by: tuple[int, bool] = (0, False),
) -> Markup:
    """Return the content of the page's table of cases, as JSON for a script element.

    Args:
        cases: names of the cases.
        patients: patient of each case; None where the patient is not known.
        classes: names of the classes; the table shows one class at a time, at first the last.
        columns: see `Metric.column`; a column with `size` true is sorted by absolute values, and one with `words` true
            has texts.
        values: `[class][case][column]`; nan for a missing value.
        sorted_by: column that sorts the table at first (0 is the case), and whether in descending order.
    """
    return embedded_json(
        {
            "cases": list(map(printable, cases)),
            "patients": None if patients is None else list(map(printable, patients)),
            "classes": classes,
            "metrics": columns,
            "sorted": {"key": sorted_by[0], "down": sorted_by[1]},
            "values": [[list(map(_embeddable, row)) for row in layer] for layer in values],
        }
    )


def embedded_json(content: Mapping[str, Any]) -> Markup:
    """Return JSON that is safe inside a script element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704  # without "<" no tag can end the element


def css_color(color: Sequence[int]) -> str:
    """Return the CSS text of red, green and blue."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def mean_text(interval: Any, metric: Metric) -> str:
    """Return a mean; a dash where no case has a value."""
    return metric.text(interval.mean) if interval.cases else "\u2013"


def _embeddable(value: float | str) -> float | str | None:
    if isinstance(value, str):
        return printable(value)
    if math.isnan(value):
        return None
    return round(value, 5) if math.isfinite(value) else "inf"

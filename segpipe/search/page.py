"""The files of a search: the table of trials, the page with Optuna's plots, and an override file of the best trial."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import yaml
from markupsafe import Markup
from optuna import visualization
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState

from segpipe.csv_files import csv_text
from segpipe.errors import SegpipeError, counted
from segpipe.files import write_text
from segpipe.report import ReportContext, program
from segpipe.report.rendering import render
from segpipe.search.search import SearchResult
from segpipe.search.space import space_rows
from segpipe.search.study import TrialRow, best_row, plotted_study

TRIALS_FILE, PAGE_FILE = "trials.csv", "report.html"
_METRIC = "mean of best validations"
_FEWEST_FOR_IMPORTANCE = 4  # finished trials
_HEIGHT = "420px"


def write_search(result: SearchResult, output: Path) -> list[Path]:
    """Write `trials.csv` and `report.html`, and return their paths.

    Args:
        result: the trials.
        output: folder of the files.
    """
    table, page = output / TRIALS_FILE, output / PAGE_FILE
    write_text(table, trials_csv(result))
    write_text(page, search_page(result))
    return [table, page]


def trials_csv(result: SearchResult) -> str:
    """Return the table of trials as CSV: a row a trial."""
    ids, folds = list(result.space.dimensions), result.record["folds"]
    head = ["trial", "state", *ids, "value", *(f"fold_{fold}" for fold in folds), "reason"]
    rows = [
        [
            row.place,
            row.state,
            *(_cell(row, name) for name in ids),
            row.value if math.isfinite(row.value) else "",
            *(row.folds.get(str(fold), "") for fold in folds),
            row.reason,
        ]
        for row in result.rows
    ]
    return csv_text(head, rows)


def search_page(result: SearchResult) -> str:
    """Return the page of a search."""
    ids, folds, best = list(result.space.dimensions), result.record["folds"], best_row(result.rows)
    counts = Counter(row.state for row in result.rows)
    return render(
        "search.html",
        _context(result),
        title=f"{result.record['bundle']}: search",
        counts=list(counts.items()),
        best=best and {"place": best.place, "value": _number(best.value)},
        metric=_METRIC,
        ids=ids,
        folds=folds,
        rows=[
            {
                "place": row.place,
                "state": row.state,
                "reason": row.reason,
                "cells": [_cell(row, name) for name in ids],
                "value": _number(row.value),
                "folds": [_number(row.folds.get(str(fold), math.nan)) for fold in folds],
            }
            for row in result.rows
        ],
        plots=list(_plots(result)),
        optuna=optuna.__version__,
    )


def override_file(result: SearchResult) -> str:
    """Return the values of the best trial as a configuration file, for `segpipe train --config`.

    Raises:
        SegpipeError: no trial has finished.
    """
    best = best_row(result.rows)
    if best is None:
        raise SegpipeError(
            f"{result.record['bundle']}: none of {counted(len(result.rows), 'trial')} has finished, so that no values "
            "can be exported; run the search on"
        )
    folds = ", ".join(map(str, result.record["folds"]))
    about = (
        f"# trial {best.place} of {counted(len(result.rows), 'trial')} of segpipe search: {_METRIC} {best.value:.6g}, "
        f"folds {folds}\n"
    )
    return about + yaml.safe_dump(dict(best.values), sort_keys=False, allow_unicode=True)


def _context(result: SearchResult) -> ReportContext:
    record = result.record
    rows = [
        ("bundle", record["bundle"]),
        ("folds", ", ".join(map(str, record["folds"]))),
        *((name, record[name]) for name in ("sampler", "pruner", "seed")),
        *((name, str(value)) for name, value in record["overrides"].items()),
    ]
    context = ReportContext(
        lead=f"{counted(len(result.rows), 'trial')} of the bundle {record['bundle']}.",
        sections=[
            ("Space", space_rows(result.space)),
            ("Options", [(name, str(value)) for name, value in rows]),
        ],
    )
    return context.by(program())


def _plots(result: SearchResult) -> Iterator[dict[str, Any]]:
    """Yield Optuna's plots of the trials; the first one holds Plotly's script."""
    study = plotted_study(result.rows, result.space)
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not finished:
        return
    drawn: dict[str, Callable[[], Any]] = {
        "Value of each trial": lambda: visualization.plot_optimization_history(study),
        "Value by each id": lambda: visualization.plot_slice(study),
    }
    if len(result.space.dimensions) > 1:
        drawn["Values of the trials"] = lambda: visualization.plot_parallel_coordinate(study)
    if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        drawn["Validations of each trial"] = lambda: visualization.plot_intermediate_values(study)
    values = {trial.value for trial in finished}
    if len(finished) >= _FEWEST_FOR_IMPORTANCE and len(values) > 1 and len(result.space.dimensions) > 1:
        drawn["Importance of each id (PED-ANOVA)"] = lambda: visualization.plot_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator()
        )
    for place, (title, draw) in enumerate(drawn.items()):
        figure = draw()
        figure.update_layout(title=None, margin={"l": 60, "r": 20, "t": 20, "b": 60})
        html = figure.to_html(
            full_html=False,
            include_plotlyjs=place == 0,
            div_id=f"plot-{place}",
            default_height=_HEIGHT,
            config={"displaylogo": False, "responsive": True},
        )
        yield {"title": title, "drawing": Markup(html)}  # noqa: S704 - Plotly escapes texts in its JSON


def _cell(row: TrialRow, name: str) -> str:
    return _text(row.values[name]) if name in row.values else ""


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value) if isinstance(value, list | Mapping) else str(value)


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "\u2013"

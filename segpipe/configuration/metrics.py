"""Check for metrics that handlers save, log or wait for, but their engine never computes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from monai.engines import Workflow
from monai.handlers import CheckpointSaver, MetricsSaver

from segpipe.configuration.components import Targets, components
from segpipe.configuration.finding import ConfigFinding, and_more, hint, nearest, written
from segpipe.configuration.references import strings
from segpipe.configuration.values import Values, expression_tree, reference_of
from segpipe.evaluation.score_table import FORMER_ARGUMENTS, ScoreTable
from segpipe.training import SaveBest, ValidationScalars
from segpipe.training.metrics import ACCURACY, LOSS

_KEY_METRICS = ("key_val_metric", "key_train_metric", "key_metric")
_HANDLERS = ("val_handlers", "train_handlers", "handlers")
_OWN = {ACCURACY, LOSS}  # metrics that segpipe's handlers compute
_EVERY = "*"


def metric_findings(
    configuration: Mapping[str, Any], values: Values, targets: Targets
) -> Iterator[ConfigFinding]:
    """Find metrics that are used but not computed, for every engine whose metrics can be determined.

    Args:
        configuration: without the metadata.
        values: of it.
        targets: for the classes of components.
    """
    metrics = {
        identifier: _defined(identifier, engine, values, targets)
        for identifier, engine in components(configuration)
        if _is_a(Workflow, targets.find(engine["_target_"]))
    }
    for engine, defined in metrics.items():
        unsaved: list[ConfigFinding] = []
        for identifier, handler in _handlers(engine, values) or ():
            if isinstance(handler, dict) and values.of(handler.get("_disabled_", False)) is False:
                yield from _former_arguments(identifier, handler, targets)
                yield from _unread(identifier, handler, engine, metrics, values)
                if defined is not None:
                    unsaved += _unsaved(identifier, handler, engine, defined, values, targets)
        if unsaved and not defined:
            users = [written(finding.identifier) for finding in unsaved]
            yield ConfigFinding(
                engine, f"computes no metric, but {users[0]} saves or logs one{and_more(users)}"
            )
        else:
            yield from unsaved


def _is_a(kind: type, candidate: Any) -> bool:
    return inspect.isclass(candidate) and issubclass(candidate, kind)


def _defined(
    identifier: str, engine: Mapping[str, Any], values: Values, targets: Targets
) -> list[str] | None:
    """Return the names of an engine's metrics, the key metric first; None if they cannot be determined."""
    handlers = _handlers(identifier, values)
    known = ("monai.", "ignite.", "segpipe.")
    if not targets.find(engine["_target_"]).__module__.startswith(known) or handlers is None:
        return None
    for _, handler in handlers:  # a handler from elsewhere may compute any metric
        target = targets.find(handler.get("_target_")) if isinstance(handler, dict) else None
        if not str(getattr(target, "__module__", "")).startswith(known):
            return None
    names: list[str] = []
    for argument in (*_KEY_METRICS, "additional_metrics"):
        if engine.get(argument) is None:
            continue
        _, content = values.written_at(f"{identifier}::{argument}")
        if content is None:
            continue
        if not isinstance(content, dict) or "_target_" in content:
            return None
        if (
            argument != "additional_metrics" or names
        ):  # without a key metric, MONAI ignores additional metrics
            names += [name for name, metric in content.items() if not _is_disabled(metric, values)]
    return names


def _is_disabled(component: Any, values: Values) -> bool:
    return isinstance(component, dict) and values.of(component.get("_disabled_", False)) is True


def _handlers(engine: str, values: Values) -> list[tuple[str, Any]] | None:
    """Return id and content of an engine's handlers; None if they cannot be determined."""
    for argument in _HANDLERS:
        if values.has(f"{engine}::{argument}") and values.at(f"{engine}::{argument}") is not None:
            listed = values.listed(f"{engine}::{argument}")
            return None if listed is None else list(listed)
    return []


def _unsaved(
    identifier: str,
    handler: Mapping[str, Any],
    engine: str,
    defined: list[str],
    values: Values,
    targets: Targets,
) -> Iterator[ConfigFinding]:
    """Find metrics that a handler shall save or follow, but its engine does not compute."""
    kind = targets.find(handler["_target_"])
    where = f"of {written(engine)}"
    if _is_a(SaveBest, kind) or (
        _is_a(CheckpointSaver, kind)
        and values.of(handler.get("save_key_metric", False)) is True
        and handler.get("key_metric_name") is None
    ):
        if not defined:
            yield ConfigFinding(
                identifier, f"saves the best weights by the key metric {where}, which has no key metric"
            )
        return
    for argument in _named_by(kind):
        names = values.of(handler.get(argument, _default(kind, argument)))
        for name in [names] if isinstance(names, str) else names if isinstance(names, list) else ():
            known = {*defined, *(_OWN if kind is ValidationScalars else ())}
            place = f"{identifier}::{argument}" if argument in handler else identifier
            if (name == _EVERY and not defined) or (name != _EVERY and name not in known):
                yield ConfigFinding(
                    place,
                    f"names {name}, which is no metric {where}{hint(nearest(str(name), defined))}",
                )


def _former_arguments(
    identifier: str, handler: Mapping[str, Any], targets: Targets
) -> Iterator[ConfigFinding]:
    """Find a score table in the form of an earlier segpipe."""
    is_table = _is_a(ScoreTable, targets.find(handler.get("_target_")))
    if is_table and ("metric" in handler or "cases" not in handler):
        place = f"{identifier}::metric" if "metric" in handler else identifier
        yield ConfigFinding(place, FORMER_ARGUMENTS)


def _named_by(kind: Any) -> tuple[str, ...]:
    """Return the arguments of a handler that name metrics."""
    arguments: dict[type, tuple[str, ...]] = {
        CheckpointSaver: ("key_metric_name",),
        MetricsSaver: ("metrics", "metric_details"),
        ValidationScalars: ("metric",),
    }
    return next((names for known, names in arguments.items() if _is_a(known, kind)), ())


def _default(kind: Callable[..., Any], argument: str) -> Any:
    return inspect.signature(kind).parameters[argument].default


def _unread(
    identifier: str,
    handler: Mapping[str, Any],
    engine: str,
    metrics: Mapping[str, list[str] | None],
    values: Values,
) -> Iterator[ConfigFinding]:
    """Find metrics that a handler's expressions read, but its engine does not compute."""
    for part, text in strings(handler, identifier):
        if not text.startswith("$"):
            continue
        try:
            tree = expression_tree(text)
        except (SyntaxError, ValueError):
            continue
        for whose, name in _read_metrics(tree):
            defined = metrics.get(values.written_at(whose)[0] if whose else engine)
            if defined is not None and name not in {*defined, *_OWN}:
                where = written(whose or engine)
                yield ConfigFinding(
                    part, f"reads {name}, which is no metric of {where}{hint(nearest(name, defined))}"
                )


def _read_metrics(tree: ast.AST) -> Iterator[tuple[str | None, str]]:
    """Yield engine and name of each metric that an expression reads; the engine is None without a reference."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(
                value=ast.Attribute(value=ast.Attribute(value=whole, attr="state"), attr="metrics"),
                slice=ast.Constant(value=str(name)),
            ):
                yield reference_of(whole), name
            case ast.Call(
                func=ast.Attribute(attr="stopping_fn_from_metric"), args=[ast.Constant(value=str(name)), *_]
            ):
                yield None, name

"""Check a manifest against manifest.schema.json, with readable errors."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

from segpipe.errors import SegpipeError
from segpipe.names import name_problem, path_problem, text_problem

MOST_CASES = 200_000
"""Largest number of cases in a manifest; checking so many takes a minute, and the JSON bound alone allows many more."""
_ERRORS_SHOWN, _ERRORS_COUNTED = 10, 1000
_SHOWN = 200  # characters of a name or of a schema's error, which may quote the whole file


def require_schema(content: Any, where: str) -> dict[str, Any]:
    """Check that a manifest's JSON content follows the schema, and return it.

    Args:
        content: result of `json.load`.
        where: the file's name, for messages.

    Raises:
        SegpipeError: the content breaks the schema, or lists more than `MOST_CASES` cases; the message starts with
            `where` and names the first places in the file.
    """
    _refuse_many_cases(content, where)
    errors = sorted(_first_errors(content), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        lines = [f"{_cut(error.json_path)}: {_reason(error)}" for error in errors[:_ERRORS_SHOWN]]
        more = f"; and {len(errors) - _ERRORS_SHOWN} more" if len(errors) > _ERRORS_SHOWN else ""
        raise SegpipeError(f"{where}: not a segpipe manifest or MSD dataset.json: {'; '.join(lines)}{more}")
    return dict(content)


def _first_errors(content: Any) -> Iterator[jsonschema.ValidationError]:
    """Yield the first errors, up to a fixed number or up to an error about too many items or properties."""
    for error in itertools.islice(_validator().iter_errors(content), _ERRORS_COUNTED):
        yield error
        if error.validator in ("maxItems", "maxProperties"):
            return


def _refuse_many_cases(content: Any, where: str) -> None:
    for key in ("training", "test"):
        cases = content.get(key) if isinstance(content, dict) else None
        if isinstance(cases, list) and len(cases) > MOST_CASES:
            raise SegpipeError(
                f"{where}: $.{key} lists {len(cases)} cases; must be at most {MOST_CASES}: make several manifests"
            )


def _reason(error: jsonschema.ValidationError) -> str:
    """Return the reason of an error; for a refused name a sentence instead of the pattern."""
    if error.validator == "pattern":
        name = str(error.instance)
        reason = text_problem(name) or name_problem(name) or path_problem(name)
        if reason:
            return f"{_cut(repr(name))} {reason}"
    quoted = repr(error.instance)
    if error.message.startswith(quoted):
        return _cut(quoted) + error.message.removeprefix(quoted)[:_SHOWN]
    return _cut(error.message)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@functools.cache
def _validator() -> jsonschema.Draft7Validator:
    schema = json.loads(Path(__file__).with_name("manifest.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(_without_references(schema, schema["$defs"]))


def _without_references(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema with its references replaced by the definitions, since looking them up dominates a check."""
    if isinstance(schema, list):
        return [_without_references(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    resolved = {
        key: _without_references(part, definitions)
        for key, part in schema.items()
        if key not in ("$ref", "$defs")
    }
    if "$ref" not in schema:
        return resolved
    name = schema["$ref"].removeprefix("#/$defs/")
    return {**resolved, "allOf": [_without_references(definitions[name], definitions)]}

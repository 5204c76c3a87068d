"""Checks a manifest against manifest.schema.json, and words the errors."""

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
"""Cases of a manifest: checking so many takes a minute, and a file within its bound could list a hundred times more."""
_ERRORS_SHOWN, _ERRORS_COUNTED = 10, 1000
_SHOWN = 200  # characters of a name, or of a schema's error, which quotes what it refuses: that can be the whole file


def require_schema(content: Any, where: str) -> dict[str, Any]:
    """Return a manifest's JSON content, having made sure that it follows the schema.

    Args:
        content: what `json.load` returned.
        where: the file's name, for messages.

    Raises:
        SegpipeError: it breaks the schema, or lists more than `MOST_CASES` cases; one message that starts with `where`
            and names the first places in the file.
    """
    _refuse_many_cases(content, where)
    errors = sorted(_first_errors(content), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        lines = [f"{_cut(error.json_path)}: {_reason(error)}" for error in errors[:_ERRORS_SHOWN]]
        more = f"; and {len(errors) - _ERRORS_SHOWN} more" if len(errors) > _ERRORS_SHOWN else ""
        raise SegpipeError(f"{where}: not a segpipe manifest or MSD dataset.json: {'; '.join(lines)}{more}")
    return dict(content)


def _first_errors(content: Any) -> Iterator[jsonschema.ValidationError]:
    """Yield the errors up to a number, or up to something that is too large to look into."""
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
    """Return what is wrong at a place; of a name that is refused the reason in words, not the pattern."""
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
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(Path(__file__).with_name("manifest.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(_without_references(schema, schema["$defs"]))


def _without_references(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema with its definitions written out: looking them up takes most of the time of a check."""
    if isinstance(schema, list):
        return [_without_references(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    own = {
        key: _without_references(part, definitions)
        for key, part in schema.items()
        if key not in ("$ref", "$defs")
    }
    if "$ref" not in schema:
        return own
    name = schema["$ref"].removeprefix("#/$defs/")
    return {**own, "allOf": [_without_references(definitions[name], definitions)]}

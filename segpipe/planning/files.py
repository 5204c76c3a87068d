"""The files of a planned bundle: YAML from text templates, which keep their comments, metadata and card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import yaml

from segpipe.planning.plans import Plan, PlannedValue

_TEMPLATES = Path(__file__).with_name("templates")
_COMMENT_COLUMN = 37
_WIDEST = 10**6


def rendered(name: str, plan: Plan, values: dict[str, Any]) -> str:
    """Return the text of a file.

    Args:
        name: of the template, its path below `templates`.
        plan: of the bundle.
        values: what the template asks for beside it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  # YAML and Markdown
    )
    numbers = {**plan.numbers, **values.get("further_numbers", {})}
    return environment.get_template(name).render(
        **values,
        numbers=plan.numbers,
        line=lambda key: _line(key, numbers[key]),
        value=lambda key: _text(numbers[key].value),
        text=_text,
    )


def _line(name: str, number: PlannedValue) -> str:
    return f"{name}: {_text(number.value)}".ljust(_COMMENT_COLUMN - 1) + f" # {number.why}"


def _text(value: Any) -> str:
    """Return a value as YAML has it, in one line."""
    dumped = yaml.safe_dump(value, default_flow_style=True, width=_WIDEST, allow_unicode=True)
    return dumped.removesuffix("\n").removesuffix("...").removesuffix("\n")


def as_json(content: dict[str, Any]) -> str:
    """Return a file's content as indented JSON."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

"""The files of a bundle: YAML from text templates with comments, metadata and documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jinja2
import yaml

from segpipe.errors import SegpipeError
from segpipe.planning.experiment import LITERALS, Experiment
from segpipe.planning.plans import PlannedValue

TEMPLATES = Path(__file__).with_name("templates")
_COMMENT_COLUMN = 37
_WIDEST = 10**6
_INFERENCE_IDS = {
    *("spacing_mm", "window_hu", "intensity", "slice_size", "window_size", "overlap", "precision"),
    *("widths", "stages", "norm", "norm_last", "dropout", "conv", "attention"),
    *("filters", "kernel_size", "strides", "upsample_kernel_size", "blocks", "deep_supervision"),
}


def rendered(
    name: str,
    experiment: Experiment,
    further: Mapping[str, Any] | None = None,
    more_templates: Path | None = None,
) -> str:
    """Return the text of a file.

    Args:
        name: path of the template below `TEMPLATES` or `more_templates`.
        experiment: experiment of the bundle.
        further: variables that this template needs beside the experiment's attributes; `overlay` is a mapping from ids
            to the numbers of an overlay.
        more_templates: a second folder of templates.

    Raises:
        SegpipeError: the template needs a number that the experiment lacks.
    """
    further = further or {}
    ids = {
        **experiment.numbers,
        **experiment.run,
        **experiment.inference_numbers,
        "from_weights": experiment.from_weights,
        **further.get("overlay", {}),
    }

    def entry(key: str, number: str, *, why: bool = True) -> str:
        """Return `key: "@number"` where the experiment has such an id, else the key with the literal."""
        if number in experiment.numbers:
            return f'{key}: "@{number}"'
        literal = experiment.literals.get(number, LITERALS.get(number))
        if literal is None:
            raise SegpipeError(
                f"{name}: the experiment has neither an id nor a literal {number}; add one of them"
            )
        return _line(key, literal if why else PlannedValue(literal.value, ""))

    return (
        _environment(more_templates)
        .get_template(name)
        .render(
            **{one.name: getattr(experiment, one.name) for one in fields(experiment)},
            **further,
            slices_of_volumes=experiment.spatial_dims == 3 and experiment.dims == 2,
            shared=[number for number in experiment.numbers if number in _INFERENCE_IDS],
            line=lambda number: _line(number, ids[number]),
            value=lambda number: _text(ids[number].value),
            text=_text,
            entry=entry,
        )
    )


def template_text(
    name: str,
    ids: Mapping[str, PlannedValue],
    variables: Mapping[str, Any],
    more_templates: Path | None = None,
) -> str:
    """Return the text of a template that needs ids and plain variables alone.

    Args:
        name: path of the template below `TEMPLATES` or `more_templates`.
        ids: id -> number; `line(id)` in the template is its line of YAML.
        variables: of the template.
        more_templates: a second folder of templates.
    """
    template = _environment(more_templates).get_template(name)
    text: str = template.render(**variables, text=_text, line=lambda number: _line(number, ids[number]))
    return text


def _environment(more_templates: Path | None = None) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([TEMPLATES, *([] if more_templates is None else [more_templates])]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  # YAML and Markdown
    )


def _line(name: str, number: PlannedValue) -> str:
    text = f"{name}: {_text(number.value)}"
    if not number.why:
        return text
    return (
        f"{text.ljust(_COMMENT_COLUMN)}# {number.why}"
        if len(text) < _COMMENT_COLUMN
        else f"{text}   # {number.why}"
    )


def _text(value: Any) -> str:
    """Return a value as one line of YAML."""
    dumped = yaml.safe_dump(
        value, default_flow_style=True, width=_WIDEST, allow_unicode=True, sort_keys=False
    )
    return dumped.removesuffix("\n").removesuffix("...").removesuffix("\n")


def as_json(content: dict[str, Any]) -> str:
    """Return a file's content as indented JSON."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

"""All that a configuration would run and that segpipe cannot vouch for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from segpipe.bundle.audit.components import Components
from segpipe.bundle.audit.expressions import Expressions, holds_import, is_import
from segpipe.bundle.audit.texts import text_problem
from segpipe.bundle.checks.finding import Finding
from segpipe.bundle.checks.modules import Modules
from segpipe.bundle.checks.references import strings
from segpipe.bundle.checks.values import Values


def configuration_problems(
    configuration: Mapping[str, Any], folders: Sequence[Path], own: Collection[str] = ()
) -> Iterator[Finding]:
    """Find what a configuration would run beyond the list of safe callables and plain expressions.

    Args:
        configuration: with macros and relative ids resolved; nothing of it is run.
        folders: below which a run may write; the first is the bundle's.
        own: ids that the user has set on the command line, which are not judged.

    Yields:
        a finding for each value.
    """
    settings = {name: value for name, value in configuration.items() if name != ConfigParser.meta_key}
    modules = Modules()
    found = [
        *_expression_problems(settings, modules),
        *_text_problems(settings),
        *Components(settings, modules, folders).findings(),
    ]
    for finding in found:
        if not any(finding.identifier == name or finding.identifier.startswith(f"{name}::") for name in own):
            yield finding


def _expression_problems(settings: Mapping[str, Any], modules: Modules) -> Iterator[Finding]:
    expressions = Expressions(settings, modules)
    texts = [(identifier, text) for identifier, text in strings(settings) if text.startswith("$")]
    imports = [(identifier, text) for identifier, text in texts if is_import(text)]
    for identifier, text in imports:
        problem = expressions.note_import(text)
        if problem is not None:
            yield Finding(identifier, problem)
    for identifier, text in texts:
        if (identifier, text) not in imports:
            for problem in expressions.problems(identifier, text):
                yield Finding(identifier, problem)


def _text_problems(settings: Mapping[str, Any]) -> Iterator[Finding]:
    values = Values(settings)
    for identifier, text in strings(settings):
        if text.startswith("@"):
            if holds_import(values.at(text[1:])):
                yield Finding(identifier, f"uses the import {text} as a value")
        elif text.startswith("%"):
            yield Finding(identifier, f"copies {text}, which cannot be read without running the bundle")
        elif not text.startswith("$") and identifier.rpartition("::")[2] not in ("_target_", "_desc_"):
            problem = text_problem(text, identifier)
            if problem is not None:
                yield Finding(identifier, problem)

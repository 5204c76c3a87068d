"""Judges a whole configuration: everything that it would run and that segpipe cannot check."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from segpipe.configuration.audit.components import Components
from segpipe.configuration.audit.expressions import Expressions, Imports, is_import
from segpipe.configuration.audit.texts import quoted, text_problem
from segpipe.configuration.finding import ConfigFinding
from segpipe.configuration.modules import Modules
from segpipe.configuration.references import contents, strings
from segpipe.configuration.values import Values


def configuration_problems(
    configuration: Mapping[str, Any],
    written: Sequence[Path],
    read: Sequence[Path] = (),
    user_ids: Collection[str] = (),
) -> Iterator[ConfigFinding]:
    """Find everything that a configuration would run beyond the list of safe callables and plain expressions.

    Args:
        configuration: with its metadata, with macros and relative ids resolved; nothing of it is run.
        written: folders below which a run may write; the first is the bundle's.
        read: further folders and files that a run may read.
        user_ids: ids that the user sets on the command line, which are not judged.

    Yields:
        one finding per value.
    """
    modules = Modules()
    findings = [
        *_key_problems(configuration),
        *_expression_problems(configuration, modules),
        *_text_problems(configuration),
        *Components(configuration, modules, written, read).findings(),
    ]
    for finding in findings:
        if not any(
            finding.identifier == name or finding.identifier.startswith(f"{name}::") for name in user_ids
        ):
            yield finding


def _key_problems(settings: Mapping[str, Any]) -> Iterator[ConfigFinding]:
    """Find keys that give an id two values: MONAI may take another value than the visible one."""
    for identifier, value in [("", settings), *contents(settings)]:
        if isinstance(value, dict):
            names = [str(key) for key in value]
            for name in names:
                if not name or "::" in name or "#" in name or names.count(name) > 1:
                    yield ConfigFinding(identifier, f"has the key {quoted(name)}, which is no part of an id")


def _expression_problems(settings: Mapping[str, Any], modules: Modules) -> Iterator[ConfigFinding]:
    expressions = Expressions(settings, modules)
    texts = [(identifier, text) for identifier, text in strings(settings) if text.startswith("$")]
    imports = [(identifier, text) for identifier, text in texts if is_import(text)]
    for identifier, text in imports:
        problem = expressions.note_import(text)
        if problem is not None:
            yield ConfigFinding(identifier, problem)
    for identifier, text in texts:
        if (identifier, text) not in imports:
            for problem in expressions.problems(identifier, text):
                yield ConfigFinding(identifier, problem)


def _text_problems(settings: Mapping[str, Any]) -> Iterator[ConfigFinding]:
    values = Values(settings)
    imports = Imports(values)
    for identifier, text in strings(settings):
        name = identifier.rpartition("::")[2]
        if text.startswith("@"):
            if not ReferenceResolver.id_matcher.fullmatch(text) or not values.has(text[1:]):
                yield ConfigFinding(identifier, f"is {quoted(text)}, which refers to nothing")
            elif imports.are_at(text[1:]):
                yield ConfigFinding(identifier, f"uses the import {text} as a value")
        elif text.startswith("%"):
            yield ConfigFinding(identifier, f"copies {text}, which cannot be read without running the bundle")
        elif not text.startswith("$") and name not in ("_target_", "_desc_") and not _is_metadata(identifier):
            problem = text_problem(text, identifier)
            if problem is not None:
                yield ConfigFinding(identifier, problem)


def _is_metadata(identifier: str) -> bool:
    """Return whether a text describes the bundle; no program opens an address or a path in it."""
    return identifier.partition("::")[0] == str(ConfigParser.meta_key)

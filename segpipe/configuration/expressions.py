"""Finds `$` expressions that are not valid Python, or use names that nothing defines."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from segpipe.configuration.finding import ConfigFinding, and_more, hint, nearest
from segpipe.configuration.modules import Modules, NotImportable, is_module, names_of
from segpipe.configuration.references import strings
from segpipe.configuration.values import REFERENCES, expression_tree

_BY_MONAI = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}


@dataclass
class _Names:
    """The names that expressions can use.

    Attributes:
        finder: finds the object of a dotted name.
        modules: imported name -> its object, see `Modules.find`.
        failed: name -> why its import fails.
        ids: ids at the top level of the configuration.
    """

    finder: Modules
    modules: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    def note(self, identifier: str, statement: ast.Import | ast.ImportFrom) -> Iterator[ConfigFinding]:
        """Record the names that an import statement defines, by MONAI's rules: only the first, and `a.b` as one name.

        Yields:
            a finding where the import would end the run.
        """
        alias = statement.names[0]
        name = alias.asname or alias.name
        path = alias.name if isinstance(statement, ast.Import) else f"{statement.module}.{alias.name}"
        imported = self.finder.find(path)
        if isinstance(imported, NotImportable):
            self.failed[name] = imported.reason
            if imported.ends_run:
                yield ConfigFinding(
                    identifier, f"imports {path}, which cannot be imported: {imported.reason}"
                )
        elif imported is None:
            self.failed[name] = f"ModuleNotFoundError: No module named {path!r}"
        else:
            self.modules[name] = imported


def expression_findings(configuration: Mapping[str, Any], modules: Modules) -> Iterator[ConfigFinding]:
    """Find expressions that cannot be evaluated, without evaluating any.

    Args:
        configuration: without the metadata.
        modules: finds the object of a dotted name.
    """
    names = _Names(modules, ids=tuple(configuration))
    for name, module in _BY_MONAI.items():
        names.modules[name] = modules.find(module)
    trees = []
    for identifier, text in strings(configuration):
        if not text.startswith("$"):
            continue
        try:
            statements = expression_tree(text).body
        except (SyntaxError, ValueError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            yield ConfigFinding(identifier, f"is no Python expression: {reason}: {text}")
            continue
        if statements and isinstance(statements[0], ast.Import | ast.ImportFrom):
            yield from names.note(identifier, statements[0])
        elif len(statements) != 1 or not isinstance(statements[0], ast.Expr):
            yield ConfigFinding(
                identifier, f"is no Python expression: it must be one value or one import: {text}"
            )
        else:
            trees.append((identifier, statements[0]))
    users: dict[str, list[str]] = {}
    for identifier, tree in trees:
        for what in _unknown_names(tree, names):
            users.setdefault(what, []).append(identifier)
    for what, identifiers in users.items():
        yield ConfigFinding(identifiers[0], f"uses {what}{and_more(identifiers)}")


def _unknown_names(tree: ast.AST, names: _Names) -> Iterator[str]:
    """Yield the end of a sentence about each undefined name."""
    bound = {argument.arg for argument in ast.walk(tree) if isinstance(argument, ast.arg)}
    bound |= {node.id for node in _names_in(tree) if not isinstance(node.ctx, ast.Load)}
    used = [node.id for node in _names_in(tree) if node.id not in bound | {REFERENCES}]
    for name in dict.fromkeys(used):
        if name in names.failed:
            yield f"{name}, which cannot be imported: {names.failed[name]}"
        elif name not in names.modules and not hasattr(builtins, name):
            meant = f"@{name}" if name in names.ids else nearest(name, sorted(names.modules))
            what = f"{name}, which is neither imported nor a reference"
            yield f"{what}{hint(meant, f'add `$import {name}` to imports')}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            whole = _module_of(node.value, names, bound)
            if is_module(whole) and names.finder.part(whole, node.attr) is None:
                yield f"{ast.unparse(node)}, which is not there{hint(nearest(node.attr, names_of(whole)))}"


def _names_in(tree: ast.AST) -> Iterator[ast.Name]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Name))


def _module_of(node: ast.expr, names: _Names, bound: set[str]) -> Any:
    """Return the module that a dotted name stands for; None if it is not a module."""
    module: Any = None
    if isinstance(node, ast.Name) and node.id not in bound:
        module = names.modules.get(node.id)
    elif isinstance(node, ast.Attribute):
        whole = _module_of(node.value, names, bound)
        module = None if whole is None else names.finder.part(whole, node.attr)
    return module if is_module(module) else None

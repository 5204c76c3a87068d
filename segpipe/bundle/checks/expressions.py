"""`$` expressions that are no Python, or use names that nothing imports."""

from __future__ import annotations

import ast
import builtins
import importlib
import pkgutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from segpipe.bundle.checks.finding import Finding, and_more, hint, nearest
from segpipe.bundle.checks.references import strings
from segpipe.bundle.checks.values import REFERENCES, expression_tree

_BY_MONAI = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}


@dataclass
class _Names:
    """What expressions can use.

    Attributes:
        modules: name -> what it stands for, as far as it can be imported.
        failed: name -> why it cannot be.
        ids: of the configuration, at the top.
    """

    modules: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    def note(self, statement: ast.Import | ast.ImportFrom) -> None:
        """Import what a statement does, as MONAI does it: the first name alone, and `a.b` under just that name."""
        alias = statement.names[0]
        name = alias.asname or alias.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if isinstance(statement, ast.Import):
                    self.modules[name] = importlib.import_module(alias.name)
                else:
                    self.modules[name] = _part(importlib.import_module(str(statement.module)), alias.name)
            except Exception as error:  # a module of the bundle's can raise anything
                self.failed[name] = f"{type(error).__name__}: {error}"


def _part(module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        return importlib.import_module(f"{module.__name__}.{name}")
    return getattr(module, name)


def expression_findings(configuration: Mapping[str, Any]) -> Iterator[Finding]:
    """Find expressions that cannot be evaluated; modules are imported for that, nothing is evaluated.

    Args:
        configuration: without the metadata.
    """
    names = _Names(ids=tuple(configuration))
    for name, module in _BY_MONAI.items():
        names.modules[name] = importlib.import_module(module)
    trees = []
    for identifier, text in strings(configuration):
        if not text.startswith("$"):
            continue
        try:
            statements = expression_tree(text).body
        except (SyntaxError, ValueError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            yield Finding(identifier, f"is no Python expression: {reason}: {text}")
            continue
        if statements and isinstance(statements[0], ast.Import | ast.ImportFrom):
            names.note(statements[0])
        elif len(statements) != 1 or not isinstance(statements[0], ast.Expr):
            yield Finding(identifier, f"is no Python expression: it must be one value or one import: {text}")
        else:
            trees.append((identifier, statements[0]))
    users: dict[str, list[str]] = {}
    for identifier, tree in trees:
        for what in _unknown_names(tree, names):
            users.setdefault(what, []).append(identifier)
    for what, identifiers in users.items():
        yield Finding(identifiers[0], f"uses {what}{and_more(identifiers)}")


def _unknown_names(tree: ast.AST, names: _Names) -> Iterator[str]:
    """Yield each name that stands for nothing, with why."""
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
            if whole is not None and not _has(whole, node.attr):
                meant = nearest(node.attr, sorted(name for name in dir(whole) if not name.startswith("_")))
                yield f"{ast.unparse(node)}, which is not there{hint(meant)}"


def _names_in(tree: ast.AST) -> Iterator[ast.Name]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Name))


def _module_of(node: ast.expr, names: _Names, bound: set[str]) -> ModuleType | None:
    """Return the module that a dotted name stands for; None where it is anything else."""
    found: Any = None
    if isinstance(node, ast.Name) and node.id not in bound:
        found = names.modules.get(node.id)
    elif isinstance(node, ast.Attribute):
        whole = _module_of(node.value, names, bound)
        found = None if whole is None else getattr(whole, node.attr, None)
    return found if isinstance(found, ModuleType) else None


def _has(module: ModuleType, name: str) -> bool:
    """Whether a module has an attribute, or a submodule that an import elsewhere would make one."""
    inner = pkgutil.iter_modules(getattr(module, "__path__", ()))
    return hasattr(module, name) or any(found.name == name for found in inner)

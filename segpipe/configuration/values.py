"""The values of a configuration, as far as they are known without running its code."""

from __future__ import annotations

import ast
import operator
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ReferenceResolver

UNKNOWN = object()
REFERENCES = "__references"
_DEEPEST = 100  # references and parts of expressions inside each other
_DEEPEST_TREE = 100
# calls without side effects, which read nothing more than whether a file exists
HARMLESS: dict[str, Callable[..., Any]] = {
    "Path": Path,
    "str": str,
    **{name: getattr(os.path, name) for name in ("join", "dirname", "basename", "abspath", "realpath")},
    **{name: getattr(os.path, name) for name in ("exists", "isfile", "isdir", "expanduser", "normpath")},
}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Div: operator.truediv,
}


_MOST = 10_000  # values and characters of a result; a larger result is UNKNOWN


def expression_tree(text: str) -> ast.Module:
    """Return the syntax tree of an expression; references are items of `REFERENCES`.

    Args:
        text: with its leading `$`.

    Raises:
        SyntaxError: the text is not valid Python, or is too long or too deep.
    """
    if len(text) > _MOST:
        raise SyntaxError(f"it has {len(text)} characters")
    named: str = ReferenceResolver.id_matcher.sub(
        lambda match: f"{REFERENCES}['{match.group()[1:]}']", ReferenceResolver.normalize_id(text[1:])
    )
    try:
        tree = ast.parse(named)
    except (RecursionError, MemoryError):
        raise SyntaxError("it is nested too deeply") from None
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST_TREE):
        level = [inner for node in level for inner in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise SyntaxError("it is nested too deeply")


def reference_of(node: ast.AST) -> str | None:
    """Return the id that a node of such a tree refers to; None if the node is not a reference."""
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == REFERENCES
        and isinstance(node.slice, ast.Constant)
    ):
        return str(node.slice.value)
    return None


class Values:
    """Computes values of a configuration: literals, references, and joined texts, lists and paths.

    Python never evaluates an expression; segpipe reads its syntax tree node by node. Anything but literals and a few
    harmless calls is `UNKNOWN`; so is a component.

    Args:
        configuration: with macros and relative ids resolved.
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._configuration = configuration
        self._known: dict[str, Any] = {}
        self._lists: dict[str, list[tuple[str, Any]] | None] = {}
        self._open_lists = 0  # lists that are being computed, each a part of the one before

    def at(self, identifier: str) -> Any:
        """Return the value of an id as written; None if there is none."""
        value: Any = self._configuration
        for part in identifier.split("::"):
            if isinstance(value, dict) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                return None
        return value

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return the value that MONAI would compute, or UNKNOWN."""
        if depth > _DEEPEST:  # the value refers to itself
            return UNKNOWN
        if isinstance(value, str) and value.startswith("@"):
            return self._of_reference(value[1:], depth)
        if isinstance(value, str) and value.startswith("$"):
            return self._of_expression(value, depth)
        if isinstance(value, list):
            items = [self.of(item, depth + 1) for item in value]
            return UNKNOWN if any(item is UNKNOWN for item in items) else items
        if isinstance(value, dict):
            return UNKNOWN
        return value

    def _of_reference(self, identifier: str, depth: int) -> Any:
        """Return the value of an id; it is computed once, since chains of references may double at each step."""
        if identifier not in self._known:
            self._known[identifier] = UNKNOWN  # for a reference to itself, while the value is computed
            if self.has(identifier):
                self._known[identifier] = self.of(self.at(identifier), depth + 1)
        return self._known[identifier]

    def has(self, identifier: str) -> bool:
        """Return whether the id exists."""
        parent, _, last = identifier.rpartition("::")
        whole = self.at(parent) if parent else self._configuration
        if isinstance(whole, list):
            return last.isdecimal() and int(last) < len(whole)
        return isinstance(whole, Mapping) and last in whole

    def written_at(self, identifier: str) -> tuple[str, Any]:
        """Follow plain references; return the last id and its value as written."""
        value = self.at(identifier)
        for _ in range(_DEEPEST):
            if not (isinstance(value, str) and value.startswith("@") and self.has(value[1:])):
                break
            identifier, value = value[1:], self.at(value[1:])
        return identifier, value

    def listed(self, identifier: str) -> Iterator[tuple[str, Any]] | None:
        """Return id and value of each item of a list, or of a sum of lists; None if the items are not known."""
        if identifier not in self._lists:
            self._lists[identifier] = None  # for a reference to itself, while the list is computed
            self._open_lists += 1
            if self._open_lists <= _DEEPEST:
                self._lists[identifier] = self._listed(identifier)
            self._open_lists -= 1
        known = self._lists[identifier]
        return None if known is None else iter(known)

    def _listed(self, identifier: str) -> list[tuple[str, Any]] | None:
        identifier, value = self.written_at(identifier)
        if isinstance(value, list):
            return [self.written_at(f"{identifier}::{position}") for position in range(len(value))]
        if isinstance(value, str) and value.startswith("$"):
            items: list[tuple[str, Any]] = []
            for name in (names := _added(value) or []):
                part = self.listed(name)
                if part is None or len(items) > _MOST:
                    return None
                items += part
            return items if names else None
        return None

    def _of_expression(self, text: str, depth: int) -> Any:
        try:
            (statement,) = expression_tree(text).body
        except (SyntaxError, ValueError):
            return UNKNOWN
        return self._of_node(statement.value, depth) if isinstance(statement, ast.Expr) else UNKNOWN

    def _of_node(self, node: ast.expr, depth: int) -> Any:
        name = reference_of(node)
        if name is not None:
            return self.of(f"@{name}", depth + 1)
        return self._of_parts(node, depth) if depth <= _DEEPEST else UNKNOWN

    def _of_parts(self, node: ast.expr, depth: int) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return _applied(
                    lambda *values: list(values), *(self._of_node(item, depth + 1) for item in items)
                )
            case ast.JoinedStr(values=parts):
                return _applied(
                    lambda *texts: "".join(map(str, texts)),
                    *(self._of_node(part, depth + 1) for part in parts),
                )
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return self._of_node(value, depth + 1)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _applied(operator.not_, self._of_node(operand, depth + 1))
            case ast.BinOp(left=left, op=how, right=right) if type(how) in _OPERATORS:
                return _applied(
                    _OPERATORS[type(how)], self._of_node(left, depth + 1), self._of_node(right, depth + 1)
                )
            case ast.Call(func=function, args=arguments, keywords=[]):
                call = HARMLESS.get(ast.unparse(function).removeprefix("os.path.").removeprefix("pathlib."))
                if call is not None:
                    return _applied(call, *(self._of_node(argument, depth + 1) for argument in arguments))
        return self._of_choice(node, depth)

    def _of_choice(self, node: ast.expr, depth: int) -> Any:
        if not isinstance(node, ast.IfExp):
            return UNKNOWN
        condition = self._of_node(node.test, depth + 1)
        if condition is UNKNOWN:
            return UNKNOWN
        return self._of_node(node.body if condition else node.orelse, depth + 1)


def _applied(function: Callable[..., Any], *values: Any) -> Any:
    if any(value is UNKNOWN for value in values) or _is_large(values):
        return UNKNOWN
    try:
        return function(*values)
    except (TypeError, ValueError, OSError, ArithmeticError):
        return UNKNOWN


def _is_large(value: Any) -> bool:
    """Return whether a value is larger than any path or list of a configuration; a repeated part counts again."""
    waiting, count = [value], 0
    while waiting and count <= _MOST:
        item = waiting.pop()
        count += len(item) if isinstance(item, str) else 1
        if isinstance(item, list | tuple):
            waiting += item
    return count > _MOST


def _added(text: str) -> list[str] | None:
    """Return the ids in `$@a + @b`; None for any other expression."""
    try:
        (statement,) = expression_tree(text).body
    except (SyntaxError, ValueError):
        return None
    nodes = [statement.value] if isinstance(statement, ast.Expr) else []
    names: list[str] = []
    while nodes:
        node = nodes.pop()
        name = reference_of(node)
        if name is not None:
            names.append(name)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            nodes += [node.right, node.left]
        else:
            return None
    return names

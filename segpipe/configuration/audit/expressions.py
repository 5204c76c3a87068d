"""Judges `$` expressions: a bundle may evaluate a plain subset of Python without the user's consent."""

from __future__ import annotations

import ast
import builtins
import enum
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from segpipe.configuration.audit.callables import Allowed, allowed_arguments
from segpipe.configuration.audit.texts import quoted, text_problem
from segpipe.configuration.components import Targets
from segpipe.configuration.modules import Modules
from segpipe.configuration.values import HARMLESS, REFERENCES, Values, expression_tree, reference_of

IMPORTED_BY_MONAI = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}
_IMPORTS = frozenset(
    {"glob", "ignite", "json", "math", "monai", "numpy", "os", "pathlib", "segpipe", "torch"}
)
"""Packages whose modules may be imported; another list says what an expression may use of them."""

_CALLS = frozenset(
    {
        *("glob.glob", "math.ceil", "math.floor", "math.log2", "math.prod", "math.sqrt"),
        *("monai.data.load_decathlon_datalist", "monai.data.partition_dataset"),
        *("monai.handlers.from_engine", "monai.utils.set_determinism"),
        *("os.path.basename", "os.path.dirname", "os.path.exists", "os.path.isfile", "os.path.join"),
        *("torch.cuda.device_count", "torch.cuda.is_available", "torch.cuda.set_device"),
        *("torch.device", "torch.tensor"),
        *("torch.distributed.destroy_process_group", "torch.distributed.get_rank"),
        *("torch.distributed.get_world_size", "torch.distributed.init_process_group"),
        "torch.distributed.is_initialized",
    }
)
_FUNCTIONS = frozenset(
    {
        *("monai.data.list_data_collate", "monai.data.utils.list_data_collate"),
        *("monai.data.pad_list_data_collate", "monai.data.utils.pad_list_data_collate"),
        *("monai.data.utils.no_collation", "segpipe.losses.median_frequency_weights"),
        *("segpipe.losses.balanced_class_weights", "segpipe.losses.finding_weights"),
    }
)
"""Functions that an expression may pass on without calling them."""
_BUILTINS = frozenset(
    {
        *("abs", "bool", "dict", "enumerate", "float", "int", "len", "list", "max", "min", "range", "round"),
        *("set", "sorted", "str", "sum", "tuple", "zip"),
    }
)
_METHODS = frozenset(
    {
        *("to", "parameters", "run", "state_dict", "keys", "values", "items", "get"),
        *("endswith", "lower", "replace", "startswith", "upper"),
    }
)
_ATTRIBUTES = frozenset(
    {
        *("about", "calibration", "cases", "channel_names", "file_values", "folder", "ignored_index", "num"),
        "num_classes",
        *("output_names", "provenance", "strides", "target_classes"),
        *("train", "validation", "test", "shape", "dtype", "device"),
    }
)
_BACKENDS = frozenset({"gloo", "nccl"})  # of process groups; other arguments can open files and addresses
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_PLAIN_NODES = (
    *(ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Slice, ast.IfExp, ast.BoolOp, ast.Compare, ast.UnaryOp),
    *(ast.comprehension, ast.expr_context, ast.boolop, ast.unaryop, ast.cmpop),
)
_VARIABLES = frozenset({"LOCAL_RANK", "RANK", "WORLD_SIZE"})  # environment variables that torchrun sets
_REPLACED = 2  # number of arguments of `str.replace`
_SWITCHES = frozenset({"benchmark", "deterministic", "enabled"})  # attributes of torch.backends.cudnn


class Expressions:
    """Judges the expressions of a configuration.

    Args:
        settings: the configuration, with macros and relative ids resolved.
        modules: finds the object of a dotted name.
    """

    def __init__(self, settings: Mapping[str, Any], modules: Modules) -> None:
        self._modules, self._values, self._targets = modules, Values(settings), Targets(modules)
        self._imports = Imports(self._values)
        self._names = dict(IMPORTED_BY_MONAI)
        self._judges: dict[type[ast.AST], Callable[[Any, str, frozenset[str]], Iterator[str]]] = {
            ast.Attribute: self._of_attribute,
            ast.BinOp: self._of_binary,
            ast.Call: self._of_call,
            ast.Constant: self._of_constant,
            ast.FormattedValue: self._of_formatted,
            ast.JoinedStr: self._of_joined,
            ast.ListComp: self._of_list,
            ast.Name: self._of_name,
            ast.Subscript: self._of_subscript,
        }

    def note_import(self, text: str) -> str | None:
        """Record the name that an expression imports.

        Returns:
            the end of a sentence if the import is not on the list, or the text is not an import; else None.
        """
        try:
            (statement,) = expression_tree(text).body
        except (SyntaxError, ValueError):
            return f"evaluates {quoted(text)}, which is not one import"
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            return f"evaluates {quoted(text)}, which is not one import"
        alias = statement.names[0]  # MONAI ignores the other names
        is_relative, path = False, alias.name
        if isinstance(statement, ast.ImportFrom):
            is_relative, path = bool(statement.level), f"{statement.module}.{alias.name}"
        name = alias.asname or alias.name
        known = self._names.setdefault(name, path)
        first, *others = path.split(".")
        if is_relative or first not in _IMPORTS or any(other.startswith("_") for other in others):
            return f"imports {path}, which is not on the list of imports"
        if known != path or hasattr(builtins, name) or name.startswith("__"):
            return f"imports {path} as {name}, which means something else"
        if name in HARMLESS and path not in (f"os.path.{name}", f"pathlib.{name}"):
            return f"imports {path} as {name}, which means something else"
        return None

    def problems(self, identifier: str, text: str) -> Iterator[str]:
        """Find the parts of an expression that are beyond the plain subset.

        Args:
            identifier: id of the expression.
            text: the expression with its leading `$`; not an import.

        Yields:
            the end of a sentence that begins with the id.
        """
        try:
            statements = expression_tree(text).body
        except (SyntaxError, ValueError) as error:
            yield f"evaluates {quoted(text)}, which cannot be judged: {error}"
            return
        if len(statements) != 1 or not isinstance(statements[0], ast.Expr):
            yield f"evaluates {quoted(text)}, which is more than one expression"
            return
        problems = list(dict.fromkeys(self._of(statements[0].value, identifier, frozenset())))
        for what in problems[:1]:  # one problem is enough to require consent
            yield f"evaluates {quoted(text)}: {what}"

    def _of(self, node: ast.AST, identifier: str, bound: frozenset[str]) -> Iterator[str]:
        name = reference_of(node)
        if name is not None:
            yield from self._of_reference(name)
        elif type(node) in self._judges:
            yield from self._judges[type(node)](node, identifier, bound)
        elif isinstance(node, _PLAIN_NODES):
            yield from self._of_parts(node, identifier, bound)
        else:
            yield f"it has a {type(node).__name__}"

    def _of_parts(self, node: ast.AST, identifier: str, bound: frozenset[str]) -> Iterator[str]:
        for inner in ast.iter_child_nodes(node):
            yield from self._of(inner, identifier, bound)

    def _of_constant(self, node: ast.Constant, identifier: str, _: frozenset[str]) -> Iterator[str]:
        if isinstance(node.value, str):
            problem = text_problem(node.value, identifier)
            if problem is not None:
                yield f"it {problem}"
        elif not isinstance(node.value, int | float | None):
            yield f"it has the value {node.value!r}"

    def _of_name(self, node: ast.Name, _: str, bound: frozenset[str]) -> Iterator[str]:
        if isinstance(node.ctx, ast.Load) and node.id not in {*bound, "int", "float", "bool"}:
            yield from self._of_value(node)

    def _of_binary(self, node: ast.BinOp, identifier: str, bound: frozenset[str]) -> Iterator[str]:
        if not isinstance(node.op, _OPERATORS):
            yield f"it computes with {type(node.op).__name__}"
            return
        right = _after_folder(node.right) if isinstance(node.op, ast.Add) else node.right
        yield from self._of(node.left, identifier, bound)
        yield from self._of(right, identifier, bound)

    def _of_joined(self, node: ast.JoinedStr, identifier: str, bound: frozenset[str]) -> Iterator[str]:
        for number, part in enumerate(node.values):
            yield from self._of(_after_folder(part) if number else part, identifier, bound)

    def _of_formatted(
        self, node: ast.FormattedValue, identifier: str, bound: frozenset[str]
    ) -> Iterator[str]:
        if node.format_spec is not None:
            yield "it formats a text"
        yield from self._of(node.value, identifier, bound)

    def _of_subscript(self, node: ast.Subscript, identifier: str, bound: frozenset[str]) -> Iterator[str]:
        of_environment = self._dotted(node.value, bound) == "os.environ"
        is_plain = isinstance(node.slice, ast.Constant) and node.slice.value in _VARIABLES
        if not (of_environment and is_plain):
            yield from self._of_parts(node, identifier, bound)

    def _of_list(self, node: ast.ListComp, identifier: str, bound: frozenset[str]) -> Iterator[str]:
        names = {
            inner.id
            for generator in node.generators
            for inner in ast.walk(generator.target)
            if isinstance(inner, ast.Name)
        }
        if names & {*self._names, *_BUILTINS} or any(name.startswith("__") for name in names):
            yield f"it gives {', '.join(sorted(names))} another meaning"
        if any(generator.is_async for generator in node.generators):
            yield "it waits for something"
        first, inner = node.generators[0].iter, bound | names
        yield from self._of(first, identifier, bound)  # the loop's names are not bound yet here
        yield from self._of(node.elt, identifier, inner)
        for generator in node.generators:
            parts = [generator.target, *generator.ifs, *([] if generator.iter is first else [generator.iter])]
            for part in parts:
                yield from self._of(part, identifier, inner)

    def _of_reference(self, name: str) -> Iterator[str]:
        """Judge a reference: an id with an import is a module, and any function of it can be called like a method."""
        if not self._values.has(name):
            yield f"it refers to @{name.replace('::', '#')}, which is not there"
        elif self._imports.are_at(name):
            yield f"it uses the import @{name.replace('::', '#')} as a value"

    def _of_attribute(self, node: ast.Attribute, identifier: str, bound: frozenset[str]) -> Iterator[str]:
        if self._dotted(node, bound) is not None:
            yield from self._of_value(node)
        elif node.attr not in _ATTRIBUTES:
            yield f"it reads the attribute {node.attr}"
        else:
            yield from self._of(node.value, identifier, bound)

    def _of_value(self, node: ast.Name | ast.Attribute) -> Iterator[str]:
        """Judge a name of a module that is not called: safe are numbers, data types, and functions of a list."""
        dotted = self._dotted(node, frozenset())
        if dotted is None:
            yield f"it uses {ast.unparse(node)}"
            return
        named = self._modules.find(dotted)
        is_plain = isinstance(named, torch.dtype | numbers.Number | enum.Enum) or (
            isinstance(named, type) and issubclass(named, np.generic)
        )
        if not (is_plain or dotted in _FUNCTIONS or allowed_arguments(named) == Allowed()):
            yield f"it uses {dotted}"

    def _of_call(self, node: ast.Call, identifier: str, bound: frozenset[str]) -> Iterator[str]:
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        if any(isinstance(argument, ast.Starred) for argument in given) or any(
            keyword.arg is None for keyword in node.keywords
        ):
            yield "it spreads a value over the arguments of a call"
            return
        if not self._is_switch(node):
            yield from self._of_called(node.func, identifier, bound)
            if not self._is_plain_call(node, bound):
                yield f"it calls {ast.unparse(node.func)} with more arguments than it needs"
            for argument in given:
                yield from self._of(argument, identifier, bound)

    def _of_called(self, function: ast.expr, identifier: str, bound: frozenset[str]) -> Iterator[str]:
        name, dotted = reference_of(function), self._dotted(function, bound)
        if name is not None:
            if not self._may_be_called(name):
                yield f"it calls @{name.replace('::', '#')}"
        elif dotted is not None:
            if dotted not in _CALLS:
                yield f"it calls {dotted}"
        elif isinstance(function, ast.Name):
            if function.id in bound or function.id not in _BUILTINS:
                yield f"it calls {function.id}"
        elif isinstance(function, ast.Attribute):
            if function.attr in _METHODS:
                yield from self._of(function.value, identifier, bound)
            else:
                yield f"it calls the method {function.attr}"
        else:
            yield f"it calls {quoted(ast.unparse(function))}"

    def _is_plain_call(self, node: ast.Call, bound: frozenset[str]) -> bool:
        """Return whether all arguments of a call are harmless."""
        if self._dotted(node.func, bound) == "torch.distributed.init_process_group":
            given = [*node.args, *(word.value for word in node.keywords if word.arg == "backend")]
            plain = all(isinstance(value, ast.Constant) and value.value in _BACKENDS for value in given)
            return plain and len(given) == len(node.args) + len(node.keywords) <= 1
        if isinstance(node.func, ast.Attribute) and node.func.attr == "replace":
            return len(node.args) == _REPLACED and not node.keywords  # Path.replace, with one, renames a file
        return True

    def _may_be_called(self, name: str) -> bool:
        _, component = self._values.written_at(name)
        if not isinstance(component, dict) or "_target_" not in component:
            return False
        allowed = allowed_arguments(self._targets.find(component["_target_"]))
        return allowed is not None and allowed.is_called

    def _is_switch(self, node: ast.Call) -> bool:
        """Return whether a call is `setattr(torch.backends.cudnn, 'benchmark', True)`, which only changes speed."""
        match node:
            case ast.Call(
                func=ast.Name(id="setattr"),
                args=[ast.Attribute() as whole, ast.Constant(value=switch), ast.Constant(value=bool())],
                keywords=[],
            ):
                return self._dotted(whole, frozenset()) == "torch.backends.cudnn" and switch in _SWITCHES
        return False

    def _dotted(self, node: ast.expr, bound: frozenset[str]) -> str | None:
        """Return the dotted name of an object in an imported module; None for any other expression."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in bound or node.id == REFERENCES:
            return None
        whole = self._names.get(node.id)
        return None if whole is None else ".".join([whole, *parts])


class Imports:
    """Finds the ids whose references give a module; each id is examined once, since many ids may refer to it.

    Args:
        values: values of the configuration.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._known: dict[str, bool] = {}

    def are_at(self, identifier: str) -> bool:
        """Return whether an id is an import, or contains one."""
        if identifier not in self._known:
            self._known[identifier] = holds_import(self._values.at(identifier))
        return self._known[identifier]


def holds_import(value: Any) -> bool:
    """Return whether a value is an import, or contains one; a reference to it gives the module itself."""
    if isinstance(value, str):
        return is_import(value)
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return any(holds_import(item) for item in items)


def is_import(text: str) -> bool:
    """Return whether a text is an expression that imports."""
    if not text.startswith("$") or "import" not in text:
        return False
    try:
        statements = expression_tree(text).body
    except (SyntaxError, ValueError):
        return False
    return bool(statements) and isinstance(statements[0], ast.Import | ast.ImportFrom)


def _after_folder(node: ast.expr) -> ast.expr:
    """Return a text that follows another one without its leading `/`: there it makes no absolute path."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return ast.Constant(node.value.lstrip("/"))
    return node

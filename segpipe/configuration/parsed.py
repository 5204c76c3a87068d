"""A bundle's modules, parsed from their source and never run."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from segpipe.documents import DocumentError, read_document

_LARGEST = 2**20  # bytes of a module's source
_KEEPING = {"staticmethod", "torch.no_grad", "torch.inference_mode", "refusal_ends_run"}


class Placeholder:
    """Stands for the object of a dotted name that is not imported.

    Args:
        name: dotted name of the object.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.__module__ = name.rpartition(".")[0] or name
        self.__name__ = name.rpartition(".")[2]


class ParsedFunction(Placeholder):
    """A function in a module of the bundle."""

    def __init__(self, name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        super().__init__(name)
        self._node = node

    def signature(self) -> inspect.Signature | None:
        """Return the arguments; None if a decorator may change them."""
        if any(_dotted(_called(decorator)) not in _KEEPING for decorator in self._node.decorator_list):
            return None
        return _signature(self._node.args)


class ParsedClass(Placeholder):
    """A class in a module of the bundle.

    Attributes:
        base_names: dotted names of the base classes, as the module writes them; None for a base that is an expression.
        bases: the objects of these names.
    """

    def __init__(self, name: str, node: ast.ClassDef) -> None:
        super().__init__(name)
        self._node = node
        self.base_names = [_dotted(base) for base in node.bases]
        if any(keyword.arg == "metaclass" or keyword.arg is None for keyword in node.keywords):
            self.base_names.append(None)
        self.bases: Sequence[Any] = ()

    def signature(self) -> inspect.Signature | None:
        """Return the arguments of the constructor, without `self`; None if a base class defines the constructor.

        Raises:
            ValueError: the source does not tell the arguments.
        """
        if self._node.decorator_list:
            raise ValueError("a decorator may give it another constructor")
        methods = {
            node.name: node for node in _statements(self._node.body) if isinstance(node, ast.FunctionDef)
        }
        made = methods.get("__init__") or methods.get("__new__")
        if made is None:
            return None
        if made.decorator_list:
            raise ValueError("a decorator may change its arguments")
        return _signature(made.args, skip=1)

    @cached_property
    def words(self) -> frozenset[str]:
        """Names, attributes and texts in the class's source; any of them may name an attribute."""
        words: set[str] = set()
        for node in ast.walk(self._node):
            for field in ("name", "attr", "id", "arg", "value"):
                word = getattr(node, field, None)
                if isinstance(word, str):
                    words.add(word)
        return frozenset(words)


class ParsedModule(Placeholder):
    """A module of the bundle.

    Attributes:
        names: names that the source defines or imports.
        has_any_name: the module may define further names.
        needs: modules that the module must import.
        raises: line and text of a statement that ends the import; None if there is none.
    """

    def __init__(self, name: str, path: Path | None, tree: ast.Module) -> None:
        super().__init__(name)
        self._path = path
        self._package = name if path is None or path.name == "__init__.py" else name.rpartition(".")[0]
        self.names: dict[str, ast.stmt] = {}
        self.has_any_name = False
        for statement in _statements(tree.body):
            for defined in _defined(statement):
                self.names[defined] = statement
                self.has_any_name |= defined in ("*", "__getattr__")
        self.needs = [needed for statement in tree.body for needed in self._needed(statement)]
        ends = next((statement for statement in tree.body if isinstance(statement, ast.Raise)), None)
        self.raises = None if ends is None else (ends.lineno, ast.unparse(ends)[:80])
        self._folder = path.parent if path is not None and path.name == "__init__.py" else None

    @classmethod
    def read(cls, name: str, path: Path) -> ParsedModule | str:
        """Parse a module, or a package; return the reason as a text if it cannot be imported.

        Args:
            name: dotted name of the module.
            path: file of the module, or folder of the package.
        """
        file = path / "__init__.py" if path.is_dir() else path
        if path.is_dir() and not file.is_file():
            module = cls(name, None, ast.Module([], []))
            module._folder = path
            return module
        if file.suffix != ".py":  # a compiled module has no source
            module = cls(name, file, ast.Module([], []))
            module.has_any_name = True
            return module
        try:
            return cls(name, file, ast.parse(read_document(file, _LARGEST)))
        except DocumentError as error:
            return f"its file {error.reason}"
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return f"{type(error).__name__}: {error}"

    def defined(self, name: str) -> Any:
        """Return the class or function of this name, or the dotted name that it is imported from; else None."""
        node = self.names.get(name)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return ParsedFunction(f"{self.name}.{name}", node)
        if isinstance(node, ast.ClassDef):
            return ParsedClass(f"{self.name}.{name}", node)
        if isinstance(node, ast.Import):
            alias = next(
                alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) == name
            )
            return alias.name if alias.asname else name
        if isinstance(node, ast.ImportFrom):
            alias = next(alias for alias in node.names if (alias.asname or alias.name) == name)
            return f"{self._source(node)}.{alias.name}"
        return None

    def holds(self, name: str) -> bool:
        """Return whether the source gives the name a value."""
        return name in self.names or name in ("__name__", "__file__", "__doc__", "__path__")

    def files_of(self, name: str) -> Iterator[Path]:
        """Yield the file or folder of a module in this package, if there is one."""
        for path in () if self._folder is None else (self._folder / name, self._folder / f"{name}.py"):
            if path.is_file() or (path.is_dir() and any(path.rglob("*.py"))):
                yield path
                return

    def _source(self, node: ast.ImportFrom) -> str:
        """Return the dotted name of the module that a statement imports from."""
        if not node.level:
            return str(node.module)
        package = self._package.split(".")
        above = package[: len(package) - node.level + 1]
        return ".".join([*above, *([node.module] if node.module else [])])

    def _needed(self, statement: ast.stmt) -> list[str]:
        if isinstance(statement, ast.Import):
            return [alias.name for alias in statement.names]
        if isinstance(statement, ast.ImportFrom) and statement.module != "__future__":
            return [self._source(statement)]
        return []


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, with those in branches and loops, without those in functions and classes."""
    waiting = list(reversed(body))
    while waiting:
        statement = waiting.pop()
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for inner in ast.iter_child_nodes(statement):
                if isinstance(inner, ast.stmt):
                    waiting.append(inner)
                elif isinstance(inner, ast.ExceptHandler | ast.match_case):
                    waiting += inner.body


def _defined(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement defines; `*` stands for any name."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(statement, ast.ImportFrom):
        for alias in statement.names:
            yield alias.asname or alias.name
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _dotted(node: ast.expr) -> str | None:
    """Return a dotted name; None for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([node.id, *parts]) if isinstance(node, ast.Name) else None


def _signature(arguments: ast.arguments, skip: int = 0) -> inspect.Signature:
    """Return the signature of a function without its first `skip` arguments; values of defaults are left out."""
    Kind = inspect.Parameter  # noqa: N806 - a class
    placed: list[tuple[ast.arg, Any]] = [(one, Kind.POSITIONAL_ONLY) for one in arguments.posonlyargs]
    placed += [(one, Kind.POSITIONAL_OR_KEYWORD) for one in arguments.args]
    without = len(placed) - len(arguments.defaults)
    made = [
        Kind(one.arg, kind, default=Kind.empty if number < without else None)
        for number, (one, kind) in enumerate(placed)
    ][skip:]
    if arguments.vararg is not None:
        made.append(Kind(arguments.vararg.arg, Kind.VAR_POSITIONAL))
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        made.append(Kind(one.arg, Kind.KEYWORD_ONLY, default=Kind.empty if default is None else None))
    if arguments.kwarg is not None:
        made.append(Kind(arguments.kwarg.arg, Kind.VAR_KEYWORD))
    return inspect.Signature(made)

"""Finds the object that a dotted name stands for, without running a module of the bundle.

Only installed packages of a short list are imported. For other packages, segpipe checks only that the module exists.
Modules of the bundle are parsed.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import inspect
import pkgutil
import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from segpipe.configuration.bundle_modules import bundle_modules
from segpipe.configuration.parsed import ParsedClass, ParsedFunction, ParsedModule, Placeholder

# fmt: off
IMPORTED = frozenset({
    "SimpleITK", "ignite", "monai", "nibabel", "numpy", "scipy", "segpipe", "skimage", "torch",
    "builtins", "collections", "copy", "datetime", "functools", "glob", "itertools", "json",
    "logging", "math", "numbers", "operator", "os", "pathlib", "random", "re", "shutil", "string",
    "sys", "tempfile", "time", "typing", "warnings",
})
# fmt: on
"""Packages that are imported to look up names; their import has no side effects."""


class NotImportable(Placeholder):
    """A module that exists and cannot be imported.

    Attributes:
        reason: why it cannot be imported, in Python's words.
        ends_run: the import would end the run, without an exception that explains it.
    """

    def __init__(self, reason: str, *, ends_run: bool = False) -> None:
        super().__init__("")
        self.reason = reason
        self.ends_run = ends_run


class InstalledModule(Placeholder):
    """A module that is installed, and is not imported."""


_MOST_PARTS = 50  # of a dotted name; Python's own and installed packages have fewer
NOT_EXAMINED = Placeholder("")
"""Marks an object that exists, or may exist, and is not examined."""


class Modules:
    """Finds the object that a dotted name stands for.

    Args:
        root: the bundle's folder; installed modules come before its modules, as in a run. None: no bundle.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._bundle_modules = {} if root is None else bundle_modules(root.resolve())
        self._results: dict[str, Any] = {}
        self._open: set[str] = set()  # classes whose bases are being looked up: bases may refer to each other

    @property
    def top_names(self) -> list[str]:
        """The names that a dotted name can begin with."""
        return sorted(
            {name.partition(".")[0] for name in sys.modules} | set(dir(builtins)) | set(self._bundle_modules)
        )

    def find(self, path: str) -> Any:
        """Return the object that a dotted name stands for.

        Returns:
            a module, class or function of a package in `IMPORTED`; a `ParsedModule`, `ParsedClass` or `ParsedFunction`
            of the bundle; an `InstalledModule`; `NOT_EXAMINED` if the object exists or may exist and nothing else is
            known; `NotImportable`; None if nothing of this name exists.
        """
        if path.count(".") > _MOST_PARTS:
            return None
        if path not in self._results:
            self._results[path] = None  # ends the search in a module that imports itself, in a circle
            self._results[path] = self._find(path)
        return self._results[path]

    def _find(self, path: str) -> Any:
        parent, _, last = path.rpartition(".")
        if not all(part.isidentifier() for part in path.split(".")):
            return None
        if not parent:
            return self._top(last)
        whole = self.find(parent)
        if whole is None or whole is NOT_EXAMINED or isinstance(whole, NotImportable):
            return whole
        return self.part(whole, last)

    def _top(self, name: str) -> Any:
        if name in IMPORTED:
            return _imported(name)
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):  # a module without a spec
            spec = None
        if spec is not None and not (spec.origin is None and name in self._bundle_modules):
            return InstalledModule(name)
        if name in self._bundle_modules:
            return self._parsed(name, self._bundle_modules[name])
        return getattr(builtins, name, None)

    def part(self, whole: Any, name: str) -> Any:
        """Return an attribute or a submodule of a result of `find`, in the same terms."""
        if isinstance(whole, ParsedModule):
            return self._part_of_parsed(whole, name)
        if isinstance(whole, InstalledModule):
            return (
                InstalledModule(f"{whole.name}.{name}")
                if _is_installed(f"{whole.name}.{name}")
                else NOT_EXAMINED
            )
        if isinstance(whole, Placeholder):
            return NOT_EXAMINED
        if not isinstance(whole, ModuleType):
            return getattr(whole, name, None)
        try:
            if hasattr(whole, name):
                return getattr(whole, name)
        except Exception as error:  # a lazy attribute whose package is not installed
            return NotImportable(f"{type(error).__name__}: {error}")
        inner = _inner_names(tuple(getattr(whole, "__path__", ())))
        return _imported(f"{whole.__name__}.{name}") if name in inner else None

    def _part_of_parsed(self, whole: ParsedModule, name: str) -> Any:
        defined = whole.defined(name)
        if isinstance(defined, str):  # the name is imported from another module
            target = self.find(defined)
            return NOT_EXAMINED if target is None else target
        if isinstance(defined, ParsedClass):
            if defined.name in self._open:
                return NOT_EXAMINED
            self._open.add(defined.name)
            defined.bases = [self._base(whole, base) for base in defined.base_names]
            self._open.discard(defined.name)
        if defined is not None:
            return defined
        for file in whole.files_of(name):
            return self._parsed(f"{whole.name}.{name}", file)
        return NOT_EXAMINED if whole.has_any_name or whole.holds(name) else None

    def _base(self, module: ParsedModule, name: str | None) -> Any:
        """Return a base class; NOT_EXAMINED if it is not known."""
        if name is None:
            return NOT_EXAMINED
        first, *others = name.split(".")
        target = self._part_of_parsed(module, first) or getattr(builtins, first, NOT_EXAMINED)
        for part in others:
            target = self.part(target, part)
        return target if isinstance(target, type | ParsedClass) else NOT_EXAMINED

    def _parsed(self, name: str, path: Path) -> Any:
        module = ParsedModule.read(name, path)
        if isinstance(module, str):
            return NotImportable(module)
        if module.raises:
            return NotImportable(
                f"its own line {module.raises[0]} ends it: {module.raises[1]}", ends_run=True
            )
        for needed in module.needs:
            target = self.find(needed)
            if isinstance(target, NotImportable):
                return NotImportable(target.reason, ends_run=target.ends_run)
            if target is None and needed not in self._if_circular(needed):
                return NotImportable(f"ModuleNotFoundError: No module named {needed!r}")
        return module

    def _if_circular(self, name: str) -> tuple[str, ...]:
        """Return the name if it is a module of the bundle: such modules may import each other."""
        return (name,) if name.partition(".")[0] in self._bundle_modules else ()


@cache
def _inner_names(paths: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the modules in the folders of an installed package."""
    return frozenset(module.name for module in pkgutil.iter_modules(paths))


def names_of(whole: Any) -> list[str]:
    """Return the public names in a module or class, to suggest one of them."""
    if isinstance(whole, ParsedModule):
        return sorted(name for name in whole.names if not name.startswith("_"))
    if isinstance(whole, Placeholder):
        return []
    inner = _inner_names(tuple(getattr(whole, "__path__", ())))
    return sorted({*inner, *(name for name in dir(whole) if not name.startswith("_"))})


def is_module(target: Any) -> bool:
    """Return whether an object that `find` returned is a module, not a class or a function."""
    return isinstance(target, ModuleType | ParsedModule | InstalledModule)


def signature_of(target: Any) -> inspect.Signature:
    """Return the arguments that a class or function takes.

    Raises:
        ValueError: the arguments are not known.
        TypeError: the target is neither a class nor a function.
    """
    if isinstance(target, ParsedClass):
        known = target.signature()
        if known is not None:
            return known
        for base in target.bases:
            return signature_of(base)
        return inspect.Signature()
    if isinstance(target, ParsedFunction):
        known = target.signature()
        if known is not None:
            return known
    if isinstance(target, Placeholder):
        raise ValueError("not known")  # noqa: TRY004 - as inspect has it of what is written in C
    return inspect.signature(target)


def _imported(path: str) -> Any:
    """Import a module of an installed package; a `__main__` module is not imported."""
    if any(part.startswith("__") for part in path.split(".")):
        return NOT_EXAMINED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(path)
        except (Exception, SystemExit) as error:
            return NotImportable(f"{type(error).__name__}: {error}")


def _is_installed(path: str) -> bool:
    """Return whether an installed package has a module of this path; nothing is imported."""
    first, *others = path.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return False
    name = first
    for part in others:
        if spec is None or spec.submodule_search_locations is None:
            return False
        name = f"{name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec is not None

"""What dotted names stand for, told without running anything of a bundle's.

Installed packages of a short list are imported. Of all others only that they are there is looked at, and a bundle's own
modules are parsed.
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
from pathlib import Path
from types import ModuleType
from typing import Any

from segpipe.configuration.own_modules import own_modules
from segpipe.configuration.parsed import ParsedClass, ParsedFunction, ParsedModule, Placeholder

IMPORTED = frozenset(
    {
        *(
            "SimpleITK",
            "ignite",
            "monai",
            "nibabel",
            "numpy",
            "scipy",
            "segpipe",
            "skimage",
            "torch",
            "builtins",
        ),
        *(
            "collections",
            "copy",
            "datetime",
            "functools",
            "glob",
            "itertools",
            "json",
            "logging",
            "math",
            "numbers",
        ),
        *(
            "operator",
            "os",
            "pathlib",
            "random",
            "re",
            "shutil",
            "string",
            "sys",
            "tempfile",
            "time",
            "typing",
        ),
        "warnings",
    }
)
"""Packages that the check imports to look into them: importing any of these changes nothing."""


class NotImportable(Placeholder):
    """A module that is there and cannot be imported.

    Attributes:
        reason: why not, as Python would say it.
        ends_run: whether the import would end the run, other than by an exception that says so.
    """

    def __init__(self, reason: str, *, ends_run: bool = False) -> None:
        super().__init__("")
        self.reason = reason
        self.ends_run = ends_run


class InstalledModule(Placeholder):
    """A module that is installed, and not imported."""


UNSEEN = Placeholder("")
"""Something that is there, or may be there, and is not looked into."""


class Modules:
    """Finds what dotted names stand for.

    Args:
        root: the bundle's folder; its modules come after all that is installed, as when it runs. None: of no bundle.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._own = {} if root is None else own_modules(root.resolve())
        self._found: dict[str, Any] = {}
        self._open: set[str] = set()  # classes whose bases are looked for, which may be made from each other

    @property
    def top_names(self) -> list[str]:
        """Names that a dotted name can begin with."""
        return sorted({name.partition(".")[0] for name in sys.modules} | set(dir(builtins)) | set(self._own))

    def find(self, path: str) -> Any:
        """Return what a dotted name stands for.

        Returns:
            a module, class or function of a package in `IMPORTED`; a `ParsedModule`, `ParsedClass` or `ParsedFunction`
                of the bundle's; an `InstalledModule`; `UNSEEN` where something is there, or may be, of which no more is
                known; `NotImportable`; None where nothing is.
        """
        if path not in self._found:
            self._found[path] = None  # for a module that imports itself, in a circle
            self._found[path] = self._find(path)
        return self._found[path]

    def _find(self, path: str) -> Any:
        parent, _, last = path.rpartition(".")
        if not all(part.isidentifier() for part in path.split(".")):
            return None
        if not parent:
            return self._top(last)
        whole = self.find(parent)
        if whole is None or whole is UNSEEN or isinstance(whole, NotImportable):
            return whole
        return self.part(whole, last)

    def _top(self, name: str) -> Any:
        if name in IMPORTED:
            return _imported(name)
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):  # of a module that was made without one
            spec = None
        if spec is not None and not (spec.origin is None and name in self._own):
            return InstalledModule(name)
        if name in self._own:
            return self._parsed(name, self._own[name])
        return getattr(builtins, name, None)

    def part(self, whole: Any, name: str) -> Any:
        """Return an attribute or a submodule of what was found, in the same terms as `find`."""
        if isinstance(whole, ParsedModule):
            return self._part_of_parsed(whole, name)
        if isinstance(whole, InstalledModule):
            return (
                InstalledModule(f"{whole.name}.{name}") if _is_installed(f"{whole.name}.{name}") else UNSEEN
            )
        if isinstance(whole, Placeholder):
            return UNSEEN
        if not isinstance(whole, ModuleType):
            return getattr(whole, name, None)
        try:
            if hasattr(whole, name):
                return getattr(whole, name)
        except Exception as error:  # a part that is made when it is asked for, of a package that is not there
            return NotImportable(f"{type(error).__name__}: {error}")
        inner = pkgutil.iter_modules(getattr(whole, "__path__", ()))
        return _imported(f"{whole.__name__}.{name}") if any(found.name == name for found in inner) else None

    def _part_of_parsed(self, whole: ParsedModule, name: str) -> Any:
        defined = whole.defined(name)
        if isinstance(defined, str):  # imported from elsewhere
            found = self.find(defined)
            return UNSEEN if found is None else found
        if isinstance(defined, ParsedClass):
            if defined.name in self._open:
                return UNSEEN
            self._open.add(defined.name)
            defined.bases = [self._base(whole, base) for base in defined.base_names]
            self._open.discard(defined.name)
        if defined is not None:
            return defined
        for file in whole.files_of(name):
            return self._parsed(f"{whole.name}.{name}", file)
        return UNSEEN if whole.has_any_name or whole.holds(name) else None

    def _base(self, module: ParsedModule, name: str | None) -> Any:
        """Return a class that another is made from; UNSEEN where that is not known."""
        if name is None:
            return UNSEEN
        first, *others = name.split(".")
        found = self._part_of_parsed(module, first) or getattr(builtins, first, UNSEEN)
        for part in others:
            found = self.part(found, part)
        return found if isinstance(found, type | ParsedClass) else UNSEEN

    def _parsed(self, name: str, path: Path) -> Any:
        module = ParsedModule.read(name, path)
        if isinstance(module, str):
            return NotImportable(module)
        if module.raises:
            return NotImportable(
                f"its own line {module.raises[0]} ends it: {module.raises[1]}", ends_run=True
            )
        for needed in module.needs:
            found = self.find(needed)
            if isinstance(found, NotImportable):
                return NotImportable(found.reason, ends_run=found.ends_run)
            if found is None and needed not in self._found_in_circle(needed):
                return NotImportable(f"ModuleNotFoundError: No module named {needed!r}")
        return module

    def _found_in_circle(self, name: str) -> tuple[str, ...]:
        """Return the name where it is one of the bundle's modules, which may import each other."""
        return (name,) if name.partition(".")[0] in self._own else ()


def names_of(whole: Any) -> list[str]:
    """Return the public names in a module or class, for what was probably meant."""
    if isinstance(whole, ParsedModule):
        return sorted(name for name in whole.names if not name.startswith("_"))
    if isinstance(whole, Placeholder):
        return []
    paths = getattr(whole, "__path__", None)
    inner = [module.name for module in pkgutil.iter_modules(paths)] if paths else []
    return sorted({*inner, *(name for name in dir(whole) if not name.startswith("_"))})


def is_module(found: Any) -> bool:
    """Whether what was found is a module, not a class or a function."""
    return isinstance(found, ModuleType | ParsedModule | InstalledModule)


def signature_of(found: Any) -> inspect.Signature:
    """Return which arguments a class or function takes.

    Raises:
        ValueError: that is not known.
        TypeError: it takes none, being neither.
    """
    if isinstance(found, ParsedClass):
        known = found.signature()
        if known is not None:
            return known
        for base in found.bases:
            return signature_of(base)
        return inspect.Signature()
    if isinstance(found, ParsedFunction):
        known = found.signature()
        if known is not None:
            return known
    if isinstance(found, Placeholder):
        raise ValueError("not known")  # noqa: TRY004 - as inspect has it of what is written in C
    return inspect.signature(found)


def _imported(path: str) -> Any:
    """Import a module of an installed package; one that is a program of its own is not."""
    if any(part.startswith("__") for part in path.split(".")):
        return UNSEEN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(path)
        except (Exception, SystemExit) as error:
            return NotImportable(f"{type(error).__name__}: {error}")


def _is_installed(path: str) -> bool:
    """Whether there is such a module below an installed package, none of which is imported."""
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

"""The modules of a bundle: importable from its folder only inside a block, after all installed modules."""

from __future__ import annotations

import importlib.machinery
import site
import sys
import sysconfig
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from segpipe.errors import SegpipeError, shown

_AT_START = {
    "sitecustomize",
    "usercustomize",
}  # Python imports these before anything else, if they exist
MODULE_SUFFIXES = (
    *importlib.machinery.SOURCE_SUFFIXES,
    *importlib.machinery.BYTECODE_SUFFIXES,
    *importlib.machinery.EXTENSION_SUFFIXES,
)


@contextmanager
def importing_from(root: Path) -> Iterator[None]:
    """Make the modules in a bundle's folder importable inside the block, as MONAI's run does.

    Modules of other bundles cannot be imported there. The folder stands last on the import path, so that no installed
    module is replaced.

    Args:
        root: the bundle's folder.

    Raises:
        SegpipeError: a module has the name of an installed module, see `shadowing_modules`.
    """
    folder = root.resolve()
    shadows = shadowing_modules(folder)
    if shadows:
        raise SegpipeError(
            f"{root}: {shown(f'{path} {what}' for path, what in shadows.items())}; rename it, or remove it"
        )
    names = set(bundle_modules(folder))
    hidden = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in names and not _is_from(module, folder)
    }
    for name in hidden:
        del sys.modules[name]
    before, path = set(sys.modules), list(sys.path)
    others = [
        entry for entry in path if _has_any(entry, names)
    ]  # folders of other bundles, which MONAI's run leaves on the path
    sys.path[:] = [*(entry for entry in path if entry not in others), str(folder)]
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if _is_from(sys.modules[name], folder):
                del sys.modules[name]
        sys.path[:] = path
        sys.modules.update(hidden)


def bundle_modules(root: Path) -> dict[str, Path]:
    """Return name -> path of each module or package that Python would find in a folder; nothing is imported.

    Args:
        root: the bundle's folder.
    """
    modules = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        suffix = next((suffix for suffix in MODULE_SUFFIXES if path.name.endswith(suffix)), None)
        if suffix is not None and (path.is_file() or path.is_symlink()):  # a link's target may appear later
            modules[path.name.removesuffix(suffix).partition(".")[0]] = path
        elif (
            path.is_dir()
            and path.name.isidentifier()
            and any(inner.name.endswith(MODULE_SUFFIXES) for inner in path.rglob("*"))
        ):
            modules.setdefault(path.name, path)
    return modules


def shadowing_modules(root: Path) -> dict[str, str]:
    """Return the bundle's modules that have the name of a module of Python or of an installed package.

    If such a module comes first on the import path, Python runs it instead of the intended module.

    Args:
        root: the bundle's folder.

    Returns:
        path below the folder -> the end of a sentence that begins with the path.
    """
    return {
        path.name: what
        for name, path in bundle_modules(root).items()
        if (what := _shadowed(name)) is not None
    }


def _shadowed(name: str) -> str | None:
    if name in _AT_START:
        return "is named like a module that Python runs when it starts"
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return f"is named like Python's own module {name}"
    spec = importlib.machinery.PathFinder.find_spec(name, _installed())
    # a folder without __init__.py shadows nothing
    if name == __name__.partition(".")[0] or (spec is not None and spec.origin is not None):
        return f"is named like the installed module {name}"
    return None


def _installed() -> list[str]:
    """Return the folders of the import path with installed packages."""
    paths = sysconfig.get_paths()
    folders = {*site.getsitepackages(), site.getusersitepackages(), paths["purelib"], paths["platlib"]}
    return [entry for entry in sys.path if entry in folders]


def _has_any(entry: str, names: Collection[str]) -> bool:
    """Return whether a folder of the import path, without installed packages, has a module of one of these names."""
    if entry in _installed():
        return False
    return any(importlib.machinery.PathFinder.find_spec(name, [entry]) is not None for name in names)


def _is_from(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    paths = [file] if file else list(getattr(module, "__path__", []))
    return any(Path(path).resolve().is_relative_to(folder) for path in paths)

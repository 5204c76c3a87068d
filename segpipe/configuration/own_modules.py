"""A bundle's own modules: imported from its folder, after all that is installed, and no other bundle's."""

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
}  # which Python imports before anything else, where it finds them
MODULE_SUFFIXES = (
    *importlib.machinery.SOURCE_SUFFIXES,
    *importlib.machinery.BYTECODE_SUFFIXES,
    *importlib.machinery.EXTENSION_SUFFIXES,
)


@contextmanager
def importing_from(root: Path) -> Iterator[None]:
    """Let a bundle import the modules in its folder, as MONAI's run does; no other bundle gets these, nor it theirs.

    The folder stands last on the import path, so that nothing installed is replaced.

    Args:
        root: the bundle's folder.

    Raises:
        SegpipeError: a module is named like one that is installed, see `shadowing_modules`.
    """
    folder = root.resolve()
    shadows = shadowing_modules(folder)
    if shadows:
        raise SegpipeError(
            f"{root}: {shown(f'{path} {what}' for path, what in shadows.items())}; rename it, or remove it"
        )
    names = set(own_modules(folder))
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
    ]  # other bundles, which MONAI's run leaves there
    sys.path[:] = [*(entry for entry in path if entry not in others), str(folder)]
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if _is_from(sys.modules[name], folder):
                del sys.modules[name]
        sys.path[:] = path
        sys.modules.update(hidden)


def own_modules(root: Path) -> dict[str, Path]:
    """Return the name of each module or package that Python would find in a folder, and its path; nothing is imported.

    Args:
        root: the bundle's folder.
    """
    found = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        suffix = next((suffix for suffix in MODULE_SUFFIXES if path.name.endswith(suffix)), None)
        if suffix is not None and (path.is_file() or path.is_symlink()):  # a link's target may come later
            found[path.name.removesuffix(suffix).partition(".")[0]] = path
        elif (
            path.is_dir()
            and path.name.isidentifier()
            and any(inner.name.endswith(MODULE_SUFFIXES) for inner in path.rglob("*"))
        ):
            found.setdefault(path.name, path)
    return found


def shadowing_modules(root: Path) -> dict[str, str]:
    """Return a bundle's modules that are named like one of Python's or an installed one.

    Where such a module comes first on the import path, it runs in the place of the one that was meant.

    Args:
        root: the bundle's folder.

    Returns:
        path below the folder -> the end of a sentence that begins with the path.
    """
    return {
        path.name: what for name, path in own_modules(root).items() if (what := _shadowed(name)) is not None
    }


def _shadowed(name: str) -> str | None:
    if name in _AT_START:
        return "is named like a module that Python runs when it starts"
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return f"is named like Python's own module {name}"
    spec = importlib.machinery.PathFinder.find_spec(name, _installed())
    # a folder without __init__.py replaces nothing
    if name == __name__.partition(".")[0] or (spec is not None and spec.origin is not None):
        return f"is named like the installed module {name}"
    return None


def _installed() -> list[str]:
    """Return the folders of the import path that hold installed packages."""
    paths = sysconfig.get_paths()
    folders = {*site.getsitepackages(), site.getusersitepackages(), paths["purelib"], paths["platlib"]}
    return [entry for entry in sys.path if entry in folders]


def _has_any(entry: str, names: Collection[str]) -> bool:
    """Whether a folder of the import path, which holds no installed packages, has a module of one of these names."""
    if entry in _installed():
        return False
    return any(importlib.machinery.PathFinder.find_spec(name, [entry]) is not None for name in names)


def _is_from(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    paths = [file] if file else list(getattr(module, "__path__", []))
    return any(Path(path).resolve().is_relative_to(folder) for path in paths)

"""A bundle's own modules: imported from its folder, and no other bundle's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


@contextmanager
def importing_from(root: Path) -> Iterator[None]:
    """Let a bundle import the modules in its folder, as MONAI's run does; no other bundle gets these, nor it theirs."""
    folder = root.resolve()
    names = {path.relative_to(folder).parts[0].removesuffix(".py") for path in folder.rglob("*.py")}
    hidden = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in names and not _is_from(module, folder)
    }
    for name in hidden:
        del sys.modules[name]
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if _is_from(sys.modules[name], folder):
                del sys.modules[name]
        sys.modules.update(hidden)


def _is_from(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    paths = [file] if file else list(getattr(module, "__path__", []))
    return any(Path(path).resolve().is_relative_to(folder) for path in paths)

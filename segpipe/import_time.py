"""Imports that take seconds, made when they are needed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRACKERS = ("mlflow",)


def hide_trackers() -> None:
    """Let MONAI's handlers do without MLflow in this process: its import takes as long as that of torch and MONAI."""
    for name in _TRACKERS:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # Python's way to forbid an import


def show_trackers() -> None:
    """Undo `hide_trackers`, in a process that has not imported MONAI's handlers or does not use them."""
    for name in _TRACKERS:
        if sys.modules.get(name, ...) is None:
            del sys.modules[name]


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """Disable garbage collection during imports and freeze the imported modules: it takes a sixth of import time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
            gc.freeze()

"""Imports that take seconds, made when a command runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """Import without a look for garbage on the way, nor later among modules: it takes a sixth of an import's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()

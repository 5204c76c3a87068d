"""One progress bar for every long loop over cases."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def with_progress(
    items: Iterable[Item], description: str, total: int | None = None, *, show: bool = True
) -> Iterable[Item]:
    """Return the items; iterating over them shows a progress bar on stderr, if stderr is a terminal.

    Args:
        items: to iterate over once.
        description: text before the bar.
        total: number of items, where `items` has no length.
        show: False for no bar at all.
    """
    return track(
        items,
        description=description,
        total=total,
        console=Console(stderr=True),
        transient=True,
        disable=not (show and sys.stderr.isatty()),
    )

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
    """Return the items, with a bar on stderr while they are gone through, if that is a terminal.

    Args:
        items: to go through once.
        description: stands before the bar.
        total: how many there are, where `items` has no length.
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

"""When a table of all scans is written again while a cohort runs."""

from __future__ import annotations

import time
from collections.abc import Callable

_EVERY_S = 5.0
_SHARE = 20  # of the time goes into writing at most one part in so many


class Pace:
    """Writes a table at once, then every five seconds, and in large cohorts for a twentieth of the time at most."""

    def __init__(self) -> None:
        self._next = 0.0

    def write_if_due(self, write: Callable[[], None]) -> None:
        """Call a function that writes the table, unless it was called too recently."""
        begun = time.monotonic()
        if begun < self._next:
            return
        write()
        ended = time.monotonic()
        self._next = ended + max(_EVERY_S, (_SHARE - 1) * (ended - begun))

"""Progress of every long loop over cases: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 60.0  # in a log file
_logger = logging.getLogger(__name__)


def with_progress(
    items: Iterable[Item], description: str, total: int | None = None, *, show: bool = True
) -> Iterable[Item]:
    """Return the items; iterating over them shows the progress.

    On a terminal a bar on stderr shows it. Elsewhere a line a minute goes to this module's logger (level INFO); the
    commands print these lines on stderr, and a program that imports segpipe sees none unless it asks for them.

    Args:
        items: to iterate over once.
        description: text before the bar.
        total: number of items, where `items` has no length.
        show: False for no progress at all.
    """
    if not show:
        return iter(items)
    if not sys.stderr.isatty():
        return _with_lines(items, description, total if total or not isinstance(items, Sized) else len(items))
    return track(items, description=description, total=total, console=Console(stderr=True), transient=True)


def time_in_words(seconds: float) -> str:
    """Return a duration in words, such as "40 s", "12 min" or "3.5 h".

    Args:
        seconds: the duration.
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def line_of(description: str, done: int, total: int | None, seconds: float) -> str:
    """Return a line of progress, such as "Checking cases: 40 of 200, 4 min left".

    Args:
        description: text before the numbers.
        done: number of finished items, at least 1.
        total: number of all items; None where it is not known.
        seconds: time that the finished items took.
    """
    if total is None:
        return f"{description}: {done}"
    return f"{description}: {done} of {total}, {time_in_words((total - done) * seconds / done)} left"


def _with_lines(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    began = logged = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - logged >= SECONDS_BETWEEN_LINES:
            logged = now
            _logger.info("%s", line_of(description, done, total, now - began))
        yield item

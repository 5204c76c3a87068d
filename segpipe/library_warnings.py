"""Sends what libraries warn of to a log, so that a command's output holds segpipe's own messages.

Libraries warn while they are imported and while a bundle is opened, before there is a log. These warnings are held
until a log is named. Where no log was, as in a dry run or after a refusal, they are dropped, unless the user asked
Python for warnings (`python -W default`, PYTHONWARNINGS): then they are printed in the end.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segpipe.printable import printable

_OWN = Path(__file__).parent


class _Held(logging.Handler):
    """Takes warnings of libraries; each text counts once.

    Attributes:
        log: where they go; None: they are held.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.log: logging.Logger | None = None
        self._texts: dict[str, None] = {}
        self._logged: set[str] = set()

    def take(self, text: str) -> None:
        """Log or hold a warning."""
        self._texts.setdefault(text)
        if self.log is not None and text not in self._logged:
            self._logged.add(text)
            self.log.warning("a library warns: %s", text)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record of a library that has no handler of its own."""
        self.take(f"{record.name}: {record.getMessage()}".strip())

    def send(self, log: logging.Logger) -> None:
        """Log what was held, and from now on what follows."""
        self.log = log
        for text in list(self._texts):
            self.take(text)

    @property
    def unread(self) -> list[str]:
        """The warnings that no log has."""
        return [text for text in self._texts if text not in self._logged]


_held: list[_Held] = []


@contextmanager
def held_library_warnings() -> Iterator[None]:
    """Hold the warnings of libraries inside the block; those that no log took are printed at its end if asked for.

    Warnings of segpipe itself are printed as before.
    """
    held = _Held()
    show, last = warnings.showwarning, logging.lastResort

    def take(message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: Any) -> None:
        if Path(filename).is_relative_to(_OWN):
            show(message, category, filename, lineno, *more)
        else:
            held.take(f"{filename}:{lineno}: {category.__name__}: {message}")

    warnings.showwarning = take  # type: ignore[assignment]  # typeshed names the arguments
    logging.lastResort = _LastResort(held, last)
    _held.append(held)
    try:
        yield
    finally:
        _held.remove(held)
        warnings.showwarning, logging.lastResort = show, last
        for text in held.unread if sys.warnoptions else ():
            sys.stderr.write(f"{printable(text)}\n")


@contextmanager
def library_warnings_to(log: logging.Logger) -> Iterator[None]:
    """Send the held warnings to a log, and those that follow inside the block; nothing where none are held."""
    held = _held[-1] if _held else None
    if held is not None:
        held.send(log)
    try:
        yield
    finally:
        if held is not None:
            held.log = None


class _LastResort(logging.Handler):
    """Gives the records of libraries to `held`, and segpipe's own to the handler that was there before."""

    def __init__(self, held: _Held, before: logging.Handler | None) -> None:
        super().__init__(logging.WARNING)
        self._held, self._before = held, before

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record that no other handler took."""
        if record.name.partition(".")[0] != "segpipe":
            self._held.emit(record)
        elif self._before is not None:
            self._before.handle(record)

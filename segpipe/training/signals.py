"""Ends a training on SIGINT (Ctrl-C), SIGTERM or SIGHUP, with a complete state on disk, within 10 s."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from types import FrameType, TracebackType
from typing import Any

from segpipe.errors import raised_during
from segpipe.printable import printable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 7.0
"""Seconds from a signal to the forced end of a process; saving the state takes additional time."""
_SAVING_S = 120.0  # longest wait for a state that is being written; a slow disk would else cost the epoch


class Stopped(SystemExit):
    """A signal ends the process; the exit status is 128 plus its number, as in shells."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.name = signal.Signals(number).name

    def __str__(self) -> str:
        """Return the text for a log."""
        return f"stopped by {self.name}"


class Phase(StrEnum):
    """The work of the main thread when a signal arrives."""

    FREE = "free"
    """No work that must be finished: the signal ends the process at once."""
    STEP = "step"
    """A step of the optimiser, which is finished first: half a step cannot be resumed."""
    SAVING = "saving"
    """Writing a state or weights, which is finished first."""


class SignalWatch:
    """Turns a signal into `Stopped`, raised in the main thread at once or at the next `check`.

    Python runs signal handlers only between its own instructions, and one call into PyTorch may take many seconds.
    A thread therefore waits for the signal, too; after `PATIENCE_S` it ends the process without the main thread.
    SIGHUP of a program that was started by nohup stays ignored, and a program's own handlers stay.

    Args:
        on_timeout: called in the waiting thread before it ends the process, with the signal's name.

    Attributes:
        message: written to standard error when a signal ends the main thread at once; for the time before training.
        phase: present phase of the main thread.
        number: number of the signal that arrived; 0 if none did.
    """

    def __init__(self, on_timeout: Callable[[str], None]) -> None:
        self.on_timeout = on_timeout
        self.message = ""
        self.phase = Phase.FREE
        self.number = 0
        self._ended = threading.Event()
        self._handlers: dict[int, Any] = {}
        self._written, self._read = socket.socketpair()
        self._before = -1
        self._excepthook = sys.excepthook

    def start(self) -> None:
        """Begin to handle signals; only the main thread may call this."""
        global _watch
        _watch = self
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._handlers[number] = signal.signal(number, self._handle)
        self._written.setblocking(False)
        self._before = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        self._excepthook, sys.excepthook = sys.excepthook, self._end
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def stop(self) -> None:
        """Restore the earlier signal handlers and `sys.excepthook`."""
        global _watch
        _watch = None
        sys.excepthook = self._excepthook
        self._ended.set()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before)
        self._written.close()

    def check(self) -> None:
        """Raise `Stopped` if a signal arrived while the main thread had work to finish."""
        if self.number:
            raise Stopped(self.number)

    def free(self) -> None:
        """Mark the work that had to be finished as finished; then check for a signal."""
        self.phase = Phase.FREE
        self.check()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.number:
            return
        self.number = number
        if callable(handler := signal.getsignal(signal.SIGCHLD)):
            # PyTorch's handler raises as soon as a loader worker ends, possibly in the middle of a step;
            # a signal to the whole process group has ended the workers too
            self._handlers[signal.SIGCHLD] = handler
            signal.signal(signal.SIGCHLD, _do_nothing)
        if self.phase is Phase.FREE:
            if self.message:  # not with print: the signal may have interrupted a print
                line = f"segpipe: stopped by {signal.Signals(number).name} {self.message}"
                os.write(2, f"{printable(line)}\n".encode())
            raise Stopped(number)

    def _end(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        """End the process with the status of the signal, without a traceback, if the signal caused the error."""
        if self.number and raised_during(error, Stopped) is not None:
            raise SystemExit(128 + self.number)
        self._excepthook(kind, error, traceback)

    def _wait(self) -> None:
        """End the process if it does not end by itself in time."""
        while True:
            came = self._read.recv(1)
            if not came:
                self._read.close()
                return
            if came[0] in self._handlers and came[0] in SIGNALS:
                break
        if self._ended.wait(PATIENCE_S):
            self._read.close()
            return
        waited = 0.0
        while self.phase is Phase.SAVING and waited < _SAVING_S:
            if self._ended.wait(0.1):
                return
            waited += 0.1
        with suppress(Exception):  # the process must end in any case
            self.on_timeout(signal.Signals(came[0]).name)
        os._exit(128 + came[0])


_watch: SignalWatch | None = None


def _do_nothing(*_: object) -> None:
    pass


def _forget_in_child() -> None:
    """Leave signals to the parent: a loader worker that Ctrl-C reaches continues until its parent has ended."""
    global _watch
    if _watch is None:
        return
    _watch = None
    with suppress(ValueError):  # not the main thread
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


os.register_at_fork(after_in_child=_forget_in_child)


def current_watch() -> SignalWatch | None:
    """Return the signal watch of this process; None if there is none."""
    return _watch

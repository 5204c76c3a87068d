"""The end of a training by SIGINT (Ctrl-C), SIGTERM or SIGHUP: at a moment at which its state is whole, within 10 s."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from types import FrameType
from typing import Any

from segpipe.printable import printable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 7.0
"""Seconds from a signal to the end of a process that does not end by itself; writing its state comes on top."""
_SAVING_S = 120.0  # at most, for a state that is being written: without it a slow disk would cost the epoch


class Stopped(SystemExit):
    """A signal ends the process, with 128 and its number as exit status, as shells have it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name

    def __str__(self) -> str:
        """Return what a log shows."""
        return f"stopped by {self.name}"


class Phase(StrEnum):
    """What a signal meets."""

    FREE = "free"
    """Nothing that must be finished: the signal ends it at once."""
    STEP = "step"
    """A step of the optimiser: it is finished first, since half a step is no state to go on from."""
    SAVING = "saving"
    """A state or weights are being written: they are written to the end first."""


class SignalWatch:
    """Turns a signal into `Stopped`, raised in the main thread at once or at the next `check`.

    Python runs signal handlers only between its own instructions, and one call into PyTorch may take many seconds.
    A thread therefore waits for the signal, too; after `PATIENCE_S` it ends the process without the main thread.
    SIGHUP of a program that was started by nohup stays ignored, and a program's own handlers stay.

    Args:
        on_timeout: called in that thread before it ends the process, with the signal's name.

    Attributes:
        message: written to standard error where a signal ends the main thread at once; for the time before a training.
        phase: of the main thread now.
        number: of the signal that came; 0 for none.
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

    def start(self) -> None:
        """Begin to listen; of the main thread only."""
        global _watch
        _watch = self
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._handlers[number] = signal.signal(number, self._handle)
        self._written.setblocking(False)
        self._before = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and handle signals as before."""
        global _watch
        _watch = None
        self._ended.set()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before)
        self._written.close()

    def check(self) -> None:
        """Raise `Stopped` if a signal came while the main thread had something to finish."""
        if self.number:
            raise Stopped(self.number)

    def free(self) -> None:
        """Say that what had to be finished is finished."""
        self.phase = Phase.FREE
        self.check()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.number:
            return
        self.number = number
        if callable(handler := signal.getsignal(signal.SIGCHLD)):
            # PyTorch's raises as soon as a loader worker is gone, in the middle of a step perhaps; the signal
            # that a whole group of processes gets has ended the workers, too
            self._handlers[signal.SIGCHLD] = handler
            signal.signal(signal.SIGCHLD, _do_nothing)
        if self.phase is Phase.FREE:
            if self.message:  # not by print, which the signal may have broken into
                said = f"segpipe: stopped by {signal.Signals(number).name} {self.message}"
                os.write(2, f"{printable(said)}\n".encode())
            raise Stopped(number)

    def _wait(self) -> None:
        """End the process if it takes too long to end by itself."""
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
        with suppress(Exception):  # whatever goes wrong, the process ends
            self.on_timeout(signal.Signals(came[0]).name)
        os._exit(128 + came[0])


_watch: SignalWatch | None = None


def _do_nothing(*_: object) -> None:
    pass


def _forget_in_child() -> None:
    """Leave signals to the parent: a loader worker that Ctrl-C reaches, too, goes on until its parent has ended."""
    global _watch
    if _watch is None:
        return
    _watch = None
    with suppress(ValueError):  # of a thread that is not the main one
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


os.register_at_fork(after_in_child=_forget_in_child)


def current_watch() -> SignalWatch | None:
    """Return what listens to signals in this process; None where nothing does."""
    return _watch

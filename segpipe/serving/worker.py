"""Starts and asks the process with the network; an upload can end that process, but neither server nor queue."""

from __future__ import annotations

import json
import multiprocessing
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.serving.answer import DEFECT, TIMED_OUT, Answer
from segpipe.serving.options import ServeLimits

_ENDS_WITHIN_S = 5.0


class WorkerProcess:
    """A process that opens the bundle once and computes one upload after the other.

    Args:
        source: the bundle.
        limits: of an upload.
    """

    def __init__(self, source: BundleSource, limits: ServeLimits) -> None:
        self._source, self._limits = source, limits
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._ended = False
        self._lock = threading.Lock()
        self.restarts = 0

    @property
    def is_ready(self) -> bool:
        """Whether the process runs, with the network in its memory."""
        return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        """Start the process, and wait until the bundle is open.

        Raises:
            SegpipeError: the bundle is refused, or the process ended.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, self._source, self._limits), name="segpipe-serve-network", daemon=True
        )
        with self._lock:
            if self._ended:
                raise SegpipeError("the server ends")
            process.start()
            self._process, self._connection = process, ours
        theirs.close()
        try:
            refusal = json.loads(ours.recv_bytes())
        except (EOFError, OSError):
            process.join(_ENDS_WITHIN_S)
            raise SegpipeError(
                f"{self._source.root}: the process that opens the bundle ended with exit status {process.exitcode}; "
                "`segpipe predict` with this bundle shows why"
            ) from None
        if refusal:
            process.join(_ENDS_WITHIN_S)
            raise SegpipeError(*refusal)

    def run(self, upload: Path, output: Path) -> Answer:
        """Compute an upload; restart the process if it ended or takes too long.

        Args:
            upload: folder with the uploaded file.
            output: an existing folder for the files of the answer.
        """
        try:
            if not self.is_ready:
                self.restarts += 1
                self.start()
        except SegpipeError as error:
            reason = str(error)  # about the bundle, not about a scan
            return Answer(
                DEFECT, "the bundle cannot be opened again; the server's log has the reason", where=(reason,)
            )
        connection = self._connection
        if connection is None:  # `start` sets it
            raise RuntimeError("no connection to the worker")
        try:
            connection.send_bytes(json.dumps([str(upload), str(output)]).encode())
            if connection.poll(self._limits.seconds):
                return Answer.from_json(connection.recv_bytes())
        except (EOFError, OSError):
            return self._crashed()
        self._kill()
        return Answer(
            TIMED_OUT,
            f"the scan took longer than {self._limits.seconds:g} s; upload a smaller part, or raise --max-seconds",
        )

    def _crashed(self) -> Answer:
        process = self._process
        if process is not None:
            process.join(_ENDS_WITHIN_S)
        status = None if process is None else process.exitcode
        self._kill()
        return Answer(
            DEFECT,
            "the process with the network ended; memory may not have sufficed, or a damaged file ended a reader",
            where=(f"exit status {status}",),
        )

    def _kill(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join(_ENDS_WITHIN_S)

    def stop(self) -> None:
        """End the process at once; a computation that runs is given up, and `run` returns."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()
                self._process.join(_ENDS_WITHIN_S)


def _work(connection: Connection, source: BundleSource, limits: ServeLimits) -> None:
    """Answer uploads in the new process; only this one imports torch."""
    from segpipe.serving.network import answer_uploads

    answer_uploads(connection, source, limits)

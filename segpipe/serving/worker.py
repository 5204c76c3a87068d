"""The process that holds the network: it reads the uploads, so that a bad one can end neither server nor queue."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from segpipe.bundle.source import BundleSource
from segpipe.disk import disk_error
from segpipe.errors import SegpipeError, segpipe_cause
from segpipe.serving.answer import DEFECT, DISK_FULL, REFUSED, TIMED_OUT, Answer
from segpipe.serving.options import ServeLimits
from segpipe.serving.steps import UploadSteps, upload_steps
from segpipe.serving.uploaded_files import lay_out

_ENDS_WITHIN_S = 5.0
_NO_MEMORY = "can't allocate memory"  # of a RuntimeError of torch


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
    """Open the bundle, and answer uploads until the server closes the connection."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the server ends this process
    os.umask(0o077)
    try:
        steps = upload_steps(source, limits)
    except SegpipeError as error:
        connection.send_bytes(json.dumps(error.args).encode())
        return
    _silence()
    connection.send_bytes(b"[]")
    while True:
        try:
            upload, output = json.loads(connection.recv_bytes())
        except EOFError:
            return
        connection.send_bytes(answer_upload(steps, Path(upload), Path(output), limits).to_json())


def _silence() -> None:
    """Send what libraries print about a scan nowhere: it may name a patient."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def answer_upload(steps: UploadSteps, upload: Path, output: Path, limits: ServeLimits) -> Answer:
    """Return the answer about an upload: the result, or why there is none.

    Args:
        steps: of the bundle's task.
        upload: folder with the uploaded file.
        output: an existing folder for the files of the answer.
        limits: of an upload.
    """
    try:
        return steps(lay_out(upload, limits), output)
    except Exception as error:  # whatever an upload does, the next one is answered
        known = segpipe_cause(error)
        if disk_error(error) is not None:
            return Answer(DISK_FULL, "the server's disk is full; try again later")
        if known is not None:
            return Answer(REFUSED, _without_folders(str(known), upload, output))
        if isinstance(error, MemoryError) or _NO_MEMORY in str(error):
            return Answer(DEFECT, "the server's memory does not suffice for the scan; upload a smaller part")
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        message = f"a defect of segpipe ({type(error).__name__}); the server's log has its place"
        return Answer(DEFECT, message, where=(type(error).__name__, *where))


def _without_folders(message: str, upload: Path, output: Path) -> str:
    """Return a message without the server's folders."""
    for folder in (upload / "scan", upload, output):
        message = message.replace(f"{folder}/", "").replace(str(folder), "the upload")
    return message

"""The process with the network: it reads the uploads, and answers each of them."""

from __future__ import annotations

import json
import logging
import os
import signal
import traceback
import warnings
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from segpipe.bundle.source import BundleSource
from segpipe.disk import disk_error
from segpipe.errors import SegpipeError, segpipe_cause
from segpipe.serving.answer import DEFECT, DISK_FULL, REFUSED, Answer
from segpipe.serving.options import ServeLimits
from segpipe.serving.steps import UploadSteps, upload_steps
from segpipe.serving.uploaded_files import lay_out

_NO_MEMORY = "can't allocate memory"  # of a RuntimeError of torch


def answer_uploads(connection: Connection, source: BundleSource, limits: ServeLimits) -> None:
    """Open the bundle, and answer uploads until the server closes the connection.

    Args:
        connection: to the server; the first message is an empty list, or the reason why the bundle is refused.
        source: the bundle.
        limits: of an upload.
    """
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
        answer = steps(lay_out(upload, limits), output)
        withheld = {name: _without_folders(why, upload, output) for name, why in answer.withheld.items()}
        return replace(answer, withheld=withheld)
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

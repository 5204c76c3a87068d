"""Receives an upload: into a place of the queue, within the limits, and under the suffix of its format."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import HTTPException, Request

from segpipe.disk import disk_error
from segpipe.serving.answer import DISK_FULL
from segpipe.serving.jobs import Desk, FullError, Job
from segpipe.serving.options import ServeOptions
from segpipe.serving.upload_kinds import START_BYTES, TAKEN, UPLOAD, upload_suffix

_FORM = "multipart/form-data"


async def received_upload(request: Request, desk: Desk, options: ServeOptions) -> Job:
    """Receive an upload into a place of the queue, and have it computed.

    Args:
        request: its body is the file.
        desk: takes the upload.
        options: of the server.

    Raises:
        HTTPException: the upload is not taken, with the status and the reason.
        ClientDisconnect: the client went away.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _FORM:
        raise HTTPException(415, "send the file itself as the body: curl --data-binary @FILE, not -F")
    most = options.limits.upload_bytes
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise _too_large(options)
    try:
        job = desk.open()
    except FullError as full:
        raise HTTPException(503, str(full), {"Retry-After": str(full.seconds)}) from None
    except OSError as error:
        raise _disk_full(error) from error
    try:
        async with asyncio.timeout(options.upload_seconds):
            size = await _write(request, job.upload / UPLOAD, options)
        _name(job.upload / UPLOAD)
    except BaseException as error:
        desk.drop(job)
        if isinstance(error, TimeoutError):
            seconds = f"{options.upload_seconds:g}"
            raise HTTPException(408, f"the upload took longer than {seconds} s; --upload-seconds") from None
        if isinstance(error, OSError):
            raise _disk_full(error) from error
        raise
    desk.enqueue(job, size)
    return job


async def _write(request: Request, path: Path, options: ServeOptions) -> int:
    """Write the body of a request to a file as it comes; return its bytes."""
    size = 0
    with path.open("xb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > options.limits.upload_bytes:
                raise _too_large(options)
            file.write(chunk)
    return size


def _name(path: Path) -> None:
    """Give an upload the suffix of its format."""
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    if not start:
        raise HTTPException(
            400, "the body is empty; send the scan's file as the body: curl --data-binary @FILE"
        )
    suffix = upload_suffix(start)
    if suffix is None:
        raise HTTPException(415, f"the upload is no scan by its first bytes; send {TAKEN}")
    path.rename(path.with_name(f"{UPLOAD}{suffix}"))


def _too_large(options: ServeOptions) -> HTTPException:
    return HTTPException(
        413,
        f"the upload is larger than {options.limits.megabytes} MiB; compress it, or raise --max-megabytes",
    )


def _disk_full(error: OSError) -> HTTPException:
    if disk_error(error) is None:
        raise error
    return HTTPException(DISK_FULL, "the server's disk is full; try again later")

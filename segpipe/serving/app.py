"""The HTTP interface: POST a scan, GET its result and its label map."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect

from segpipe import __version__
from segpipe.serving.answer import OK
from segpipe.serving.guard import Guard
from segpipe.serving.jobs import JSON_RESULT, Desk, Job
from segpipe.serving.metrics import CONTENT_TYPE, metrics_text
from segpipe.serving.options import ServeOptions
from segpipe.serving.receiving import received_upload

_CHUNK = 1 << 18
_LONGEST_WAIT_S = 60.0
_MEDIA_TYPES = {".dcm": "application/dicom"}
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
_logger = logging.getLogger("segpipe.serving")


def make_app(desk: Desk, options: ServeOptions, bundle: Mapping[str, Any]) -> FastAPI:
    """Return the application; it runs the desk from its start to its end.

    Args:
        desk: takes the uploads.
        options: of the server.
        bundle: what `/health` tells of the bundle.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await desk.start()
        try:
            yield
        finally:
            await desk.stop()

    app = FastAPI(
        title="segpipe serve",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from other hosts
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
    )
    app.add_middleware(Guard, token=options.token)
    app.add_exception_handler(ClientDisconnect, _nobody_listens)
    _add_upload_routes(app, desk, options)
    _add_answer_routes(app, desk)
    _add_state_routes(app, desk, bundle)
    return app


def _add_upload_routes(app: FastAPI, desk: Desk, options: ServeOptions) -> None:
    @app.post("/scans", status_code=202)
    async def post_scan(request: Request) -> JSONResponse:
        """Take a scan: the file itself is the body of the request."""
        try:
            job = await received_upload(request, desk, options)
        except HTTPException as error:
            desk.counts.rejected[error.status_code] += 1
            _logger.info("upload not taken: status %d", error.status_code)
            raise
        return JSONResponse(_status(job, desk), 202, {"Location": f"/scans/{job.id}"})

    @app.delete("/scans/{job_id}", status_code=204)
    async def delete_scan(job_id: str) -> None:
        """Delete a scan and its result."""
        desk.drop(_known(desk, job_id))


def _add_answer_routes(app: FastAPI, desk: Desk) -> None:
    @app.get("/scans/{job_id}")
    async def get_scan(job_id: str, wait: float = Query(0.0, ge=0.0, le=_LONGEST_WAIT_S)) -> Response:
        """Return the state of a scan, and its result once it is finished; `wait`: seconds to wait for it."""
        job = _known(desk, job_id)
        if wait and job.answer is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(job.done.wait(), wait)
        if job.answer is None:
            return JSONResponse(_status(job, desk))
        response = JSONResponse(_status(job, desk), job.answer.status)
        return StreamingResponse(
            _sent(desk, job, JSON_RESULT, bytes(response.body)),
            job.answer.status,
            {"Content-Length": str(len(response.body))},
            "application/json",
        )

    @app.get("/scans/{job_id}/{part}")
    async def get_part(job_id: str, part: str) -> StreamingResponse:
        """Return a file of a result, such as the label map."""
        job = _known(desk, job_id)
        if job.answer is None:
            raise HTTPException(409, "not finished yet; GET the scan with ?wait=30 first")
        if part in job.answer.withheld:
            raise HTTPException(404, job.answer.withheld[part])
        if part not in job.answer.files:
            offered = ", ".join(job.answer.files) or "none"
            raise HTTPException(404, f"the result has no file of this name; its files: {offered}")
        path = job.output / job.answer.files[part]
        suffix = "".join(path.suffixes[-2:])
        headers = {
            "Content-Length": str(path.stat().st_size),
            "Content-Disposition": f'attachment; filename="{part}{suffix}"',
        }
        kind = _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
        return StreamingResponse(_sent(desk, job, part, path), headers=headers, media_type=kind)


def _add_state_routes(app: FastAPI, desk: Desk, bundle: Mapping[str, Any]) -> None:
    @app.get("/health")
    async def get_health() -> JSONResponse:
        """Return whether the next scan can be computed; needs no token."""
        ready = desk.is_ready
        return JSONResponse({"status": "ok" if ready else "restarting"}, OK if ready else 503)

    @app.get("/bundle")
    async def get_bundle() -> JSONResponse:
        """Return what the bundle segments or classifies."""
        return JSONResponse(dict(bundle))

    @app.get("/metrics")
    async def get_metrics() -> PlainTextResponse:
        """Return counts in Prometheus' text format."""
        return PlainTextResponse(metrics_text(desk.counts, desk.gauges()), media_type=CONTENT_TYPE)


def _known(desk: Desk, job_id: str) -> Job:
    job = desk.find(job_id)
    if job is None:
        raise HTTPException(
            404, "no such scan; results are deleted once they were fetched, or some time later"
        )
    return job


def _status(job: Job, desk: Desk) -> dict[str, Any]:
    told: dict[str, Any] = {"id": job.id, "state": str(job.state)}
    if job.answer is None:
        return {**told, "ahead": desk.ahead_of(job)}
    if job.answer.status != OK:
        return {**told, "detail": job.answer.message}
    files = {name: f"/scans/{job.id}/{name}" for name in job.answer.files}
    return {**told, **job.answer.content, "files": files, "withheld": dict(job.answer.withheld)}


async def _sent(desk: Desk, job: Job, part: str, content: bytes | Path) -> AsyncIterator[bytes]:
    """Yield a part of an answer; it counts as fetched when the last byte was taken."""
    if isinstance(content, bytes):
        yield content
    else:
        with content.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    desk.fetched(job, part)


async def _nobody_listens(_: Request, __: Exception) -> JSONResponse:
    """Answer a client that went away."""
    return JSONResponse({"detail": "the client went away"}, 400)

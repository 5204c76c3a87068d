"""Starts the server: address, network, application; ends it in order."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segpipe.bundle.source import BundleSource
from segpipe.configuration.metadata import read_metadata, task_of
from segpipe.errors import SegpipeError
from segpipe.serving.options import ServeOptions
from segpipe.serving.scratch import scratch_folder

_NEEDED = ("fastapi", "starlette", "uvicorn")
_GRACE_S = 5
_MOST_CONNECTIONS = 64


def serve(
    bundle: str | Path | BundleSource, options: ServeOptions, report: Callable[[str], None] = lambda _: None
) -> None:
    """Answer scans over HTTP until a signal ends the process; see `docs/howto/serve.md`.

    Args:
        bundle: the bundle's folder, or a `BundleSource`.
        options: address, token and limits.
        report: called with the address once scans can be sent.

    Raises:
        SegpipeError: the extra `serve` is not installed; an option is out of range; the address is in use, or open to
            other machines without a token; the bundle cannot be opened.
    """
    options.check()
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise SegpipeError(f"{', '.join(missing)}: not installed; run: pip install 'segpipe[serve]'")
    source = BundleSource.of(bundle)
    told = _told_of(Path(source.root))
    mask = os.umask(0o077)  # files of uploads are this user's alone
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        with _bound(options) as bound, scratch_folder(options.scratch) as scratch:
            _run(source, options, bound, scratch, told, report)
    finally:
        signal.signal(signal.SIGTERM, previous)
        os.umask(mask)


def _run(
    source: BundleSource,
    options: ServeOptions,
    bound: socket.socket,
    scratch: Path,
    told: dict[str, Any],
    report: Callable[[str], None],
) -> None:
    import uvicorn

    from segpipe.serving.app import make_app
    from segpipe.serving.jobs import Desk
    from segpipe.serving.worker import WorkerProcess

    worker = WorkerProcess(source, options.limits)
    try:
        worker.start()
        config = uvicorn.Config(
            make_app(Desk(worker, options, scratch), options, told),
            log_config=None,
            access_log=False,  # its lines would name results
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_S,
            ws="none",
        )
        host, port = bound.getsockname()[:2]
        report(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        worker.stop()


def _bound(options: ServeOptions) -> socket.socket:
    """Return a socket at the address before the bundle is opened, so that a used port costs no time."""
    host = "127.0.0.1" if options.host == "localhost" else options.host
    try:
        family, *_, address = socket.getaddrinfo(host, options.port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _no_address(options, error) from error
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # no wait after the last server's end
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _no_address(options, error) from error
    return bound


def _no_address(options: ServeOptions, error: OSError) -> SegpipeError:
    return SegpipeError(
        f"{options.host}:{options.port}: cannot listen there ({error.strerror}); choose another --host or --port"
    )


def _told_of(root: Path) -> dict[str, Any]:
    task = task_of(root)
    metadata = read_metadata(root / "configs" / "metadata.json")
    names = ("name", "version", "description", "intended_use")
    return {"task": task, **{name: metadata[name] for name in names if name in metadata}}


def _end(*_: object) -> None:
    sys.exit(0)


def log_to_stderr() -> None:
    """Write the server's log, and uvicorn's errors, as lines on stderr; no line names a file or a patient."""
    from segpipe.printable import PrintableFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("segpipe.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False

"""Download one file: resume after interruptions, bound size and time, compare the SHA-256."""

from __future__ import annotations

import http.client
import io
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from segpipe.dataset.manifest import Download
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256, sync
from segpipe.printable import printable

_CHUNK = 1 << 14  # bytes; a broken connection loses at most one chunk
_ATTEMPTS = 5  # in a row, each with few new bytes
_PAUSE_S = 1.0
_TIMEOUT_S = 60.0  # without a byte
_WINDOW_S = 60.0
_LEAST_BYTES_PER_S = 1000.0  # mean over a window
_LONGEST_NUMBER = 18  # digits of a length
_BUSY = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)
_UNFINISHED = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
)
Advance = Callable[[int], object]


def download_file(download: Download, target: Path, *, max_bytes: int, max_hours: float) -> None:
    """Download a file; an interrupted download resumes, also that of an earlier call.

    Args:
        download: URL and SHA-256.
        target: path of the finished file. An unfinished file has the same name with `.part` at the end.
        max_bytes: largest size of the file.
        max_hours: time limit of this call. A server that sends less than 1 kB a second over a minute ends it sooner.

    Raises:
        SegpipeError: the server cannot be reached, answers with an error, redirects to another protocol, is too slow,
            or sends another file or too many bytes.
    """
    partial = target.with_name(f"{target.name}.part")
    if target.is_file() and file_sha256(target) == download.sha256:
        return
    pace = _Pace(download.url, max_hours)
    little = 0
    with _bar(download.url) as (grow, total):
        while True:
            before = _size(partial)
            grow(before)
            try:
                done = _receive(download.url, partial, max_bytes, pace, grow, total)
            except _UNFINISHED as error:
                done, reason = False, str(getattr(error, "reason", error) or type(error).__name__)
            else:
                reason = "the connection closed before the end of the file"
            if done:
                break
            little = 0 if _size(partial) - before >= _LEAST_BYTES_PER_S * _WINDOW_S else little + 1
            if little >= _ATTEMPTS:
                raise SegpipeError(
                    f"{download.url}: cannot be downloaded: {reason}; run the same command again to continue"
                )
            time.sleep(_PAUSE_S * little)
    sync(partial)
    digest = file_sha256(partial)
    if digest != download.sha256:
        partial.unlink()
        raise SegpipeError(
            f"{download.url}: SHA-256 is {digest[:12]}..., the manifest says {download.sha256[:12]}...: the server "
            "sends another file, or the file was changed on the way; nothing was unpacked"
        )
    partial.replace(target)


def require_size(what: str, size: int, max_bytes: int) -> None:
    """Refuse a download, or unpacked files, of more than `max_bytes`.

    Args:
        what: the beginning of the message.
        size: bytes so far.
        max_bytes: largest allowed number of bytes.

    Raises:
        SegpipeError: with the bound and the option that raises it.
    """
    if size > max_bytes:
        raise SegpipeError(
            f"{what}: has more than {max_bytes / 1e9:.3g} GB; if that is right, allow more with --max-gb"
        )


class _Pace:
    """The speed of a download: counts the bytes of a connection and ends a connection that is too slow."""

    def __init__(self, url: str, max_hours: float) -> None:
        self._url, self._max_hours = url, max_hours
        self._end = time.monotonic() + 3600 * max_hours
        self.begin()

    def begin(self) -> None:
        """Begin a connection; the connection's timeout bounds the time until the first byte."""
        self._since: float | None = None
        self._bytes = 0

    def count(self, size: int) -> None:
        """Count received bytes.

        Raises:
            SegpipeError: the server sends too slowly, or the time is over.
        """
        now = time.monotonic()
        if now > self._end:
            raise SegpipeError(
                f"{self._url}: takes longer than {self._max_hours:g} h; run the same command again to continue, or "
                "allow more with --max-hours"
            )
        if self._since is None:
            self._since = now
        self._bytes += size
        if now - self._since >= _WINDOW_S:
            rate = self._bytes / (now - self._since)
            if rate < _LEAST_BYTES_PER_S:
                raise SegpipeError(
                    f"{self._url}: the server sends {rate:.3g} bytes a second, must be at least "
                    f"{_LEAST_BYTES_PER_S:g}; run the same command again later to continue"
                )
            self._since, self._bytes = now, 0


class _CountedSocket(io.RawIOBase):
    """A socket's raw stream that counts the bytes read."""

    def __init__(self, raw: io.RawIOBase, pace: _Pace) -> None:
        self._raw, self._pace = raw, pace

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read once."""
        size = self._raw.readinto(buffer)
        self._pace.count(size or 0)
        return size

    def close(self) -> None:
        """Close the raw stream, too."""
        self._raw.close()
        super().close()


def _opener(pace: _Pace) -> urllib.request.OpenerDirector:
    """Return an opener for http and https only, which counts every byte, also of headers."""

    class Response(http.client.HTTPResponse):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            pace.begin()
            self.fp = io.BufferedReader(_CountedSocket(self.fp.detach(), pace))

    class Connection(http.client.HTTPConnection):
        response_class = Response

    class SecureConnection(http.client.HTTPSConnection):
        response_class = Response

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Connection, request)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(SecureConnection, request)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        Plain(),
        Secure(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A handler that follows redirects to http and https addresses only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request for the new address."""
        fp.close()  # otherwise urllib reads the page of the redirect, of any length
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise SegpipeError(
                f"{req.full_url}: the server redirects to {newurl}, must be http or https; check whether the data "
                "set has moved"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(url: str, partial: Path, max_bytes: int, pace: _Pace, grow: Advance, total: Advance) -> bool:
    """Append the rest of a file from a server; return whether the file is complete."""
    have = _size(partial)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-", "User-Agent": "segpipe"})  # noqa: S310
    try:
        response = _opener(pace).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return True  # the file was complete; the checksum decides whether it is right
        if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code in _BUSY:
            raise
        raise SegpipeError(
            f"{url}: the server answers {error.code} {error.reason}; check whether the data set has moved"
        ) from error
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        begins = _first_byte(response.headers.get("Content-Range", "")) if resumed else 0
        if begins not in (0, have):
            raise SegpipeError(
                f"{url}: the server sends bytes from {begins} on, {have} were asked for; try again later"
            )
        length = _number(response.headers.get("Content-Length", ""))
        whole = None if length is None else begins + length
        if whole is not None:
            total(whole)
            require_size(url, whole, max_bytes)
            _require_space(url, whole - begins, partial.parent)
        size = begins
        with partial.open("ab" if begins else "wb") as file:
            while chunk := response.read(_CHUNK):
                size += len(chunk)
                require_size(url, size, max_bytes)
                file.write(chunk)
                grow(size)
    return whole is None or size >= whole


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _first_byte(content_range: str) -> int:
    """Return the first byte of a range such as `bytes 100-199/200`, here 100."""
    return _number(content_range.removeprefix("bytes ").partition("-")[0]) or 0


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else None


def _require_space(url: str, size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise SegpipeError(
            f"{url}: {size / 1e9:.3g} GB are still to be downloaded, {free / 1e9:.3g} GB are free in {folder}; "
            "choose another folder"
        )


@contextmanager
def _bar(url: str) -> Iterator[tuple[Advance, Advance]]:
    """Show the progress of a download on stderr, if stderr is a terminal."""
    console = Console(stderr=True)
    columns: tuple[Any, ...] = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(printable(PurePosixPath(url).name), total=None)
        yield (lambda size: bar.update(task, completed=size)), (lambda size: bar.update(task, total=size))

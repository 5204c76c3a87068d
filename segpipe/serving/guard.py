"""Decides who may ask: by token, or, without one, programs of this machine but no web page in its browser."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse

from segpipe.serving.options import is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN_PATHS = ("/health",)
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """Answers requests that may not pass; adds headers that keep answers out of caches and pages.

    Args:
        app: takes the requests that may pass.
        token: that clients send; None: only requests that name this machine in `Host`, and come from no web page.
    """

    def __init__(self, app: App, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        refusal = None if scope["path"] in _OPEN_PATHS else self._refusal(scope)
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        if self._token is None:
            return _refuse_pages(scope)
        given = _header(scope, b"authorization")
        kind, _, token = given.partition(b" ")
        # compared to the last byte, so that the time tells nothing of the token
        is_right = hmac.compare_digest(token.strip(), self._token.encode())
        if kind.lower() == b"bearer" and is_right:
            return None
        detail = "send the header `Authorization: Bearer TOKEN`" if not given else "the token is wrong"
        return JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})


def _refuse_pages(scope: Scope) -> JSONResponse | None:
    """Refuse what a web page in a browser of this machine may send: a page's `Origin`, or another name in `Host`."""
    host = _header(scope, b"host").decode("latin-1")
    if not _names_this_machine(f"//{host}"):
        detail = (
            "the header Host must name this machine, such as 127.0.0.1; for another name start with a token"
        )
        return JSONResponse({"detail": detail}, 421)
    origin = _header(scope, b"origin").decode("latin-1")
    if origin and not _names_this_machine(origin):
        return JSONResponse({"detail": "requests of web pages are refused; start with a token"}, 403)
    return None


def _names_this_machine(address: str) -> bool:
    try:
        return is_loopback(urlsplit(address).hostname or "")
    except ValueError:
        return False


def _header(scope: Scope, name: bytes) -> bytes:
    found = [value for key, value in scope["headers"] if key == name]
    return found[0] if len(found) == 1 else b""

"""Calls an ASGI application without a network: a test says which chunks come, and when the client goes away."""

import asyncio
import json
from dataclasses import dataclass, field

GONE = object()
"""Among the chunks of a body: the client goes away here."""


@dataclass
class Reply:
    """Status, headers (lower case) and body of a response."""

    status: int = 0
    headers: dict = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self):
        return json.loads(self.body)


async def call(app, method, path, chunks=(), headers=None, pause=0.0, gone_after=None):
    """Send a request, and return the reply.

    Args:
        app: the application.
        method: GET and so on.
        path: with its query.
        chunks: of the body; `GONE` ends it as a client that goes away.
        headers: of the request; Host is 127.0.0.1.
        pause: seconds before each chunk.
        gone_after: number of messages of the reply after which the client is gone.
    """
    path, _, query = path.partition("?")
    sent = {"host": "127.0.0.1:8000", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(key.lower().encode(), value.encode("latin-1")) for key, value in sent.items()],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8000),
    }
    reply, waiting, messages, closed = Reply(), [*chunks, None], 0, asyncio.Event()

    async def receive():
        if not waiting:
            await closed.wait()
            return {"type": "http.disconnect"}
        await asyncio.sleep(pause)
        chunk = waiting.pop(0)
        if chunk is GONE:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message):
        nonlocal messages
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {key.decode().lower(): value.decode() for key, value in message["headers"]}
        else:
            reply.body += message.get("body", b"")
        messages += 1
        if messages == gone_after:
            closed.set()
            await asyncio.sleep(3600)  # a client that takes no more

    await app(scope, receive, send)
    return reply

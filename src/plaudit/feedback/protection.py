"""What surrounds every request, as plain ASGI: sizes, hosts, other sites, and what the browser is told to forbid."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY = 2_000_000
"""Bytes of a request; of an upload LARGEST_UPLOAD."""
LARGEST_UPLOAD = 50_000_000
LOOPBACK = {"127.0.0.1", "localhost", "::1", "testserver"}
HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
}


class TooLarge(Exception):
    """The body is larger than allowed."""


class Protection:
    """Refuses what no page of ours sends, before anything reads it."""

    def __init__(self, app: App, hosts: frozenset[str] | None) -> None:
        """hosts: names that a request may ask for (a page elsewhere cannot rebind its own name to us); None allows all."""
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        started = False

        async def guarded_send(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = {name for name, _ in message.get("headers", [])}
                extra = [(name, value) for name, value in HEADERS.items() if name not in given]
                if not scope["path"].startswith("/static/"):
                    extra.append((b"cache-control", b"no-store"))
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        refused = self._refused(scope, headers)
        if refused:
            await _answer(guarded_send, *refused)
            return
        largest = LARGEST_UPLOAD if scope["path"].endswith("/import") else LARGEST_BODY
        read = 0

        async def limited_receive() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > largest:
                raise TooLarge
            return message

        try:
            await self.app(scope, limited_receive, guarded_send)
        except TooLarge:
            if not started:
                await _answer(guarded_send, 413, f"a request has at most {largest:,} bytes")

    def _refused(self, scope: Scope, headers: dict[bytes, str]) -> tuple[int, str] | None:
        host = headers.get(b"host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return 421, "this server does not answer to that name"
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        site, origin = headers.get(b"sec-fetch-site", "same-origin"), headers.get(b"origin", "")
        if site not in ("same-origin", "none") or (origin and parts(origin).netloc != host):
            return 403, "this was sent from another site"
        length = headers.get(b"content-length", "0")
        largest = LARGEST_UPLOAD if scope["path"].endswith("/import") else LARGEST_BODY
        if length.isdecimal() and int(length) > largest:
            return 413, f"a request has at most {largest:,} bytes"
        return None


def _name(host: str) -> str:
    """The name of `name:port` or `[::1]:port`."""
    return (parts(f"//{host}").hostname or "") if "@" not in host else ""


def parts(address: str) -> SplitResult:
    """The parts of an address that a browser named; all empty where it is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

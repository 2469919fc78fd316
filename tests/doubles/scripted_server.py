"""A double of an API server on loopback: it answers each request with what a test wrote down for it.

It is for what a real server cannot be made to do on demand, and knows nothing of objects: paths and answers are the
test's. What has no answer is answered as an API server answers unknown paths, and remembered in `unexpected`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("bearer ")


class ScriptedServer:
    """Use it as an asynchronous context. Of several answers to one request each is given once, the last one again."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._answers: dict[tuple[str, str], list[Answer]] = {}
        self.seen: list[Seen] = []
        self.unexpected: list[Seen] = []
        self.url = ""

    def on(self, request: str, *answers: Answer) -> None:
        """Answer `METHOD /path`, from now on, with these in turn. `/path?watch` is a watch of that path."""
        method, _, path = request.partition(" ")
        self._answers[method, path] = list(answers)

    def count(self, request: str) -> int:
        """How often `METHOD /path` came."""
        method, _, path = request.partition(" ")
        return sum((one.method, _with_watch(one.path, one.query)) == (method, path) for one in self.seen)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(
            method=request.method,
            path=request.raw_path.partition("?")[0],
            query=dict(request.query),
            headers=dict(request.headers),
            body=await request.read(),
        )
        self.seen.append(seen)
        answers = self._answers.get((seen.method, _with_watch(seen.path, seen.query)))
        if not answers:
            self.unexpected.append(seen)
            return web.Response(status=404, text="404 page not found\n")
        return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)

    def kubeconfig(
        self, folder: Path, *, user: Mapping[str, Any] | None = None, cluster: Mapping[str, Any] | None = None
    ) -> str:
        """Write a kubeconfig with one context, `double`, that leads here; answers where it is."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": self.url, **(cluster or {})}}],
            "users": [{"name": "double", "user": dict(user or {"token": "first"})}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double"}}],
        }
        path = folder / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
        return str(path)


def _with_watch(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?watch" if query.get("watch") else path


def said(body: object, *, code: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer as JSON; text as it is, as HTML."""
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/html" if isinstance(body, str) else "application/json"

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers, content_type=kind)

    return answer


def raw(body: bytes, *, code: int = 200) -> Answer:
    """An answer of these very bytes."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, body=body, content_type="application/json")

    return answer


def status(
    code: int, message: str = "", *, reason: str = "", headers: Mapping[str, str] | None = None, **details: Any
) -> Answer:
    """A Status object that says why not."""
    body = {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "message": message,
        "reason": reason,
        "details": details,
    }
    return said(body, code=code, headers=headers)


def _cut(request: web.Request) -> None:
    """End the connection as a machine that goes away does: with a reset."""
    transport = request.transport
    if transport is not None:
        raw_socket = transport.get_extra_info("socket")
        with suppress(OSError):
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


async def reset(request: web.Request) -> web.StreamResponse:
    """The connection ends before any byte of an answer."""
    _cut(request)
    return web.Response()


def torn(body: object, *, after: int) -> Answer:
    """The headers of a whole answer, and so many bytes of it; then the connection ends."""
    data = json.dumps(body).encode()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[:after])
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


async def silence(_request: web.Request) -> web.StreamResponse:
    """No answer, until whoever asked goes away."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable: nobody sets it")


async def endless(request: web.Request) -> web.StreamResponse:
    """An answer that begins as JSON and has no end, nor a line's."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"kind":"')
    with suppress(ConnectionError):
        while True:
            await response.write(b"x" * 2**20)
    return response


def stream(*lines: object, then: str = "end") -> Answer:
    """Lines of a watch, JSON or bytes; then the end of the answer, `reset` or `silence`. An event among the lines is
    waited for.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for line in lines:
            if isinstance(line, asyncio.Event):
                await line.wait()
                continue
            await response.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        if then == "silence":
            await asyncio.Event().wait()
        if then == "reset":
            _cut(request)
        return response

    return answer

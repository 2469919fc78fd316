"""A proxy on loopback between us and a real API server that lets chosen requests go wrong in chosen ways.

It ends TLS under an authority of its own, or speaks without, and passes tokens on, so that the server behind it knows
who asks. What happens behind it is real: an effect whose reply is lost has happened.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

_NOT_PASSED_ON = frozenset(
    {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "te", "trailer"}
)
LATENCY_S = 0.15


class Fault(StrEnum):
    """What happens to a request."""

    LATENCY = "latency"
    RESET_BEFORE = "reset before"
    RESET_AFTER = "reset after the effect"
    TORN = "torn reply"
    ERROR = "500 instead"
    ERROR_AFTER = "503 after the effect"
    BUSY = "429"
    GONE = "410"
    SILENCE_AFTER = "silence after the effect"


_INSTEAD = {Fault.ERROR: 500, Fault.BUSY: 429, Fault.GONE: 410}
"""Statuses that are answered without asking the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request that came. `number` counts from 1."""

    number: int
    method: str
    path: str
    query: Mapping[str, str]
    token: str

    @property
    def watches(self) -> bool:
        return "watch" in self.query

    @property
    def writes(self) -> bool:
        return self.method != "GET"


Script = Callable[[Exchange], Fault | None]
Hook = Callable[[Exchange], Awaitable[None]]


def _no_fault(_exchange: Exchange) -> Fault | None:
    return None


class FaultProxy:
    """Use it as an asynchronous context. `script` chooses faults; `before` is awaited before a request is passed on,
    `after` before its reply is.
    """

    def __init__(self, upstream: str, trusting: ssl.SSLContext, showing: ssl.SSLContext | None) -> None:
        self._upstream = upstream
        self._trusting = trusting
        self._showing = showing
        self.script: Script = _no_fault
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.retry_after = "0"
        """What a 429 asks for."""
        self.exchange_tokens: dict[str, str] = {}
        """Tokens that are passed on as others: one that has ended since."""
        self.seen: list[Exchange] = []
        self.played: list[tuple[Exchange, Fault]] = []
        self.url = ""

    def be_well(self) -> None:
        """Let nothing go wrong from now on."""
        self.script, self.before, self.after = _no_fault, None, None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._trusting, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._showing).start()
        scheme = "https" if self._showing else "http"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        exchange = Exchange(
            number=len(self.seen) + 1,
            method=request.method,
            path=request.raw_path.partition("?")[0],
            query=dict(request.query),
            token=request.headers.get("Authorization", "").removeprefix("Bearer "),
        )
        self.seen.append(exchange)
        fault = self.script(exchange)
        if fault is not None:
            self.played.append((exchange, fault))
        if self.before is not None:
            await self.before(exchange)
        try:
            return (
                await self._watch(request, exchange, fault)
                if exchange.watches
                else await self._play(request, exchange, fault)
            )
        except aiohttp.ClientError:  # the server behind is not there
            return _cut(request)

    async def _play(self, request: web.Request, exchange: Exchange, fault: Fault | None) -> web.StreamResponse:
        if fault is Fault.RESET_BEFORE:
            return _cut(request)
        if fault in _INSTEAD:
            return self._said(_INSTEAD[fault])
        if fault is Fault.LATENCY:
            await asyncio.sleep(LATENCY_S)
        async with self._passed_on(request) as answer, _abandoned(answer):
            body = await answer.read()
        if self.after is not None:
            await self.after(exchange)
        match fault:
            case Fault.RESET_AFTER:
                return _cut(request)
            case Fault.ERROR_AFTER:
                return self._said(503)
            case Fault.SILENCE_AFTER:
                await asyncio.Event().wait()
            case Fault.TORN:
                return await _torn(request, answer, body)
            case Fault.LATENCY:
                await asyncio.sleep(LATENCY_S)
        return web.Response(status=answer.status, body=body, headers=_kept(answer.headers))

    async def _watch(self, request: web.Request, exchange: Exchange, fault: Fault | None) -> web.StreamResponse:
        """A stream: what goes wrong does so at its beginning, or in the middle of its first line."""
        if fault is Fault.RESET_BEFORE:
            return _cut(request)
        if fault in (Fault.ERROR, Fault.BUSY):
            return self._said(_INSTEAD[fault])
        async with self._passed_on(request) as answer, _abandoned(answer):
            response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
            await response.prepare(request)
            with suppress(ConnectionError):
                if fault is Fault.GONE:
                    error = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                    await response.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
                    return response
                async for chunk in answer.content.iter_any():
                    if fault is not None and fault is not Fault.LATENCY:
                        await response.write(chunk[: len(chunk) // 2])
                        return response if fault is Fault.TORN else _cut(request)
                    if fault is Fault.LATENCY:
                        await asyncio.sleep(LATENCY_S)
                    await response.write(chunk)
        return response

    def _passed_on(self, request: web.Request) -> aiohttp.client._RequestContextManager:
        headers = _kept(request.headers)
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.exchange_tokens:
            headers["Authorization"] = f"Bearer {self.exchange_tokens[token]}"
        return self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            data=request.content if request.body_exists else None,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    def _said(self, code: int) -> web.Response:
        reasons = {429: "TooManyRequests", 410: "Expired"}
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reasons.get(code, "InternalError"),
            "message": f"the fault proxy says {code}",
        }
        headers = {"Retry-After": self.retry_after} if code == 429 else None
        return web.json_response(body, status=code, headers=headers)


@asynccontextmanager
async def _abandoned(answer: aiohttp.ClientResponse) -> AsyncIterator[None]:
    """End the server's connection with the block, unless it was read to its end and may be used again."""
    try:
        yield
    finally:
        if answer.connection is not None and answer.connection.transport is not None:
            answer.connection.transport.abort()


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() not in _NOT_PASSED_ON}


def _cut(request: web.Request) -> web.StreamResponse:
    """End the connection as a machine that goes away does: with a reset."""
    transport = request.transport
    if transport is not None:
        with suppress(OSError, AttributeError):
            option = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        transport.abort()
    return web.Response()


async def _torn(request: web.Request, answer: aiohttp.ClientResponse, body: bytes) -> web.StreamResponse:
    """The headers of all of it and half of the body; then the connection ends."""
    headers = {**_kept(answer.headers), "Content-Length": str(max(len(body), 1))}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response

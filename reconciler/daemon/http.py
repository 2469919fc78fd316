"""What a daemon answers over HTTP: whether it lives, whether it does its work, and its metrics. Nothing here changes
anything, so nothing here asks who is there; whoever listens to more than this machine says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from reconciler.daemon.measures import Measures
from reconciler.model.errors import UsageError

MAX_BODY = 1024
"""Bytes of a request's body: no request here has one."""
MAX_LINE = 4096
KEEP_ALIVE_S = 15.0


@asynccontextmanager
async def served(address: str, measures: Measures, ready: Callable[[], str]) -> AsyncIterator[str]:
    """Listen at `address` (HOST:PORT, port 0 for a free one) while the block lasts, and answer where.

    `ready` says why the daemon is not ready, "" when it is. Raises UsageError for an address that cannot be used.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"{address!r} is no address to listen at", hint="HOST:PORT, like 127.0.0.1:9464")

    async def live(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readiness(_request: web.Request) -> web.Response:
        why = ready()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=measures.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes([web.get("/healthz", live), web.get("/readyz", readiness), web.get("/metrics", metrics)])
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, max_line_size=MAX_LINE, max_field_size=MAX_LINE
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        try:
            await site.start()
        except OSError as error:
            raise UsageError(
                f"cannot listen at {address}: {error.strerror or error}", hint="choose another port"
            ) from error
        bound = runner.addresses[0]
        yield f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()

"""Listening: an address, TLS, and the application behind the guard, while a block lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from reconciler.daemon.http import openapi, probes, reading
from reconciler.daemon.http.access import Callers, Right
from reconciler.daemon.http.certificates import Renewing, Tls
from reconciler.daemon.http.changing import Changing
from reconciler.daemon.http.clients import Clients
from reconciler.daemon.http.guard import Guard, loopback_hosts
from reconciler.daemon.http.handshakes import Handshake
from reconciler.daemon.http.inside import Inside
from reconciler.daemon.http.limits import Connection, Crowd, Limits, Rates
from reconciler.daemon.http.repeats import Repeats
from reconciler.daemon.http.routes import Answer, Call, Route
from reconciler.daemon.http.signatures import NO_SECRETS, Secrets
from reconciler.daemon.http.webhook import Seen, Webhook
from reconciler.model.errors import UsageError

HANDSHAKE_S = 5.0
BACKLOG = 128
_quiet = logging.getLogger("reconciler.http")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


def nobody() -> Callers:
    """No callers."""
    return Callers(certificates={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where and to whom. `address` is HOST:PORT, port 0 for a free one. `anonymous`: whoever is on this machine may
    read; only for a listener that nobody else can reach, through a proxy neither. `clients` knows the proxies.
    """

    address: str
    callers: Callable[[], Callers] = nobody
    secrets: Callable[[], Secrets] = lambda: NO_SECRETS
    anonymous: bool = False
    tls: Tls | None = None
    clients: Clients = field(default_factory=Clients)
    limits: Limits = field(default_factory=Limits)

    def host_and_port(self) -> tuple[str, int]:
        """Raises UsageError."""
        host, colon, port = self.address.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > 65_535:
            raise UsageError(f"{self.address!r} is no address to listen at", hint="HOST:PORT, like 127.0.0.1:9464")
        return host.strip("[]"), int(port)


def routes(webhook: Webhook, changing: Changing) -> tuple[Route, ...]:
    """All that is served."""
    served = (*probes.ROUTES, webhook.route(), *reading.ROUTES, *changing.routes())

    async def described(_call: Call) -> Answer:
        return Answer(value=openapi.document((*served, itself)))

    itself = Route(
        method="GET", path="/openapi.json", name="openapi", summary="This document", right=Right.READ,
        handle=described, answers=dict,
    )  # fmt: skip
    return (*served, itself)


@asynccontextmanager
async def served(listening: Listening, inside: Inside) -> AsyncIterator[str]:
    """Listen while the block lasts, and answer where. Raises UsageError for what cannot be meant or used."""
    host, port = listening.host_and_port()
    hosts = loopback_hosts(host)
    if listening.anonymous and hosts is None:
        raise UsageError(
            f"whoever reaches {listening.address} could read without being known", hint="listen at 127.0.0.1 for that"
        )
    if listening.anonymous and listening.clients.proxies:
        raise UsageError("whoever reaches a trusted proxy could read without being known", hint="name callers instead")
    limits, monotonic = listening.limits, inside.clock.monotonic
    certificates = Renewing(listening.tls, monotonic) if listening.tls is not None else None
    guard = Guard(
        inside=inside,
        callers=listening.callers,
        anonymous=listening.anonymous,
        hosts=hosts,
        limits=limits,
        rates=Rates(limits, monotonic),
        repeats=Repeats(monotonic=monotonic, most=limits.keys),
        clients=listening.clients,
    )
    webhook = Webhook(
        secrets=listening.secrets, limits=limits, seen=Seen(monotonic=monotonic, most=2 * limits.deliveries)
    )
    changing = Changing()
    runner = web.AppRunner(guard.app(routes(webhook, changing)), access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        server = await _bound(runner, listening.address, host, port, certificates, Crowd(limits, listening.clients))
        try:
            bound = server.sockets[0].getsockname()
            yield f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
        finally:
            server.close()
            await changing.close()
    finally:
        await runner.cleanup()


async def _bound(
    runner: web.AppRunner, address: str, host: str, port: int, certificates: Renewing | None, crowd: Crowd
) -> asyncio.Server:
    """Sockets that listen, whose connections are counted and timed from their first moment on."""
    manager, limits = runner.server, crowd.limits
    assert manager is not None  # noqa: S101 - it was set up

    def connection() -> Connection:
        return Connection(
            manager,
            crowd,
            access_log=None,
            logger=_quiet,
            keepalive_timeout=limits.keep_alive_s,
            lingering_time=limits.lingering_s,
            max_line_size=limits.line,
            max_field_size=limits.field,
            max_headers=limits.fields,
            auto_decompress=False,
        )

    def begun() -> asyncio.Protocol:
        if certificates is None:
            return connection()
        return Handshake(connection(), crowd, certificates.now(), HANDSHAKE_S)

    try:
        return await asyncio.get_running_loop().create_server(begun, host, port, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {address}: {error.strerror or error}", hint="choose another port"
        ) from error

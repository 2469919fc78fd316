"""Connections to endpoints: to an address that was judged, asked one thing at a time, kept for the next sweep."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import cache
from typing import NamedTuple

from reconciler.adapters.probes.answers import Answer, Hearing, HungUp
from reconciler.adapters.probes.deadlines import Deadlines
from reconciler.adapters.probes.plain import PlainConnection, connecting

MOST_KEPT = 16_384
UNUSED_S = 600.0
"""One that nobody has used for so long makes room for others."""


class Place(NamedTuple):
    """Where a connection leads: an IP address, and for TLS the name that is asked for there ("" without TLS)."""

    address: str
    port: int
    tls_name: str = ""


class TlsConnection(asyncio.Protocol):
    """Asks and hears under TLS. What comes unasked ends it."""

    __slots__ = ("_answer", "_hearing", "_transport", "used")

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._hearing: Hearing | None = None
        self.used = 0.0

    @property
    def reusable(self) -> bool:
        """Whether another question may follow."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, question: bytes, until: float) -> Answer:
        """As PlainConnection does."""
        if self._transport is None or self._transport.is_closing():
            raise HungUp(unheard=True)
        hearing = self._hearing = Hearing()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.write(question)
        try:
            async with asyncio.timeout_at(until):
                return await answer
        finally:
            self._answer = self._hearing = None
            if not hearing.again:
                self.close()

    def close(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream has no other
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._hearing is None or self._answer is None or self._answer.done():
            self.close()
            return
        try:
            found = self._hearing.feed(data)
        except OSError as error:
            self._answer.set_exception(error)
        else:
            if found is not None:
                self._answer.set_result(found)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._hearing is None or self._answer is None or self._answer.done():
            return
        found = self._hearing.ended() if error is None else None
        if found is not None:
            self._answer.set_result(found)
        else:
            self._answer.set_exception(HungUp(unheard=self._hearing.silent))


Connection = PlainConnection | TlsConnection
Reach = Callable[[str, int], Awaitable[socket.socket]]
"""Connects to an address and a port. Raises OSError, or Unreached."""


class Connections:
    """Those that are kept, the longest unused first; at most `most` of them, and those that came first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._deadlines = Deadlines()
        self._kept: OrderedDict[Place, list[Connection]] = OrderedDict()
        self._count = 0

    async def ask(self, place: Place, question: bytes, until: float, by: Reach | None = None) -> Answer:
        """Ask an endpoint, over a kept connection where there is one, else one made `by` a way of one's own.

        Raises OSError, TimeoutError at `until`. A kept one that ends without a word was about to end anyway while
        nobody used it: that says nothing of the endpoint.
        """
        while (kept := self._take(place)) is not None:
            try:
                return await self._asked(place, kept, question, until)
            except HungUp as error:
                if not error.unheard:
                    raise
        if place.tls_name:
            async with asyncio.timeout_at(until):
                opened: Connection = await _under_tls(place, by or reach)
        else:
            made = await by(place.address, place.port) if by else connecting(place.address, place.port)
            opened = PlainConnection(made, self._deadlines)
        return await self._asked(place, opened, question, until)

    def close(self) -> None:
        for held in self._kept.values():
            for connection in held:
                connection.close()
        self._kept.clear()
        self._count = 0

    async def _asked(self, place: Place, connection: Connection, question: bytes, until: float) -> Answer:
        answer = await connection.ask(question, until)
        if connection.reusable:
            self._keep(place, connection)
        return answer

    def _take(self, place: Place) -> Connection | None:
        held = self._kept.pop(place, [])
        self._count -= len(held)
        while held:
            connection = held.pop()
            if connection.reusable:
                for other in held:
                    self._keep(place, other)
                return connection
        return None

    def _keep(self, place: Place, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        while self._count >= self._most:
            oldest = next(iter(self._kept), None)
            if oldest is None or now - self._kept[oldest][-1].used < UNUSED_S:
                connection.close()  # sweeps come round: to make room for this one would end that before its turn
                return
            for one in self._kept.pop(oldest):
                self._count -= 1
                one.close()
        connection.used = now
        self._kept.setdefault(place, []).append(connection)
        self._count += 1


async def _under_tls(place: Place, by: Reach) -> TlsConnection:
    made = await by(place.address, place.port)
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            TlsConnection, sock=made, ssl=_unverified(), server_hostname=place.tls_name
        )
    except BaseException:
        made.close()
        raise
    return connection


async def reach(address: str, port: int) -> socket.socket:
    """Connect to an address. The caller closes the socket. Raises OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


class Unreached(Exception):
    """Nobody takes connections at an address, or not in time: another one of the same name may be asked."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def within(until: float | None) -> Reach:
    """A way to connect that raises Unreached where that fails, or takes longer than `until` by the loop's clock."""

    async def by(address: str, port: int) -> socket.socket:
        try:
            async with asyncio.timeout_at(until):
                return await reach(address, port)
        except OSError as error:
            raise Unreached(error) from error

    return by


@cache
def _unverified() -> ssl.SSLContext:
    """Certificates are not verified, as a kubelet's probes do not: the question is whether it answers."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def room() -> int:
    """How many file descriptors this process may have open."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft

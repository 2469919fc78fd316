"""How much anybody may take: connections, time to ask, bodies, requests a second. Nothing here knows what is asked."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from reconciler.daemon.http.clients import Clients
from reconciler.daemon.http.problems import Problem, of_problem

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one listener; times in seconds."""

    connections: int = 256
    connections_each: int = 64
    """Of one client."""
    at_once: int = 32
    """Requests that are worked on, of the API and of the webhook each; probes and metrics are not counted."""
    at_once_each: int = 16
    """Of one client: a body that comes slowly is worked on as well."""
    head_s: float = 10.0
    """From the connection to the end of the first request's head."""
    body_s: float = 10.0
    work_s: float = 30.0
    send_s: float = 30.0
    keep_alive_s: float = 15.0
    lingering_s: float = 2.0
    line: int = 8190
    field: int = 4096
    fields: int = 48
    webhook_bytes: int = MIB
    body_bytes: int = 16 * 1024
    rate: float = 20.0
    """Requests a second of one client that are answered in the long run."""
    burst: int = 100
    refusal_cost: int = 10
    """How many requests one with wrong credentials counts as."""
    clients: int = 4096
    """Clients that are remembered."""
    deliveries: int = 10_000
    """Deliveries of webhooks that are remembered."""
    keys: int = 1_000
    """Answers that are kept for who asks again with the same Idempotency-Key."""


class Held(Protocol):
    """A connection, as far as it is counted."""

    working: bool

    def drop(self) -> None:
        """Hang up at once."""


class Crowd:
    """The connections of one listener: so many in all, so many of one client.

    Where there are too many, the oldest that waits for its client is closed: who only holds connections open shuts
    nobody out.
    """

    def __init__(self, limits: Limits, clients: Clients | None = None) -> None:
        self.limits = limits
        self.clients = clients or Clients()
        self._open: dict[Held, str | None] = {}
        self._each: dict[str, int] = {}
        self.refused = 0

    def __len__(self) -> int:
        return len(self._open)

    def admits(self, connection: Held, transport: asyncio.BaseTransport) -> bool:
        """Whether a new connection may stay."""
        client = self.clients.of_connection(transport)
        many = client is not None and self._each.get(client, 0) >= self.limits.connections_each
        if many and not self._drop_idle(client):
            return False
        if len(self._open) >= self.limits.connections and not self._drop_idle(None):
            return False
        self._open[connection] = client
        if client is not None:
            self._each[client] = self._each.get(client, 0) + 1
        return True

    def left(self, connection: Held) -> None:
        """A connection is gone."""
        client = self._open.pop(connection, None)
        if client is None:
            return
        self._each[client] -= 1
        if not self._each[client]:
            del self._each[client]

    def _drop_idle(self, client: str | None) -> bool:
        for connection, whose in self._open.items():
            if not connection.working and client in {None, whose}:
                self.refused += 1
                self.left(connection)
                connection.drop()
                return True
        self.refused += 1
        return False


class Connection(RequestHandler):
    """One connection. Its first request has to have come in time; later ones within what aiohttp keeps alive."""

    def __init__(self, server: web.Server, crowd: Crowd, **settings: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **settings)
        self._crowd = crowd
        self._admitted = False
        self._too_slow: asyncio.TimerHandle | None = None
        self.working = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or hang up."""
        if not isinstance(transport, asyncio.Transport) or not self._crowd.admits(self, transport):
            if isinstance(transport, asyncio.Transport):
                transport.abort()
            return
        self._admitted = True
        super().connection_made(transport)
        self._too_slow = asyncio.get_running_loop().call_later(self._crowd.limits.head_s, self.drop)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over, by whomever."""
        self._heard()
        if self._admitted:
            self._crowd.left(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; nothing is read of whom was hung up on."""
        if self._admitted:
            super().data_received(data)

    def began(self) -> None:
        """A request's head is there, and is worked on."""
        self._heard()
        self.working = True

    def ended(self) -> None:
        """The answer is sent."""
        self.working = False

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - as it is called
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """What is no request, or met a fault of aiohttp: refused in a word, and nothing of it is told or logged."""
        if request.writer.output_size > 0:
            raise ConnectionError
        answer = of_problem(Problem(status, "no-request", "this is no request that can be answered"))
        answer.force_close()
        return answer

    def drop(self) -> None:
        """Hang up at once."""
        transport = self.transport
        if transport is not None:
            transport.abort()

    def _heard(self) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None


class Rates:
    """How often each client may ask: so much at once, so much in the long run. Who was not heard of longest is
    forgotten, and begins anew.
    """

    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._limits, self._monotonic = limits, monotonic
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, cost: float = 1.0) -> float:
        """Seconds until the client may ask; 0 where it may now. A cost that is more than what is left takes all."""
        now = self._monotonic()
        left, at = self._left.pop(client, (float(self._limits.burst), now))
        left = min(float(self._limits.burst), left + (now - at) * self._limits.rate)
        allowed = left >= 1.0
        self._left[client] = (max(0.0, left - cost) if allowed else left, now)
        if len(self._left) > self._limits.clients:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._limits.rate

    def __len__(self) -> int:
        return len(self._left)


async def body_of(request: web.Request, *, most: int, within_s: float) -> bytes:
    """The raw bytes of a body. Raises Problem for one that is, or says that it will be, more than `most`, is encoded,
    or takes longer in all than `within_s`. No more than `most` and one chunk are ever in memory.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(415, "encoded-body", "bodies are taken as they are, not encoded")
    told = request.content_length
    if told is not None and told > most:
        raise _too_large(most)
    got = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.content.iter_any():
                if len(got) + len(chunk) > most:
                    raise _too_large(most)
                got += chunk
    except TimeoutError as error:
        raise Problem(408, "slow-body", f"the body did not come within {within_s:g} s") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Problem(400, "broken-body", "the body does not come as its head says") from error
    return bytes(got)


def _too_large(most: int) -> Problem:
    return Problem(413, "too-large", f"a body has at most {most} bytes here")

"""The Prober port over sockets. One deadline for the whole of a probe, caps on what is read, nothing followed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, assert_never
from urllib.parse import quote

from reconciler.adapters.probes.addresses import literal
from reconciler.adapters.probes.answers import MAX_BODY, Answer
from reconciler.adapters.probes.connections import (
    MOST_KEPT,
    Connections,
    Place,
    Reach,
    Unreached,
    reach,
    room,
    within,
)
from reconciler.adapters.probes.grpc import Call, NotServing
from reconciler.adapters.probes.names import Names, Refused
from reconciler.adapters.probes.turns import NoTurn, Turns
from reconciler.model.health import CardProbe, GrpcProbe, HttpProbe, PluginProbe, ProbeRequest, Sample, TcpProbe
from reconciler.ports import Clock

CARD_PATH = "/.well-known/agent-card.json"
MAX_AT_ONCE = 64
"""More at once would not be faster, and would count our own queue as the endpoints' latency."""
MOST_ASIDE = 4096
"""As many may wait for endpoints that say nothing, beside those at work."""
MOST_TRIED = 8
"""Of a name's addresses no more are asked."""
_HEADERS = ("User-Agent: reconciler-probe", "Accept: application/json, */*;q=0.1")
_UNESCAPED = "/?%:@!$&'()*+,;=-._~"
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""What this machine has run out of: no fault of an endpoint."""


_OVER_HTTP = (HttpProbe, CardProbe)
_Asked = HttpProbe | TcpProbe | GrpcProbe | CardProbe


class _Unwell(Exception):
    """The endpoint answered, and not as it should; with its HTTP status."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(slots=True, kw_only=True)
class HttpProber:
    """Probes over HTTP(S), gRPC and TCP. Certificates are not verified, as a kubelet's probes do not.

    `loopback`: whether addresses of this machine may be probed, as the embedded cluster's pods need it. Connections
    are kept for the next sweep, half of the files that this process may open at most. Use it inside one event
    loop, and `close` it there.
    """

    clock: Clock
    loopback: bool = True
    at_once: int = MAX_AT_ONCE
    _turns: Turns = field(init=False)
    _names: Names = field(init=False)
    _connections: Connections = field(init=False)

    def __post_init__(self) -> None:
        quarter = room() // 4
        self._turns = Turns(at_once=self.at_once, aside=min(MOST_ASIDE, quarter))
        self._names = Names(loopback=self.loopback)
        self._connections = Connections(min(MOST_KEPT, 2 * quarter))

    async def probe(self, request: ProbeRequest) -> Sample:
        """One measurement; what goes wrong is said in it. Waiting for a turn does not count as latency."""
        try:
            turn = await self._turns.take()
        except NoTurn as error:
            now = self.clock.now_ms()
            return Sample(ok=False, at_ms=now, latency_ms=0.0, problem=f"not probed: {error}", refused=True)
        try:
            started = self.clock.monotonic()
            status, card, problem, refused = 0, None, "", False
            try:
                status, card = await self._measure(request)
            except TimeoutError as error:
                given_up = error.errno is None  # with a number it is the system's own, and comes from the endpoint
                problem = f"no answer within {request.timeout_ms} ms" if given_up else _said(error)
            except Refused as error:
                problem, refused = str(error), True
            except _Unwell as error:
                problem, status = str(error), error.status
            except OSError as error:
                refused = error.errno in _OURS and not isinstance(error, ssl.SSLError)
                problem = f"not probed: {_said(error)}" if refused else _said(error)
            except ValueError as error:  # a name that cannot be one
                problem = _said(error)
            return Sample(
                ok=not problem,
                at_ms=self.clock.now_ms(),
                latency_ms=(self.clock.monotonic() - started) * 1000,
                status=status,
                problem=problem,
                refused=refused,
                card=card,
            )
        finally:
            self._turns.give(turn)

    async def close(self) -> None:
        """Close the connections that are kept. A probe after this opens new ones."""
        self._connections.close()
        self._names.close()

    async def _measure(self, request: ProbeRequest) -> tuple[int, dict[str, Any] | None]:
        """Status, and the card where one is asked for. Raises Refused, _Unwell, OSError, ValueError."""
        if isinstance(request, PluginProbe):
            raise Refused("not probed: a plugin is no endpoint")
        until = asyncio.get_running_loop().time() + request.timeout_ms / 1000
        if isinstance(request, _OVER_HTTP) and (address := literal(request.host)) is not None:
            self._names.judge(address)  # nothing to resolve, and connections know the deadline: no timer of its own
            return await self._at(address, request, until)
        async with asyncio.timeout_at(until):
            addresses = await self._names.addresses(request.host, request.port)
            if len(addresses) == 1:
                return await self._at(addresses[0], request, until)
            return await self._at_one_of(addresses[:MOST_TRIED], request, until)

    async def _at_one_of(
        self, addresses: Sequence[str], request: _Asked, until: float
    ) -> tuple[int, dict[str, Any] | None]:
        """At the first address that takes a connection, each given its part of the time to do so.

        What is heard there counts, whatever it is: an endpoint that answers badly is not looked for elsewhere.
        """
        failed: list[OSError] = []
        for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            now = asyncio.get_running_loop().time()
            by = within(now + (until - now) / (left + 1) if left else None)
            try:
                return await self._at(address, request, until, by)
            except Unreached as error:
                failed.append(error.reason)
        raise min(failed, key=_says_little)

    async def _at(
        self, address: str, request: _Asked, until: float, by: Reach | None = None
    ) -> tuple[int, dict[str, Any] | None]:
        match request:
            case HttpProbe():
                answer = await self._asked(address, request, request.path, until, by)
                if not 200 <= answer.status < 400:
                    raise _Unwell(f"answers {answer.status}", answer.status)
                return answer.status, None
            case TcpProbe():
                (await (by or reach)(address, request.port)).close()
                return 0, None
            case GrpcProbe():
                await self._called(address, request, by or reach)
                return 0, None
            case CardProbe():
                answer = await self._asked(address, request, CARD_PATH, until, by)
                if answer.status != 200:
                    raise _Unwell(f"answers {answer.status} at {CARD_PATH}", answer.status)
                return answer.status, _card(answer)
            case _:
                assert_never(request)

    async def _called(self, address: str, request: GrpcProbe, by: Reach) -> None:
        made = await by(address, request.port)
        try:
            authority = _authority(request.host, request.port)
            make = partial(Call, request.service, authority)
            _, call = await asyncio.get_running_loop().create_connection(make, sock=made)
        except BaseException:
            made.close()
            raise
        try:
            await call.served()
        except NotServing as error:
            raise _Unwell(_plain(str(error)), 0) from None

    async def _asked(
        self, address: str, request: HttpProbe | CardProbe, path: str, until: float, by: Reach | None
    ) -> Answer:
        place = Place(address, request.port, request.host if request.scheme == "https" else "")
        return await self._connections.ask(place, _question(request.host, request.port, path), until, by)


@lru_cache(maxsize=16_384)
def _question(host: str, port: int, path: str) -> bytes:
    """A GET. What has no place in a path is escaped; a fragment stays here."""
    target = quote(path.partition("#")[0], safe=_UNESCAPED)
    lines = (f"GET {target} HTTP/1.1", f"Host: {_authority(host, port)}", *_HEADERS, "", "")
    return "\r\n".join(lines).encode("ascii")


def _authority(host: str, port: int) -> str:
    """A host and port as they stand in an address."""
    return quote(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", safe=_UNESCAPED + "[]")


def _card(answer: Answer) -> dict[str, Any]:
    if len(answer.body) > MAX_BODY or not answer.whole:
        raise _Unwell(f"its card is larger than {MAX_BODY // 1024} KiB", answer.status)
    try:
        card = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise _Unwell("its card is not JSON", answer.status) from None
    if not isinstance(card, dict):
        raise _Unwell("its card is no JSON object", answer.status)
    return card


def _says_little(error: OSError) -> tuple[bool, bool]:
    """Sorts what came of several addresses: a refusal is somebody's answer, what this machine lacks is nobody's."""
    return not isinstance(error, ConnectionError), error.errno in _OURS


def _said(error: Exception) -> str:
    """One short line of an error, without the control characters that a hostile peer may have put there."""
    match error:
        case ssl.SSLError(reason=reason) if reason:
            text = f"TLS: {str(reason).lower().replace('_', ' ')}"
        case OSError(errno=int(number)) if number > 0:
            text = os.strerror(number)
        case OSError(strerror=str(words)) if words:
            text = words
        case _:
            text = str(error) or type(error).__name__
    return _plain(text)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]

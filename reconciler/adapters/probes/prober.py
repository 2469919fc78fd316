"""The Prober port over aiohttp. One deadline for the whole of a probe, a cap on bodies, no redirects, no cookies."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

from reconciler.adapters.probes.addresses import literal, refusal
from reconciler.model.health import CardProbe, HttpProbe, ProbeRequest, Sample, TcpProbe
from reconciler.ports import Clock

if TYPE_CHECKING:
    import aiohttp

MAX_BODY = 256 * 1024
"""A card may be this large; of other bodies more is simply not read."""
CARD_PATH = "/.well-known/agent-card.json"
MAX_AT_ONCE = 64
"""More at once would not be faster, and would count our own queue as the endpoints' latency."""
_HEADERS = {"User-Agent": "reconciler-probe", "Accept": "application/json, */*;q=0.1"}


class _Refused(Exception):
    """The target's address is one that no probe may reach."""


class _Unwell(Exception):
    """The endpoint answered, and not as it should; with its HTTP status."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(slots=True, kw_only=True)
class HttpProber:
    """Probes over HTTP(S) and TCP. Certificates are not verified, as a kubelet's probes do not.

    `loopback`: whether addresses of this machine may be probed, as the embedded cluster's pods need it. Connections
    are kept for the next sweep. Use it inside one event loop, and `close` it there.
    """

    clock: Clock
    loopback: bool = True
    at_once: int = MAX_AT_ONCE
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _gate: asyncio.Semaphore | None = field(default=None, init=False)

    async def probe(self, request: ProbeRequest) -> Sample:
        """One measurement; what goes wrong is said in it. Waiting for a free slot does not count as latency."""
        if self._gate is None:
            self._gate = asyncio.Semaphore(self.at_once)
        async with self._gate:
            started = self.clock.monotonic()
            status, problem, refused, card = 0, "", False, None
            try:
                async with asyncio.timeout(request.timeout_ms / 1000):
                    status, card = await self._measure(request)
            except TimeoutError:
                problem = f"no answer within {request.timeout_ms} ms"
            except _Refused as error:
                problem, refused = str(error), True
            except _Unwell as error:
                problem, status = str(error), error.status
            except (OSError, ValueError) as error:  # aiohttp's errors are made OSError in _exchange
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

    async def close(self) -> None:
        """Close the connections that are kept. A probe after this opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _measure(self, request: ProbeRequest) -> tuple[int, dict[str, Any] | None]:
        match request:
            case TcpProbe():
                await self._connect(request)
                return 0, None
            case HttpProbe():
                status, _ = await self._exchange(request.scheme, request.host, request.port, request.path)
                if not 200 <= status < 400:
                    raise _Unwell(f"answers {status}", status)
                return status, None
            case CardProbe():
                status, body = await self._exchange(request.scheme, request.host, request.port, CARD_PATH)
                if status != 200:
                    raise _Unwell(f"answers {status} at {CARD_PATH}", status)
                return status, _card(body, status)
            case _:
                assert_never(request)

    async def _connect(self, request: TcpProbe) -> None:
        for host in await self._addresses(request.host, request.port):
            _, writer = await asyncio.open_connection(host, request.port)
            writer.close()
            return

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name, all of them allowed. Raises _Refused as soon as one is not."""
        if (address := literal(host)) is not None:
            addresses = [address]
        else:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            if reason := refusal(address, loopback=self.loopback):
                raise _Refused(f"not probed: {reason}")
        return addresses

    async def _exchange(self, scheme: str, host: str, port: int, path: str) -> tuple[int, bytes]:
        """GET, without following anything; the body up to one byte over MAX_BODY."""
        import aiohttp

        address = (await self._addresses(host, port))[0]  # connect to what was judged, not to what resolves later
        url = f"{scheme}://{_host(address, port)}{path}"
        session = self._open()
        try:
            async with session.get(url, allow_redirects=False, headers={"Host": _host(host, port)}) as response:
                body = b""
                async for chunk in response.content.iter_chunked(16 * 1024):
                    body += chunk
                    if len(body) > MAX_BODY:
                        response.close()
                        break
                return response.status, body
        except aiohttp.ClientError as error:
            raise OSError(_said(error)) from error

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=4, ssl=False, keepalive_timeout=75)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                headers=_HEADERS,
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def _card(body: bytes, status: int) -> dict[str, Any]:
    if len(body) > MAX_BODY:
        raise _Unwell(f"its card is larger than {MAX_BODY // 1024} KiB", status)
    try:
        card = json.loads(body)
    except (ValueError, RecursionError):
        raise _Unwell("its card is not JSON", status) from None
    if not isinstance(card, dict):
        raise _Unwell("its card is no JSON object", status)
    return card


def _host(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _said(error: Exception) -> str:
    """One short line of an error, without the control characters that a hostile peer may have put there."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    number = getattr(cause, "errno", None)
    text = os.strerror(number) if number and number > 0 else str(cause) or type(error).__name__
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]

"""Keep-alive connections to one server under the credentials of the day.

New credentials get connections of their own; those of the old ones end once the last request on them is answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    import ssl

_READ_BUFFER = 2**21
_KEEP_S = 60.0


@dataclass(slots=True)
class _Session:
    http: aiohttp.ClientSession
    requests: int = 0
    retired: bool = False


class Sessions:
    """At most one that new requests use. Use it inside one event loop, and `close` it there."""

    def __init__(self) -> None:
        self._all: list[_Session] = []

    @property
    def open(self) -> int:
        """How many there are."""
        return len(self._all)

    async def renew(self, tls: ssl.SSLContext | None) -> None:
        """Let new requests use new connections. Requests that are under way end on theirs."""
        # Proxies of the environment are asked for once, at login; a netrc would take the place of our credentials.
        connector = aiohttp.TCPConnector(limit=0, ssl=tls if tls is not None else True, keepalive_timeout=_KEEP_S)
        http = aiohttp.ClientSession(
            connector=connector, trust_env=False, read_bufsize=_READ_BUFFER, cookie_jar=aiohttp.DummyCookieJar()
        )
        before, self._all = self._all, [*self._all, _Session(http)]
        for one in before:
            one.retired = True
            await self._end_if_idle(one)

    @asynccontextmanager
    async def use(self) -> AsyncIterator[aiohttp.ClientSession]:
        """The newest one, which stays open as long as the block lasts. Raises ClientConnectionError after `close`."""
        if not self._all:
            raise aiohttp.ClientConnectionError("it was closed")
        one = self._all[-1]
        one.requests += 1
        try:
            yield one.http
        finally:
            one.requests -= 1
            await self._end_if_idle(one)

    async def _end_if_idle(self, one: _Session) -> None:
        if one.retired and one.requests == 0 and one in self._all:
            self._all.remove(one)
            await one.http.close()

    async def close(self) -> None:
        """End all, also those with requests under way."""
        every, self._all = self._all, []
        for one in every:
            await one.http.close()

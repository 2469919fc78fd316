"""Names of receivers, resolved in threads of their own: a name server that does not answer holds up alerts alone.

May live here: what aiohttp asks for addresses. The event loop's own threads are everybody's: plans wait for them too.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

AT_ONCE = 2
NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Names(AbstractResolver):
    """Resolves for one receiver. Use it inside one event loop, and `close` it there."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="alerts")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises OSError."""
        ask = partial(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=int(address[1]), family=kind, proto=proto, flags=NUMERIC
            )
            for kind, _type, proto, _name, address in found
        ]

    async def close(self) -> None:
        """Forget the threads; one that waits for a name server ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

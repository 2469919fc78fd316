"""From a name to addresses that were judged: a probe connects to these, and to nothing that resolves later."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from reconciler.adapters.probes.addresses import literal, refusal

RESOLVERS = 4
"""Threads of our own: a name server that does not answer holds up other names, and nobody else's work."""


class Refused(Exception):
    """No probe was made: the target may not be reached, or we could not. Says nothing of the endpoint."""


class Names:
    """Resolves and judges. `loopback`: whether addresses of this machine may be probed."""

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback
        self._threads: ThreadPoolExecutor | None = None

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of `host`, asked for once, all of them allowed.

        Raises Refused as soon as one is not, OSError for a name that leads nowhere.
        """
        if (address := literal(host)) is not None:
            self.judge(address)
            return [address]
        if self._threads is None:
            self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="names")
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            self.judge(address)
        return addresses

    def close(self) -> None:
        """Forget the threads; one that waits for a name server ends by itself."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def judge(self, address: str) -> None:
        """Raises Refused for an address that no probe may reach."""
        if reason := refusal(address, loopback=self._loopback):
            raise Refused(f"not probed: {reason}")

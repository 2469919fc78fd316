"""Endpoints of agents to be probed: `python -m benchmarks.endpoints WELL HANGING` listens on so many ports of loopback.

Prints their numbers as two lines, and serves until its standard input ends. Those that are well answer, when asked for
/cpu, with the CPU seconds that all of them have used. Those that hang take what is sent to them and say nothing.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time

CPU = "/cpu"
ASKS_CPU = f"GET {CPU} ".encode()


def answer(body: bytes) -> bytes:
    """A small answer."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


ANSWER = answer(b'{"status":"ok"}')


class Well(asyncio.Protocol):
    """Answers each request at once. A request is one piece here: clients on loopback send small ones."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            asked = data.startswith(ASKS_CPU)
            self.transport.write(answer(str(time.process_time()).encode()) if asked else ANSWER)


async def ports(kind: type[asyncio.Protocol], number: int) -> list[str]:
    """Listen on so many free ports."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(kind, "127.0.0.1", 0, backlog=16) for _ in range(number)]
    return [str(server.sockets[0].getsockname()[1]) for server in servers]


async def main(well: int, hanging: int) -> None:
    """Serve until standard input ends."""
    print(" ".join(await ports(Well, well)), flush=True)
    print(" ".join(await ports(asyncio.Protocol, hanging)), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))

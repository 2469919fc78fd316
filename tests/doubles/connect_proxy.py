"""A double of an HTTP proxy on loopback that does CONNECT, and remembers where to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class ConnectProxy:
    """Use it as an asynchronous context."""

    def __init__(self, *, refuses: bool = False) -> None:
        self._refuses = refuses
        self._tasks: set[asyncio.Task[None]] = set()
        self.connected: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode()
            method, where, _ = request.split()
            if self._refuses or method != "CONNECT":
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            self.connected.append(where)
            host, _, port = where.rpartition(":")
            theirs, ours = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await asyncio.gather(_pass_on(reader, ours), _pass_on(theirs, writer))
            finally:
                ours.close()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()

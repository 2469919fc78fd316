"""A protocol double of ArangoDB 3.12 for tests: a real HTTP server on loopback that executes the AQL it is sent.

    async with arango_double() as double:
        client = ArangoClient(hosts=double.url)
        db = client.db("_system", username="root", password=double.password)

It is a simulation, held to recorded exchanges of a real server (test_recorded.py), and says 501 to all that it does not
know. `double.refused` lists what that was. Faults, coordinators and restarts are methods of `ArangoDouble`. It runs in
a thread of its own, so that both blocking and asynchronous code can speak to it; a plain `with` works as well.

What it does not do: clusters with shards, views and graphs, expiry by ttl indexes, statements of optimizer rules. Text
is ordered by an approximation of ICU. A failed statement keeps what it wrote before in its stream transaction.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.doubles.arango.faults import Fault, Kind
from tests.doubles.arango.persistence import FileJournal
from tests.doubles.arango.server import Server, Settings
from tests.doubles.arango.store import Store

T = TypeVar("T")

__all__ = ["ArangoDouble", "Fault", "Kind", "Settings", "arango_double"]


class ArangoDouble:
    """The server, and the hands of a test on it. All methods may be called from any thread."""

    def __init__(
        self, *, coordinators: int, settings: Settings | None, file: Path | None, ports: Sequence[int]
    ) -> None:
        self.settings = settings or Settings()
        self.password = self.settings.root_password
        self._names = [f"coordinator-{number}" for number in range(coordinators)]
        self._ports = dict(zip(self._names, ports, strict=False))
        self._file = file
        self._journal: FileJournal | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="arango-double", daemon=True)
        self.server: Server

    # -- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._run(self._open(dict(self._ports)))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._run(self._close())
        self._end()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self, ports: dict[str, int], store: Store | None = None) -> None:
        if store is None:
            if self._file is not None:
                self._journal = FileJournal(self._file)
                store = self._journal.open()
            else:
                store = Store()
        self.server = Server(store, self.settings)
        for name in self._names:
            self._ports[name] = await self.server.start(name, ports.get(name, 0))

    async def _close(self) -> None:
        for name in self._names:
            await self.server.stop(name)
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the server's thread: the way to look at `server` while it works."""

        async def run() -> T:
            return function()

        return self._run(run())

    # -- where -------------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Of the first coordinator."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{self._ports[name]}" for name in self._names]

    @property
    def refused(self) -> list[str]:
        """What was asked that the double does not know."""
        return list(self.server.refused)

    # -- faults ------------------------------------------------------------------------------------------------------

    def fault(self, kind: Kind, request: str = "", **more: Any) -> Fault:
        """Plan a fault for `METHOD /path` (a regular expression), or for any; see Fault for `more`."""
        method, _, path = request.rpartition(" ")

        def plan() -> Fault:
            made = Fault(kind, method=method, path=path, **more)
            self.server.faults.planned.append(made)
            return made

        return self.call(plan)

    def release(self, fault: Fault) -> None:
        """Let a request go on that hangs by this fault."""
        self.call(fault.released.set)

    def clear_faults(self) -> None:
        self.call(self.server.faults.planned.clear)

    def expire_tokens(self) -> None:
        """Every token given so far is refused from now on."""
        self._run(self._expire_tokens())

    async def _expire_tokens(self) -> None:
        self.server.expire_tokens()

    def stop_coordinator(self, number: int) -> None:
        self._run(self.server.stop(self._names[number]))

    def start_coordinator(self, number: int) -> None:
        """On the port that it had."""
        name = self._names[number]
        self._run(self.server.start(name, self._ports[name]))

    def restart(self) -> None:
        """Stop all, and start again on the same ports: data stays; transactions, cursors and tokens are gone."""

        async def again() -> None:
            store = None if self._file is not None else self.server.store
            await self._close()
            if store is not None:
                for db in store.databases.values():
                    for collection in db.collections.values():
                        collection.writers.clear()
                        collection.exclusive = None
            await self._open(dict(self._ports), store)

        self._run(again())


def arango_double(
    *,
    coordinators: int = 1,
    settings: Settings | None = None,
    file: Path | None = None,
    ports: Sequence[int] = (),
) -> ArangoDouble:
    """A double to be used as a context, asynchronous or not. With `file` it keeps its data there."""
    return ArangoDouble(coordinators=coordinators, settings=settings, file=file, ports=ports)

"""A whole daemon in memory behind its HTTP interface, in a thread of its own: for clients that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from reconciler.daemon.http import Inside, Listening, served
from reconciler.daemon.http.limits import Limits
from reconciler.daemon.http.signatures import Secrets
from reconciler.daemon.loop import Mode
from tests.daemon.serving import MANY, OLD_SECRET, SECRET, callers
from tests.daemon.test_service import Fleet, running
from tests.daemon.waiting import until
from tests.doubles.source import MemorySource
from tests.engine.fleets import NOTHING, agent

START_S = 60.0


async def serve(folder: Path, began: threading.Event, stop: asyncio.Event, told: list[str], limits: Limits) -> None:
    """Keep a fleet of two agents, one of which never becomes ready, and serve what is asked of it until `stop`."""
    source = MemorySource()
    files = {f"agents/support/{name}.yaml": agent(name) for name in ("triage", "slow")}
    source.commit({"fleet.yaml": NOTHING, **files})
    fleet = Fleet(folder, source, Mode.APPLY)
    known = callers()
    listening = Listening(
        address="127.0.0.1:0",
        callers=lambda: known,
        secrets=lambda: Secrets(keys=(SECRET, OLD_SECRET)),
        limits=limits,
    )
    async with running(fleet):
        await until(lambda: fleet.service.plan is not None)
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        async with served(listening, Inside.of(fleet.service)) as address:
            told.append(address)
            began.set()
            await stop.wait()


@contextmanager
def daemon(folder: Path, limits: Limits = MANY) -> Iterator[str]:
    """The address of one that runs while the block lasts."""
    began, told, failed = threading.Event(), list[str](), list[BaseException]()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def work() -> None:
        try:
            loop.run_until_complete(serve(folder, began, stop, told, replace(limits)))
        except BaseException as error:  # noqa: BLE001 - told to who waits
            failed.append(error)
        finally:
            began.set()
            loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        assert began.wait(START_S)
        if failed:
            raise failed[0]
        yield told[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    if failed:
        raise failed[0]

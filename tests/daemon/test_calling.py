"""The bell between daemons: whoever rings is heard by all that listen, once, and by nobody that began later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.daemon.calling import ATTEMPTS, BELL, TTL_MS, listen, ring
from reconciler.model.errors import RegistryConflict
from tests.daemon.waiting import until
from tests.doubles.clock import FakeClock
from tests.doubles.world import open_registry


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[SqliteRegistry]:
    made = await open_registry(tmp_path, FakeClock())
    yield made
    await made.close()


@asynccontextmanager
async def listening(registry: SqliteRegistry, heard: Callable[[], None]) -> AsyncIterator[None]:
    """With somebody who listens, and knows how often it rang before."""
    looked = asyncio.Event()

    class Noted(SystemClock):
        async def sleep(self, seconds: float) -> None:
            looked.set()
            await super().sleep(seconds)

    task = asyncio.create_task(listen(registry, Noted(), heard, 0.005))
    await looked.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_ring_is_heard_by_all_that_listen_and_by_none_that_begins_later(registry: SqliteRegistry) -> None:
    heard: list[str] = []
    clock = FakeClock()
    await ring(registry, clock, "a standby")
    async with listening(registry, lambda: heard.append("x")), listening(registry, lambda: heard.append("y")):
        await ring(registry, clock, "a standby")
        await until(lambda: sorted(heard) == ["x", "y"])
        await ring(registry, clock, "a standby")
        await until(lambda: sorted(heard) == ["x", "x", "y", "y"])


async def test_one_that_died_while_it_rang_is_waited_for_no_longer_than_its_ring_lasts(
    registry: SqliteRegistry,
) -> None:
    clock, heard = FakeClock(), [0]
    async with listening(registry, lambda: heard.append(1)):
        await registry.acquire(BELL, holder="gone", ttl_ms=TTL_MS, now_ms=clock.now_ms())
        await ring(registry, clock, "another")
        await until(lambda: len(heard) > 1)
    assert clock.monotonic() <= TTL_MS / 1000 + 1
    (bell,) = await registry.leases(BELL)
    assert bell.holder == ""


async def test_a_bell_that_somebody_holds_on_to_is_an_error(registry: SqliteRegistry) -> None:
    clock = FakeClock()
    await registry.acquire(BELL, holder="a clock that runs ahead", ttl_ms=10**6, now_ms=clock.now_ms())
    with pytest.raises(RegistryConflict, match="a clock that runs ahead"):
        await ring(registry, clock, "another")
    assert clock.monotonic() <= ATTEMPTS

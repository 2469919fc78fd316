"""Of several daemons one acts; when it ends or is away for too long, another does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.daemon import standing
from reconciler.daemon.standing import LEADER_LEASE, Standing
from reconciler.daemon.telling import Teller
from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.registry import Lease
from tests.daemon.waiting import PATIENTLY_S, until
from tests.doubles.world import open_registry


@pytest.fixture
async def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteRegistry]:
    monkeypatch.setattr(standing, "STEP_S", 0.02)
    monkeypatch.setattr(standing, "GIVE_UP_S", PATIENTLY_S)
    opened = await open_registry(tmp_path, SystemClock())
    yield opened
    await opened.close()


class Watcher:
    """A daemon's standing, and what it went through."""

    def __init__(self, registry: SqliteRegistry, holder: str) -> None:
        self.lines: list[str] = []
        self.led: list[bool] = []
        self.over: asyncio.Event | None = None
        self.began = asyncio.Event()
        self.stop = asyncio.Event()
        clock = SystemClock()
        tell = Teller(clock=clock, write=self.lines.append)
        self.standing = Standing(registry=registry, clock=clock, holder=holder, tell=tell, changed=self.led.append)

    async def work(self, over: asyncio.Event) -> None:
        self.over = over
        self.began.set()
        await asyncio.wait(
            [asyncio.create_task(over.wait()), asyncio.create_task(self.stop.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.standing.lead(self.work, self.stop))


async def test_the_second_stands_by_until_the_first_ends(registry: SqliteRegistry) -> None:
    one, two = Watcher(registry, "one"), Watcher(registry, "two")
    first, second = one.start(), two.start()
    await asyncio.wait_for(one.began.wait(), PATIENTLY_S)
    await until(lambda: two.lines)
    assert "stands-by" in two.lines[0]
    assert "one" in two.lines[0]
    assert not two.began.is_set()
    one.stop.set()
    await first
    await asyncio.wait_for(two.began.wait(), PATIENTLY_S)
    assert (one.led, two.led) == ([True, False], [True])
    two.stop.set()
    await second


async def test_one_that_is_asked_to_stop_while_it_stands_by_never_works(registry: SqliteRegistry) -> None:
    one, two = Watcher(registry, "one"), Watcher(registry, "two")
    first, second = one.start(), two.start()
    await asyncio.wait_for(one.began.wait(), PATIENTLY_S)
    two.stop.set()
    await asyncio.wait_for(second, PATIENTLY_S)
    assert not two.began.is_set()
    one.stop.set()
    await first


async def test_who_lost_the_lease_to_another_ends_its_work(registry: SqliteRegistry) -> None:
    one = Watcher(registry, "one")
    task = one.start()
    await asyncio.wait_for(one.began.wait(), PATIENTLY_S)
    clock = SystemClock()
    later = clock.now_ms() + 3_600_000  # as if `one` had slept for an hour
    taken = await registry.acquire(LEADER_LEASE, holder="two", ttl_ms=60_000, now_ms=later)
    await asyncio.wait_for(task, PATIENTLY_S)
    assert one.over is not None
    assert one.over.is_set()
    assert any("leads-no-more" in line and "two" in line for line in one.lines)
    assert (await registry.acquire(LEADER_LEASE, holder="two", ttl_ms=1, now_ms=later)).epoch == taken.epoch


async def test_what_was_taken_anew_by_asking_too_late_is_given_back(
    registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Watcher(registry, "one")
    task = one.start()
    await asyncio.wait_for(one.began.wait(), PATIENTLY_S)
    acquire, release, released = registry.acquire, registry.release, list[bool]()

    async def too_late(name: str, *, holder: str, ttl_ms: int, now_ms: int) -> Lease:
        await release(await acquire(name, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms))
        return await acquire(name, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms)

    async def given_back(lease: Lease) -> None:
        released.append(one.over is not None and one.over.is_set() and not one.standing.leads)
        await release(lease)

    monkeypatch.setattr(registry, "acquire", too_late)
    monkeypatch.setattr(registry, "release", given_back)
    await asyncio.wait_for(task, PATIENTLY_S)
    assert released == [True], "the work has ended before others are let in"
    assert any("the lease had ended" in line for line in one.lines)
    now = SystemClock().now_ms()
    assert (await acquire(LEADER_LEASE, holder="two", ttl_ms=1000, now_ms=now)).holder == "two"


async def test_a_registry_that_is_away_for_moments_ends_nothing_and_for_long_ends_the_work(
    registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Watcher(registry, "one")
    task = one.start()
    await asyncio.wait_for(one.began.wait(), PATIENTLY_S)
    asked = asyncio.Event()

    async def away(*_: object, **__: object) -> Lease:
        asked.set()
        raise RegistryError("it is away")

    monkeypatch.setattr(registry, "acquire", away)
    await asyncio.wait_for(asked.wait(), PATIENTLY_S)
    assert one.over is not None
    assert not one.over.is_set()
    monkeypatch.setattr(standing, "TTL_S", 0.0)
    await asyncio.wait_for(task, PATIENTLY_S)
    assert one.over.is_set()


async def test_a_registry_that_does_not_answer_ends_the_work_before_the_lease_may_end(
    registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Watcher(registry, "one")
    task = one.start()
    await asyncio.wait_for(one.began.wait(), PATIENTLY_S)

    async def silent(*_: object, **__: object) -> Lease:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(standing, "TTL_S", 0.3)
    monkeypatch.setattr(registry, "acquire", silent)
    await asyncio.wait_for(task, PATIENTLY_S)
    assert any("does not answer" in line for line in one.lines)


async def test_a_fault_of_the_keeper_ends_the_work(registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Watcher(registry, "one")
    task = one.start()
    await asyncio.wait_for(one.began.wait(), PATIENTLY_S)

    async def faulty(*_: object, **__: object) -> Lease:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(registry, "acquire", faulty)
    await asyncio.wait_for(task, PATIENTLY_S)
    assert any("ZeroDivisionError" in line for line in one.lines)


async def test_who_leads_is_told_once_while_the_lease_counts_down(
    registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def held(*_: object, **__: object) -> Lease:
        nonlocal asked
        asked += 1
        raise RegistryConflict(f"lease daemon is held by one for another {20 - asked} s")

    monkeypatch.setattr(registry, "acquire", held)
    two = Watcher(registry, "two")
    task = two.start()
    await until(lambda: asked > 3)
    two.stop.set()
    await asyncio.wait_for(task, PATIENTLY_S)
    assert len(two.lines) == 1

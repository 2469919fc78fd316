"""The apply lock of a process that is held up: what it was told before that is not what holds after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.engine import run
from reconciler.engine.locks import APPLY_LEASE, TTL_MS, LockLost, apply_lock
from reconciler.model.events import Outcome
from reconciler.model.registry import Lease
from tests.doubles.clock import FakeClock
from tests.doubles.world import open_registry
from tests.engine.fleets import agent, applied, finished

LONG_S = 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class HeldUp:
    """A registry whose answers find a process that was stopped for a minute while they were on their way."""

    def __init__(self, registry: SqliteRegistry, clock: FakeClock) -> None:
        self.registry, self.clock, self.times, self.another = registry, clock, 0, True
        self.real = registry.acquire

    async def acquire(self, lease: str, *, holder: str, ttl_ms: int, now_ms: int) -> Lease:
        answer = await self.real(lease, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms)
        if self.times:
            self.times -= 1
            self.clock.advance(LONG_S)
            if self.another:
                await self.real(lease, holder="another", ttl_ms=ttl_ms, now_ms=self.clock.now_ms())
        return answer


@pytest.fixture
async def held_up(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HeldUp]:
    opened = await open_registry(tmp_path, clock)
    made = HeldUp(opened, clock)
    monkeypatch.setattr(opened, "acquire", made.acquire)
    yield made
    await opened.close()


async def test_who_was_stopped_while_a_renewal_was_answered_has_lost_the_lock(
    held_up: HeldUp, clock: FakeClock
) -> None:
    async with apply_lock(held_up.registry, clock, holder="one") as lock:
        clock.advance(TTL_MS / 2000)
        held_up.times = 1
        with pytest.raises(LockLost, match="another"):
            await lock.keep()


async def test_a_write_that_is_kept_waiting_ends_with_the_lock(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that lets us wait for longer than the lock lasts would do it when somebody else has the lock."""
    monkeypatch.setattr(run, "KEEP_EACH_S", 0.01)
    ended: list[bool] = []

    async def waiting(*_: object, **__: object) -> None:
        world.fake.advance(LONG_S)
        now = world.fake.now_ms()
        await world.registry.acquire(APPLY_LEASE, holder="another", ttl_ms=TTL_MS, now_ms=now)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    monkeypatch.setattr(world.cluster, "apply", waiting)
    world.commit(triage=agent("triage"))
    with pytest.raises(LockLost, match="another"):
        await asyncio.wait_for(applied(world), LONG_S)
    assert ended == [True]


async def test_a_write_that_takes_long_keeps_the_lock(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "KEEP_EACH_S", 0.01)
    apply = world.cluster.apply

    async def slow(*arguments: object, **options: object) -> object:
        world.fake.advance(TTL_MS / 2000)  # half of what the lock lasts, twice: without renewal it were over
        await asyncio.sleep(0.2)
        world.fake.advance(TTL_MS / 2000)
        return await apply(*arguments, **options)

    monkeypatch.setattr(world.cluster, "apply", slow)
    world.commit(triage=agent("triage"))
    assert finished(await applied(world))["support/triage"].outcome is Outcome.APPLIED


async def test_who_was_stopped_while_it_was_given_the_lock_asks_before_its_first_effect(
    held_up: HeldUp, clock: FakeClock
) -> None:
    held_up.times = 1
    async with apply_lock(held_up.registry, clock, holder="one") as lock:
        with pytest.raises(LockLost, match="another"):
            await lock.keep()


async def test_who_was_away_for_so_long_that_the_lock_had_ended_leaves_it_to_others(
    held_up: HeldUp, clock: FakeClock
) -> None:
    async with apply_lock(held_up.registry, clock, holder="one") as lock:
        clock.advance(TTL_MS / 500)
        async with apply_lock(held_up.registry, clock, holder="another"):
            pass
        with pytest.raises(LockLost, match="had expired"):
            await lock.keep()
    async with apply_lock(held_up.registry, clock, holder="another"):
        pass


async def test_who_is_told_too_late_each_time_goes_on_with_nothing(held_up: HeldUp, clock: FakeClock) -> None:
    async with apply_lock(held_up.registry, clock, holder="one") as lock:
        clock.advance(TTL_MS / 2000)
        held_up.times, held_up.another = 9, False
        with pytest.raises(LockLost, match="in time"):
            await lock.keep()
        held_up.times = 0


async def test_an_answer_that_is_only_slow_is_as_good_as_any(held_up: HeldUp, clock: FakeClock) -> None:
    async with apply_lock(held_up.registry, clock, holder="one") as lock:
        clock.advance(TTL_MS / 2000)
        before = lock.lease
        await lock.keep()
        assert lock.lease.expires_ms > before.expires_ms
        assert lock.lease.name == APPLY_LEASE

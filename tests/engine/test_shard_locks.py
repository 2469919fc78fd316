"""The apply lock that daemons of one division hold together: whom it keeps out, and whose writes it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.engine.locks import APPLY_LEASE, TTL_MS, LockHeld, LockLost, apply_lock
from reconciler.engine.shardlocks import ShardLost, shared_lock
from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.registry import AuditFact, Fence, Lease, Write
from reconciler.ports import Registry
from tests.doubles.clock import FakeClock
from tests.doubles.world import open_registry

A, B = AgentName.parse("x/a"), AgentName.parse("x/b")


@dataclass
class Shards:
    """The shards of one daemon, as a test says: each agent is one."""

    seat: str
    held: dict[AgentName, Lease] = field(default_factory=dict)
    division: str = "the daemons of 2 shards"
    speaks: bool = True

    def mine(self, name: AgentName) -> bool:
        return name in self.held

    def fence(self, name: AgentName) -> Fence:
        if name not in self.held:
            raise ShardLost("not held")
        return Fence(lease=self.held[name].name, epoch=self.held[name].epoch)

    def fences(self) -> tuple[Fence, ...]:
        return tuple(map(self.fence, self.held))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def registry(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteRegistry]:
    opened = await open_registry(tmp_path, clock)
    yield opened
    await opened.close()


async def shards(registry: Registry, clock: FakeClock, seat: str, *names: AgentName) -> Shards:
    made = Shards(seat)
    for name in names:
        made.held[name] = await registry.acquire(f"shard-{name}", holder=seat, ttl_ms=15_000, now_ms=clock.now_ms())
    return made


async def put(registry: Registry, fences: tuple[Fence, ...]) -> None:
    fact = AuditFact(actor="me", action="try", agent=None)
    await registry.commit(Write(op_id=registry.new_id(), at_ms=1, audit=(fact,), fences=fences))


async def test_daemons_of_one_division_work_beside_each_other(registry, clock) -> None:
    one, two = await shards(registry, clock, "one", A), await shards(registry, clock, "two", B)
    async with shared_lock(registry, clock, one) as first, shared_lock(registry, clock, two) as second:
        await put(registry, first.of(A).fences())
        await put(registry, second.of(B).fences())
        assert [fence.lease for fence in first.of(A).fences()] == [APPLY_LEASE, "shard-x/a"]


async def test_while_one_of_them_works_nobody_applies_by_hand_and_when_the_last_stops_anybody_may(
    registry, clock
) -> None:
    one, two = await shards(registry, clock, "one", A), await shards(registry, clock, "two", B)
    async with shared_lock(registry, clock, one):
        async with shared_lock(registry, clock, two):
            pass
        with pytest.raises(LockHeld, match="the daemons of 2 shards"):
            async with apply_lock(registry, clock, holder="ada"):
                pass
    async with apply_lock(registry, clock, holder="ada"):
        pass


async def test_an_apply_by_hand_keeps_them_out_and_so_does_another_division(registry, clock) -> None:
    one = await shards(registry, clock, "one", A)
    async with apply_lock(registry, clock, holder="ada"):
        with pytest.raises(LockHeld, match="ada"):
            async with shared_lock(registry, clock, one):
                pass
    other = await shards(registry, clock, "two", B)
    other.division = "the daemons of 8 shards"
    async with shared_lock(registry, clock, other):
        with pytest.raises(LockHeld, match="8 shards"):
            async with shared_lock(registry, clock, one):
                pass


async def test_one_that_was_away_while_somebody_applied_by_hand_writes_nothing(registry, clock) -> None:
    one = await shards(registry, clock, "one", A)
    async with shared_lock(registry, clock, one) as lock:
        stale = lock.of(A).fences()
        clock.advance(TTL_MS / 1000 + 1)
        async with apply_lock(registry, clock, holder="ada"):
            with pytest.raises(RegistryConflict, match="apply has moved on"):
                await put(registry, stale)
        with pytest.raises(RegistryConflict, match="apply has moved on"):
            await put(registry, stale)
        with pytest.raises(LockLost):
            await lock.keep()


async def test_who_was_suspended_with_its_machine_looks_before_it_does_anything_more(registry, clock) -> None:
    """Monotonic time stands still meanwhile: what the lease says by the clock on the wall counts as well."""
    async with apply_lock(registry, clock, holder="the daemon that slept") as lock:
        clock.jump(TTL_MS / 1000 - 1)
        await lock.keep()  # nobody can have it yet
        clock.jump(TTL_MS / 1000 + 1)
        await lock.keep()  # nobody took it
        clock.jump(TTL_MS / 1000 + 1)
        async with apply_lock(registry, clock, holder="ada"):
            with pytest.raises(LockLost, match="ada"):
                await lock.keep()


async def test_who_was_suspended_and_cannot_ask_does_nothing_more(registry, clock, monkeypatch) -> None:
    async def away(*_: object, **_said: object) -> Lease:
        raise RegistryError("no route to host")

    async with apply_lock(registry, clock, holder="the daemon that slept") as lock:
        monkeypatch.setattr(registry, "acquire", away)
        await lock.keep()
        clock.jump(TTL_MS / 1000 + 1)
        with pytest.raises(LockLost, match="no route to host"):
            await lock.keep()


async def test_an_apply_by_hand_that_was_away_while_they_worked_writes_nothing(registry, clock) -> None:
    one = await shards(registry, clock, "one", A)
    async with apply_lock(registry, clock, holder="ada") as lock:
        stale = lock.fences()
        clock.advance(TTL_MS / 1000 + 1)
        async with shared_lock(registry, clock, one):
            with pytest.raises(RegistryConflict, match="apply has moved on"):
                await put(registry, stale)


async def test_one_whose_shard_another_took_writes_nothing_about_it_and_goes_on_with_its_others(
    registry, clock
) -> None:
    one = await shards(registry, clock, "one", A, B)
    async with shared_lock(registry, clock, one) as lock:
        clock.advance(16)
        await registry.acquire("shard-x/a", holder="two", ttl_ms=15_000, now_ms=clock.now_ms())
        with pytest.raises(RegistryConflict, match=r"shard-x/a has moved on.*two"):
            await put(registry, lock.of(A).fences())
        with pytest.raises(RegistryConflict, match="shard-x/a has moved on"):
            await put(registry, lock.fences())  # what is about the fleet depends on all
        await put(registry, lock.of(B).fences())
        del one.held[A]
        with pytest.raises(ShardLost):
            await lock.of(A).keep()
        await lock.of(B).keep()


async def test_one_that_was_killed_keeps_hands_off_no_longer_than_its_lease(registry, clock) -> None:
    one, two = await shards(registry, clock, "one", A), await shards(registry, clock, "two", B)
    killed = shared_lock(registry, clock, one)
    await killed.__aenter__()
    async with shared_lock(registry, clock, two):
        pass
    with pytest.raises(LockHeld):
        async with apply_lock(registry, clock, holder="ada"):
            pass
    clock.advance(TTL_MS / 1000 + 1)
    async with apply_lock(registry, clock, holder="ada"):
        pass
    await killed.__aexit__(None, None, None)

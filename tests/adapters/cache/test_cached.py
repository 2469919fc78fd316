"""The cache in this process: nothing is asked twice, nothing is told that is no longer true, and it holds so much."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reconciler.adapters.cache import CachedRegistry
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.errors import OutcomeUnknown, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Observation, Unreadable
from reconciler.model.query import Comparator, Compare, Query
from reconciler.model.registry import AgentState, Record
from tests.contracts.values import MINER, TRIAGE, record, write
from tests.doubles.clock import FakeClock
from tests.doubles.far import Far

ALL = Query()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest_asyncio.fixture
async def inner(tmp_path: Path, clock: FakeClock):
    opened = await SqliteRegistry.open(tmp_path / "registry.db", clock)
    yield Far(opened)
    await opened.close()


@pytest_asyncio.fixture
async def other(inner: Any, tmp_path: Path, clock: FakeClock):
    """The same registry, as another process has it."""
    opened = await SqliteRegistry.open(tmp_path / "registry.db", clock)
    yield opened
    await opened.close()


async def versions(registry: Any, query: Query = ALL) -> list[tuple[str, int]]:
    page = await registry.find(query, limit=100)
    return [(str(one.name), one.version) for one in page.records]


async def test_what_is_true_is_asked_for_once(inner: Any, clock: FakeClock) -> None:
    cached = CachedRegistry(inner, clock)
    await cached.commit(write(record()))
    for _ in range(3):
        assert await cached.get(TRIAGE) == Found(record())
        assert await cached.get(MINER) == Absent()
        assert await versions(cached) == [("support/triage", 1)]
        assert [group.count for group in await cached.count(ALL)] == [1]
    assert (inner.calls["get"], inner.calls["count"]) == (2, 1)
    assert inner.calls["find"] == 2, "one to learn how far the registry is, one for the answer"
    uses = cached.uses
    assert (uses.records.hits, uses.records.misses, uses.answers.hits, uses.answers.misses) == (4, 2, 4, 2)
    assert round(uses.records.rate, 2) == 0.67


async def test_a_write_of_another_process_is_read_at_once(inner: Any, other: SqliteRegistry, clock: FakeClock) -> None:
    cached = CachedRegistry(inner, clock)
    await cached.commit(write(record(), replace(record(MINER), inventory=())))
    await cached.get(TRIAGE), await cached.get(MINER), await versions(cached)
    await other.commit(write(record(version=2)))
    assert await cached.get(TRIAGE) == Found(record(version=2))
    assert dict(await versions(cached)) == {"research/miner": 1, "support/triage": 2}
    asked = inner.calls["get"]
    assert isinstance(await cached.get(MINER), Found)
    assert inner.calls["get"] == asked, "who did not change is not asked for again"
    await other.commit(write(record(version=3, state=AgentState.TERMINATING)))
    await other.commit(write(record(version=4, state=AgentState.GONE)))
    assert await cached.get(TRIAGE) == Absent()
    assert await versions(cached) == [("research/miner", 1)]


async def test_with_patience_others_are_read_later_and_oneself_at_once(
    inner: Any, other: SqliteRegistry, clock: FakeClock
) -> None:
    cached = CachedRegistry(inner, clock, patience_s=2.0)
    await cached.commit(write(record()))
    assert await cached.get(TRIAGE) == Found(record())
    await other.commit(write(record(version=2)))
    assert await cached.get(TRIAGE) == Found(record())
    looks = cached.uses.looks
    await cached.commit(write(record(version=3)))
    assert await cached.get(TRIAGE) == Found(record(version=3))
    assert cached.uses.looks == looks, "within the time nobody looks"
    await other.commit(write(record(version=4)))
    await clock.sleep(2.5)
    assert await cached.get(TRIAGE) == Found(record(version=4))


async def test_it_holds_so_much_and_drops_what_was_used_longest_ago(inner: Any, clock: FakeClock) -> None:
    cached = CachedRegistry(inner, clock, most_records=2, most_answers=3)
    names = [AgentName(namespace="n", name=f"a{number}") for number in range(3)]
    await cached.commit(write(*(replace(record(name), id=name.name) for name in names)))
    for name in (names[0], names[1], names[0], names[2], names[0]):
        await cached.get(name)
    assert inner.calls["get"] == 3, "the first was used again before the third came"
    assert (cached.uses.records.held, cached.uses.records.crowded) == (2, 1)
    await versions(cached)
    await versions(cached)
    assert cached.uses.answers.held == 0, "a page of three is heavier than all there may be"


async def test_true_is_not_one(inner: Any, clock: FakeClock) -> None:
    cached = CachedRegistry(inner, clock)
    await cached.commit(write(replace(record(), protect=True)))
    truth = Query(where=Compare("protect", Comparator.EQUAL, True))
    number = Query(where=Compare("protect", Comparator.EQUAL, 1.0))
    assert await versions(cached, truth) == [("support/triage", 1)]
    assert await versions(cached, number) == []


async def test_a_registry_that_is_away_is_not_answered_for(inner: Any, clock: FakeClock) -> None:
    cached = CachedRegistry(inner, clock)
    await cached.commit(write(record()))
    await cached.get(TRIAGE), await versions(cached)
    inner.away = True
    assert await cached.get(TRIAGE) == Unreadable(reason="the line is cut")
    with pytest.raises(RegistryError, match="cut"):
        await versions(cached)
    inner.away = False
    assert await cached.get(TRIAGE) == Found(record())


class Lossy(Far):
    """Writes, and loses the answer."""

    def __getattr__(self, name: str) -> Any:
        if name != "commit":
            return super().__getattr__(name)

        async def commit(one: Any) -> int:
            await self.inner.commit(one)
            raise OutcomeUnknown("no answer")

        return commit


async def test_a_write_whose_end_is_unknown_is_read_anew(inner: Any, clock: FakeClock) -> None:
    cached = CachedRegistry(Lossy(inner.inner), clock, patience_s=100.0)
    assert await cached.get(TRIAGE) == Absent()
    with pytest.raises(OutcomeUnknown):
        await cached.commit(write(record()))
    assert await cached.get(TRIAGE) == Found(record())


class Slow(Far):
    """Its first answer to `get` is held back, and old when it arrives."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        if name != "get" or self.asked.is_set():
            return super().__getattr__(name)

        async def get(agent: AgentName) -> Observation[Record]:
            self.asked.set()
            answer = await self.inner.get(agent)
            await self.go_on.wait()
            return answer

        return get


async def test_an_answer_that_was_overtaken_is_not_kept(inner: Any, clock: FakeClock) -> None:
    slow = Slow(inner.inner)
    cached = CachedRegistry(slow, clock, patience_s=100.0)
    early = asyncio.create_task(cached.get(TRIAGE))
    await slow.asked.wait()
    await cached.commit(write(record()))
    slow.go_on.set()
    assert await early == Absent()
    assert await cached.get(TRIAGE) == Found(record())


async def test_looks_that_are_asked_for_together_are_few(inner: Any, clock: FakeClock) -> None:
    cached = CachedRegistry(inner, clock)
    await cached.commit(write(record()))
    await cached.get(TRIAGE)
    before = cached.uses.looks
    await asyncio.gather(*(cached.get(TRIAGE) for _ in range(50)))
    assert cached.uses.looks - before <= 2


@pytest.mark.parametrize("seed", range(5))
async def test_it_always_answers_as_the_registry_does(
    inner: Any, other: SqliteRegistry, clock: FakeClock, seed: int
) -> None:
    """Two processes write by chance; whatever is asked in between, it is what the registry itself says."""
    chance = random.Random(seed)
    cached = CachedRegistry(inner, clock, most_records=3, most_answers=20)
    names = [AgentName(namespace="n", name=f"a{number}") for number in range(5)]
    for turn in range(80):
        name = chance.choice(names)
        writer: Any = chance.choice([cached, other])
        held = await other.get(name)
        if chance.random() < 0.4:
            version = held.value.version + 1 if isinstance(held, Found) else 1
            state = chance.choice([AgentState.SUSPENDED, AgentState.REGISTERED][: 1 + (version == 1)])
            made = record(name, id_=held.value.id if isinstance(held, Found) else f"{name.name}-{turn}")
            await writer.commit(
                write(replace(made, version=version, state=state if version > 1 else AgentState.REGISTERED))
            )
        assert await cached.get(name) == await other.get(name)
        assert await versions(cached) == await versions(other)
    assert cached.uses.records.hits > 0

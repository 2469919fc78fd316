"""The cache in this process: nothing is asked twice, nothing is told that is no longer true, and it holds so much."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reconciler.adapters.cache import CachedRegistry, MirroredRegistry
from reconciler.adapters.cache.told import AWAY_S
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.adapters.sqlite.mirror import SqliteMirror
from reconciler.adapters.stored.ids import IdMaker
from reconciler.model.errors import OutcomeUnknown, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Observation, Unreadable
from reconciler.model.query import Comparator, Compare, Query
from reconciler.model.registry import AgentState, Record
from reconciler.ports import Stale, Upkeep
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
async def mirrored(inner: Any, tmp_path: Path, clock: FakeClock):
    """The registry with a copy beside it, as a daemon has one that is far."""

    async def reach() -> Any:
        return inner

    mirror = await SqliteMirror.open(tmp_path / "near" / "mirror.db", clock, source="there")
    yield MirroredRegistry(reach, mirror, clock, IdMaker(clock))
    await mirror.close()


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


async def test_what_it_was_good_for_is_told(inner: Any, clock: FakeClock) -> None:
    heard: list[tuple[str, str]] = []
    cached = CachedRegistry(inner, clock, used=lambda *told: heard.append(told))
    for _ in range(2):
        await cached.get(TRIAGE), await cached.count(ALL)
    assert heard == [("records", "miss"), ("answers", "miss"), ("records", "hit"), ("answers", "hit")]


async def test_over_a_copy_it_answers_with_the_age_of_the_copy(
    inner: Any, mirrored: MirroredRegistry, other: SqliteRegistry, clock: FakeClock
) -> None:
    cached = CachedRegistry(mirrored, clock)
    await other.commit(write(record()))
    assert await versions(cached) == await versions(cached) == [("support/triage", 1)]
    as_of_ms = clock.now_ms()
    inner.away = True
    await clock.sleep(60)
    await other.commit(write(record(version=2)))
    told: set[Stale | None] = set()
    for _ in range(2):
        assert await versions(cached) == [("support/triage", 1)]
        told.add(cached.stale)
    assert told == {Stale(as_of_ms=as_of_ms, reason="the line is cut")}
    assert await cached.get(TRIAGE) == Unreadable(reason="the line is cut"), "nothing is decided by a copy"
    inner.away = False
    await clock.sleep(AWAY_S / 2)
    assert await versions(cached) == [("support/triage", 1)]
    assert cached.stale, "it is left alone for a while"
    await clock.sleep(AWAY_S)
    for _ in range(2):
        assert await versions(cached) == [("support/triage", 2)], "what was old was not kept"
        assert cached.stale is None


async def test_of_those_who_ask_at_once_each_hears_of_when_its_own_answer_is(
    inner: Any, mirrored: MirroredRegistry, clock: FakeClock
) -> None:
    """One whose answer comes from an old copy is not told that it is new because another's is."""
    await mirrored.commit(write(record()))
    ages: list[Stale | None] = []
    answering = asyncio.Event()

    async def ask() -> None:
        await versions(mirrored)
        answering.set()
        await asyncio.sleep(0)
        ages.append(mirrored.stale)

    await ask()
    inner.away = True
    early = asyncio.create_task(ask())
    answering.clear()
    await answering.wait()
    inner.away = False
    await clock.sleep(AWAY_S + 1)
    await asyncio.gather(early, ask())
    assert [age is None for age in ages] == [True, False, True]


async def test_it_is_looked_after_as_the_registry_below_is(inner: Any, tmp_path: Path, clock: FakeClock) -> None:
    cached = CachedRegistry(inner.inner, clock)
    (tmp_path / "kept").mkdir()
    assert isinstance(cached, Upkeep)
    await cached.commit(write(record()))
    assert await cached.integrity() == ()
    assert (await cached.prune(before_ms=0, said=None)).total == 0
    assert (await cached.backup(tmp_path / "kept" / "backup.db")).records == 1


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


@pytest.mark.parametrize("seed", range(4))
async def test_it_always_answers_as_the_registry_does(
    inner: Any, mirrored: MirroredRegistry, other: SqliteRegistry, clock: FakeClock, seed: int
) -> None:
    """Two processes write by chance; whatever is asked in between, it is what the registry itself says."""
    chance = random.Random(seed)
    cached = CachedRegistry(mirrored if seed % 2 else inner, clock, most_records=3, most_answers=20)
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

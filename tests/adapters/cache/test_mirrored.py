"""A copy on this machine of a registry that is far: warm after a restart, of a stated age while the registry is away,
and never a place that anything is decided by or written from.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reconciler.adapters.cache import MirroredRegistry
from reconciler.adapters.cache import mirrored as module
from reconciler.adapters.cache.told import AWAY_S, Outcome, Used, unheard
from reconciler.adapters.sqlite import SqliteRegistry, database
from reconciler.adapters.sqlite.mirror import SqliteMirror
from reconciler.adapters.stored.ids import IdMaker
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found, Observation, Unreadable
from reconciler.model.query import Query
from reconciler.model.registry import AgentState, Record
from reconciler.ports import Aging, Stale
from tests.contracts.values import MINER, TRIAGE, record, write
from tests.doubles.clock import FakeClock
from tests.doubles.far import Far

ALL = Query()
Open = Callable[..., Awaitable[MirroredRegistry]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest_asyncio.fixture
async def far(tmp_path: Path, clock: FakeClock):
    opened = await SqliteRegistry.open(tmp_path / "far" / "registry.db", clock)
    yield Far(opened)
    await opened.close()


@pytest_asyncio.fixture
async def near(far: Any, tmp_path: Path, clock: FakeClock):
    """Opens the registry with its copy, as each start of the program does."""
    opened: list[MirroredRegistry] = []

    async def opener(source: str = "there", used: Used = unheard) -> MirroredRegistry:
        async def reach() -> Any:
            if far.away:
                raise RegistryError("the line is cut")
            return far

        mirror = await SqliteMirror.open(tmp_path / "near" / "mirror.db", clock, source=source)
        opened.append(MirroredRegistry(reach, mirror, clock, IdMaker(clock), used=used))
        return opened[-1]

    yield opener
    for one in opened:
        await one._mirror.close()


async def versions(registry: Any) -> dict[str, int]:
    page = await registry.find(ALL, limit=100)
    return {str(one.name): one.version for one in page.records}


async def agents(registry: Any, count: int) -> list[AgentName]:
    names = [AgentName(namespace="n", name=f"a{number:03}") for number in range(count)]
    await registry.commit(write(*(replace(record(name), id=f"id-{name.name}") for name in names)))
    return names


async def test_queries_are_answered_from_the_copy(far: Any, near: Open) -> None:
    await agents(far, 5)
    registry = await near()
    assert isinstance(registry, Aging)
    assert len(await versions(registry)) == 5
    assert far.calls["snapshot"] == 1
    asked = far.calls["find"]
    assert len(await versions(registry)) == 5
    assert [group.count for group in await registry.count(ALL)] == [5]
    assert (far.calls["find"] - asked, far.calls["count"], far.calls["get"]) == (0, 0, 0)
    assert registry.stale is None


async def test_what_the_copy_was_good_for_is_told(far: Any, near: Open, clock: FakeClock) -> None:
    heard: list[tuple[str, Outcome]] = []
    registry = await near(used=lambda *told: heard.append(told))
    await versions(registry)
    far.away = True
    await versions(registry)
    await registry._mirror.close()
    far.away = False
    await clock.sleep(AWAY_S + 1)
    await versions(registry)
    assert heard == [("copy", Outcome.HIT), ("copy", Outcome.STALE), ("copy", Outcome.MISS)]


async def test_what_others_write_is_read_at_once(far: Any, near: Open) -> None:
    registry = await near()
    await far.commit(write(record(), replace(record(MINER), inventory=())))
    assert await versions(registry) == {"support/triage": 1, "research/miner": 1}
    await far.commit(write(record(version=2)))
    assert await versions(registry) == {"support/triage": 2, "research/miner": 1}
    await far.commit(write(record(version=3, state=AgentState.TERMINATING)))
    await far.commit(write(record(version=4, state=AgentState.GONE)))
    assert await versions(registry) == {"research/miner": 1}
    await far.commit(write(record(id_="again")))
    assert await versions(registry) == {"support/triage": 1, "research/miner": 1}


async def test_while_the_registry_is_away_queries_go_on_with_their_age(far: Any, near: Open, clock: FakeClock) -> None:
    registry = await near()
    await far.commit(write(record()))
    await versions(registry)
    as_of_ms = clock.now_ms()
    far.away = True
    await clock.sleep(60)
    assert await versions(registry) == {"support/triage": 1}
    assert registry.stale == Stale(as_of_ms=as_of_ms, reason="the line is cut")
    assert await registry.get(TRIAGE) == Unreadable(reason="the line is cut"), "nothing is decided by a copy"
    assert await registry.snapshot() == Unreadable(reason="the line is cut")
    with pytest.raises(RegistryError, match="cut"):
        await registry.commit(write(record(version=2)))
    with pytest.raises(RegistryError, match="cut"):
        await registry.open_journal()
    far.away = False
    await clock.sleep(60)
    await far.commit(write(record(version=2)))
    assert await versions(registry) == {"support/triage": 2}
    assert registry.stale is None


async def test_a_registry_that_is_away_is_not_tried_with_every_question(far: Any, near: Open, clock: FakeClock) -> None:
    registry = await near()
    await versions(registry)
    far.away = True
    before = far.calls["changes"]
    for _ in range(5):
        await versions(registry)
    assert far.calls["changes"] == before + 1
    await clock.sleep(AWAY_S + 1)
    await versions(registry)
    assert far.calls["changes"] == before + 2


async def test_a_restart_is_warm(far: Any, near: Open) -> None:
    names = await agents(far, 50)
    await versions(await near())
    await far.commit(write(replace(record(names[3], version=2), id="id-a003")))
    snapshots = far.calls["snapshot"]
    again = await near()
    assert (await versions(again))["n/a003"] == 2
    assert (far.calls["snapshot"], far.calls["get"]) == (snapshots, 1), "it costs what changed meanwhile"


async def test_a_restart_without_the_registry_has_the_copy(far: Any, near: Open, clock: FakeClock) -> None:
    await agents(far, 3)
    await versions(await near())
    as_of_ms = clock.now_ms()
    far.away = True
    await clock.sleep(3600)
    registry = await near()
    assert len(await versions(registry)) == 3
    assert registry.stale == Stale(as_of_ms=as_of_ms, reason="the line is cut")
    assert len(registry.new_id()) == 27, "which needs no registry"


async def test_without_a_copy_nothing_is_answered(far: Any, near: Open) -> None:
    far.away = True
    with pytest.raises(RegistryError, match="cut"):
        await versions(await near())


async def test_ones_own_writes_are_read_when_the_registry_goes_away_at_once(far: Any, near: Open) -> None:
    registry = await near()
    await versions(registry)
    await registry.commit(write(record(), replace(record(MINER), inventory=())))
    await registry.commit(write(record(version=2)))
    far.away = True
    assert await versions(registry) == {"support/triage": 2, "research/miner": 1}


async def test_a_write_repeated_does_not_bring_the_past_back(far: Any, near: Open) -> None:
    registry = await near()
    first = write(record(), op_id="first")
    await registry.commit(first)
    await far.commit(write(record(version=2)))
    assert await versions(registry) == {"support/triage": 2}
    await registry.commit(first)
    far.away = True
    assert await versions(registry) == {"support/triage": 2}


async def test_a_registry_that_went_back_in_time_is_copied_anew(far: Any, near: Open, tmp_path: Path) -> None:
    await far.commit(write(record()))
    await far.inner.backup(tmp_path / "backup.db")
    await far.commit(write(record(version=2), replace(record(MINER), inventory=())))
    assert len(await versions(await near())) == 2
    restored = await SqliteRegistry.open(tmp_path / "backup.db", FakeClock())
    far.inner, before = restored, far.inner
    assert await versions(await near()) == {"support/triage": 1}
    await restored.close()
    far.inner = before


async def test_a_copy_of_another_registry_is_begun_anew(far: Any, near: Open) -> None:
    await far.commit(write(record()))
    await versions(await near("one place"))
    far.away = True
    with pytest.raises(RegistryError, match="cut"):
        await versions(await near("another"))


async def test_a_damaged_copy_is_begun_anew(far: Any, near: Open, tmp_path: Path) -> None:
    await far.commit(write(record()))
    registry = await near()
    await versions(registry)
    await registry._mirror.close()
    (tmp_path / "near" / "mirror.db").write_bytes(b"rubbish" * 1000)
    assert await versions(await near()) == {"support/triage": 1}


async def test_a_copy_that_another_process_writes_is_not_taken_from_it(
    far: Any, near: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agents(far, 2)
    await versions(await near())
    monkeypatch.setattr(database, "BUSY_MS", 1)
    with closing(sqlite3.connect(tmp_path / "near" / "mirror.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryError, match="locked"):
            await near()
        other.execute("ROLLBACK")
        assert other.execute("SELECT count(*) FROM records").fetchone() == (2,)
    assert len(await versions(await near())) == 2


async def test_where_the_copy_fails_the_registry_answers(far: Any, near: Open, tmp_path: Path) -> None:
    await far.commit(write(record()))
    registry = await near()
    await versions(registry)
    connection = sqlite3.connect(tmp_path / "near" / "mirror.db")
    connection.execute("DROP TABLE mirror")
    connection.commit()
    connection.close()
    before = far.calls["find"]
    assert await versions(registry) == {"support/triage": 1}
    assert far.calls["find"] == before + 1
    await registry.commit(write(record(version=2)))
    assert await versions(registry) == {"support/triage": 2}
    assert registry.stale is None


async def test_after_many_changes_the_registry_is_read_whole(
    far: Any, near: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await agents(far, 10)
    registry = await near()
    await versions(registry)
    monkeypatch.setattr(module, "MOST_SINGLE", 4)
    await far.commit(write(*(replace(record(name, version=2), id=f"id-{name.name}") for name in names)))
    assert set((await versions(registry)).values()) == {2}
    assert (far.calls["snapshot"], far.calls["get"]) == (2, 0)


async def test_nothing_but_records_is_kept_in_the_copy(far: Any, near: Open, tmp_path: Path) -> None:
    await far.commit(write(record()))
    registry = await near()
    await versions(registry)
    await registry.commit(write(record(version=2)))
    connection = sqlite3.connect(tmp_path / "near" / "mirror.db")
    for table in ("audit", "feed", "journal", "revisions", "operations", "leases", "fleet"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table  # noqa: S608
    connection.close()


@pytest.mark.parametrize("seed", range(3))
async def test_two_programs_with_one_copy_answer_as_the_registry_does(far: Any, near: Open, seed: int) -> None:
    chance = random.Random(seed)
    first, second = await near(), await near()
    names = [AgentName(namespace="n", name=f"a{number}") for number in range(6)]

    def next_of(answer: Observation[Record], name: AgentName, turn: int) -> Record:
        if not isinstance(answer, Found):
            return record(name, id_=f"{name.name}-{turn}")
        held = answer.value
        state = chance.choice([held.state, AgentState.SUSPENDED, AgentState.TERMINATING])
        if held.state is AgentState.TERMINATING:
            state = AgentState.GONE
        return replace(held, version=held.version + 1, state=state)

    for turn in range(60):
        name = chance.choice(names)
        writer = chance.choice([first, second, far])
        await writer.commit(write(next_of(await far.get(name), name, turn)))
        told, again = await asyncio.gather(versions(first), versions(second))
        assert told == again == await versions(far.inner)
    copy: Any = first._mirror
    assert await copy.count(ALL, by="labels.team") == await far.inner.count(ALL, by="labels.team")
    faults = [fault.what for fault in await copy._searched.integrity()]
    assert not [what for what in faults if "searched" in what or "paths" in what], faults

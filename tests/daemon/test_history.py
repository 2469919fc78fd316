"""The history of health that a daemon keeps: what it writes when, and how the next one goes on from it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.daemon import history as module
from reconciler.daemon.history import History
from reconciler.daemon.loop import Mode
from reconciler.daemon.sweeping import Swept
from reconciler.daemon.telling import Teller
from reconciler.engine.sweep import Sweep
from reconciler.engine.world import Stores
from reconciler.health import assess
from reconciler.model.agent import Agent
from reconciler.model.errors import OutcomeUnknown, RegistryError
from reconciler.model.fleet import Declaration
from reconciler.model.health import Assessment, Evidence, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import DAY_MS, FINE_MS, HOUR_MS, HealthChange, HealthPoint, Retention
from reconciler.model.source import Revision
from tests.contracts.values import record
from tests.daemon.test_service import Fleet, running
from tests.daemon.waiting import until
from tests.doubles.clock import FakeClock
from tests.doubles.source import MemorySource
from tests.doubles.world import open_registry
from tests.engine.fleets import NOTHING
from tests.engine.fleets import agent as body
from tests.health.test_assess import ANSWERS, bad, good, health, of
from tests.placement.builders import agent

A, B = AgentName.parse("support/a"), AgentName.parse("support/b")
H, D, U, X = HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY, HealthState.UNKNOWN
WELL, ILL, DARK = of(ANSWERS, good()), of(ANSWERS, bad()), Evidence()
EVERY_S = 30
AGENTS = {name: agent(str(name), health=health(ANSWERS)) for name in (A, B)}


class Recording:
    """A registry that counts what is written to it, and can be away."""

    def __init__(self, inner: SqliteRegistry) -> None:
        self.inner = inner
        self.written: list[tuple[int, int]] = []
        self.ops: list[str] = []
        self.fails: Exception | None = None
        self.free = asyncio.Event()
        self.free.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def record_health(
        self, changes: Sequence[HealthChange], points: Sequence[HealthPoint], *, op_id: str
    ) -> None:
        self.ops.append(op_id)
        await self.free.wait()
        if isinstance(self.fails, RegistryError):
            raise self.fails
        await self.inner.record_health(changes, points, op_id=op_id)
        if self.fails is not None:
            raise self.fails
        self.written.append((len(changes), len(points)))


class Watch:
    """One daemon's sweeps, as far as history hears of them."""

    def __init__(self, registry: Recording, clock: FakeClock) -> None:
        self.registry, self.clock = registry, clock
        self.lines: list[dict[str, Any]] = []
        tell = Teller(clock=clock, write=lambda text: self.lines.append(json.loads(text)), as_json=True)
        self.history = History(clock=clock, tell=tell)
        self.found: Mapping[AgentName, Assessment] = {}
        self.agents: dict[AgentName, Agent] = dict(AGENTS)
        self.stores = Stores(registry=registry, clusters={})

    async def start(self) -> None:
        self.found = await self.history.recall(self.stores, (A, B))

    async def sweep(self, *evidence: Evidence, names: tuple[AgentName, ...] = (A, B), times: int = 1) -> None:
        """Sweeps of `names`, each with its evidence, and all that is written of them."""
        for _ in range(times):
            before = self.found
            self.found = {
                name: assess(name, health(ANSWERS), one, previous=before.get(name), now_ms=self.clock.now_ms())
                for name, one in zip(names, evidence, strict=True)
            }
            await self.history.heard(
                Swept(
                    declared=Declaration(
                        revision=Revision(commit="c", ref=""), fleet=None, agents=self.agents,
                        frozen_agents={}, frozen_paths={}, templates={}, diagnostics=(),
                    ),
                    stores=self.stores,
                    records={name: record(name) for name in self.agents},
                    found=Sweep(assessments=self.found, assessed=frozenset(self.found)),
                    before=before,
                )
            )  # fmt: skip
            await self.settled()
            self.clock.advance(EVERY_S)

    async def settled(self) -> None:
        if self.history._writing is not None and self.registry.free.is_set():
            await self.history._writing

    async def changes(self, name: AgentName | None = A) -> list[tuple[HealthState, HealthState]]:
        return [(one.was, one.state) for one in await self.registry.health_changes(name, since_ms=0)]

    async def points(self, span_ms: int = FINE_MS, name: AgentName | None = A) -> tuple[HealthPoint, ...]:
        until_ms = self.clock.now_ms() + DAY_MS
        found: tuple[HealthPoint, ...] = await self.registry.health_points(
            name, since_ms=0, until_ms=until_ms, span_ms=span_ms
        )
        return found

    def told(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


@pytest_asyncio.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    clock = FakeClock()
    clock.advance((FINE_MS - clock.now_ms() % FINE_MS) / 1000)  # at the beginning of five minutes
    async with opened(tmp_path, clock) as registry:
        made = Watch(registry, clock)
        await made.start()
        yield made


@asynccontextmanager
async def opened(folder: Path, clock: FakeClock) -> AsyncIterator[Recording]:
    registry = await open_registry(folder, clock)
    try:
        yield Recording(registry)
    finally:
        await registry.close()


async def restarted(watch: Watch) -> Watch:
    await watch.history.close()
    again = Watch(watch.registry, watch.clock)
    await again.start()
    return again


async def test_changes_are_written_at_once_and_a_sweep_that_brings_none_writes_nothing(watch: Watch) -> None:
    await watch.sweep(WELL, WELL)
    await watch.sweep(WELL, WELL, times=3)
    assert watch.registry.written == [(2, 0)]
    await watch.sweep(WELL, ILL)
    assert watch.registry.written == [(2, 0), (1, 0)]
    assert await watch.changes(B) == [(X, H), (H, D)]


async def test_measurements_are_written_once_in_five_minutes_for_all_agents(watch: Watch) -> None:
    await watch.sweep(WELL, WELL, times=25)
    assert watch.registry.written == [(2, 0), (0, 2), (0, 2)]
    first, second = await watch.points()
    assert (first.count, first.up, first.latencies.count) == (10, 10, 10)
    assert second.start_ms - first.start_ms == FINE_MS
    assert [(point.count, point.agent) for point in await watch.points(HOUR_MS, None)] == [(20, A), (20, B)]


async def test_how_often_it_served_is_counted(watch: Watch) -> None:
    await watch.sweep(WELL, WELL, times=4)
    await watch.sweep(ILL, WELL, times=6)
    await watch.sweep(WELL, WELL)
    (point,) = await watch.points()
    assert (point.count, point.up, point.latencies.count) == (10, 6, 4), "ill at the third failure"


async def test_what_is_measured_of_nothing_is_no_look(watch: Watch) -> None:
    await watch.sweep(DARK, WELL, times=11)
    assert await watch.points() == ()
    assert await watch.changes() == []


async def test_a_daemon_that_starts_again_soon_goes_on_as_if_it_had_never_stopped(watch: Watch) -> None:
    await watch.sweep(WELL, WELL)
    await watch.sweep(WELL, ILL, times=4)
    again = await restarted(watch)
    assert {name: one.state for name, one in again.found.items()} == {A: H, B: U}
    before = list(watch.registry.written)
    await again.sweep(WELL, ILL, times=3)
    assert watch.registry.written == before
    assert await again.changes(B) == [(X, H), (H, D), (D, U)]


async def test_what_was_measured_before_it_stopped_is_not_lost_and_not_counted_twice(watch: Watch) -> None:
    await watch.sweep(WELL, WELL, times=4)
    again = await restarted(watch)
    await again.sweep(WELL, WELL, times=7)
    (point,) = await again.points()
    assert (point.count, point.latencies.count) == (10, 10)


async def test_many_agents_are_recalled_at_once_as_few_are_one_by_one(watch: Watch, monkeypatch) -> None:
    await watch.sweep(WELL, WELL, times=3)
    await watch.sweep(ILL, WELL)
    few = await restarted(watch)
    monkeypatch.setattr(module, "FEW", 1)
    many = await restarted(few)
    assert many.found == few.found
    assert many.history._seen == few.history._seen
    assert set(await many.history.recall(many.stores, (B,))) == {B}, "who else is on record is not asked for"


async def test_who_is_taken_over_from_another_daemon_is_as_that_one_left_it(watch: Watch) -> None:
    """Two daemons of a fleet in shards."""
    other = Watch(watch.registry, watch.clock)
    await watch.sweep(WELL, names=(A,))
    await other.sweep(ILL, names=(B,), times=3)
    await watch.sweep(WELL, names=(A,))
    await other.history.close()
    watch.found = {**watch.found, **await watch.history.recall(watch.stores, (B,))}
    await watch.sweep(WELL, ILL)
    assert await watch.changes(B) == [(X, U)]


async def test_where_nobody_looked_for_a_while_it_says_so(watch: Watch) -> None:
    await watch.sweep(WELL, WELL, times=3)
    last_ms = watch.clock.now_ms() - EVERY_S * 1000
    again = await restarted(watch)
    again.clock.advance(3 * 3600)
    await again.sweep(WELL, WELL)
    assert await again.changes() == [(X, H), (H, X), (X, H)]
    lapsed = (await again.registry.health_changes(A, since_ms=0))[1]
    assert (lapsed.at_ms, lapsed.text) == (last_ms + 1, "nobody looked, or nothing could be measured")


async def test_after_days_too_the_last_look_is_found(watch: Watch) -> None:
    await watch.sweep(WELL, WELL, times=3)
    last_ms = watch.clock.now_ms() - EVERY_S * 1000
    await watch.history.close()
    watch.clock.advance(5 * 86_400)
    again = Watch(watch.registry, watch.clock)
    await again.start()
    assert again.history._seen == {A: last_ms, B: last_ms}


async def test_a_cluster_that_cannot_be_read_for_a_while_is_time_in_which_nothing_is_known(watch: Watch) -> None:
    await watch.sweep(WELL, WELL)
    await watch.sweep(DARK, WELL, times=12)
    await watch.sweep(WELL, WELL)
    assert await watch.changes() == [(X, H), (H, X), (X, H)]
    assert await watch.changes(B) == [(X, H)]


async def test_an_agent_that_is_asked_seldom_has_its_own_measure_of_a_while(watch: Watch) -> None:
    rules = replace(health(ANSWERS), interval=replace(health().interval, ms=600_000))
    watch.agents[A] = agent(str(A), health=rules)
    await watch.sweep(WELL, WELL)
    await watch.sweep(DARK, WELL, times=20)
    await watch.sweep(WELL, WELL)
    assert await watch.changes() == [(X, H)]


async def test_an_agent_that_is_suspended_or_gone_is_not_looked_at_any_more(watch: Watch) -> None:
    await watch.sweep(WELL, WELL, times=2)
    watch.agents.pop(B)
    await watch.sweep(WELL, names=(A,))
    watch.agents[A] = agent(str(A), health=health(ANSWERS), suspend=True)
    await watch.sweep(names=())
    await watch.sweep(names=())
    assert (await watch.changes(), await watch.changes(B)) == ([(X, H), (H, X)], [(X, H), (H, X)])
    again = await restarted(watch)
    assert again.found == {}


async def test_one_that_is_only_not_due_is_not_gone(watch: Watch) -> None:
    await watch.sweep(WELL, WELL)
    await watch.sweep(WELL, names=(A,))
    assert await watch.changes(B) == [(X, H)]


async def test_a_registry_that_is_away_is_told_once_and_what_waits_is_written_when_it_is_back(watch: Watch) -> None:
    watch.registry.fails = RegistryError("the registry does not answer", hint="look at it")
    await watch.sweep(WELL, WELL, times=12)
    await watch.sweep(ILL, WELL)
    assert [line["reason"] for line in watch.told("history-not-written")] == ["the registry does not answer"]
    watch.registry.fails = None
    await watch.sweep(ILL, WELL)
    assert await watch.changes() == [(X, H), (H, D)]
    assert [point.count for point in await watch.points()] == [10]
    assert len(watch.told("history-written-again")) == 1
    assert "given_up" not in watch.told("history-written-again")[0]


async def test_a_write_of_which_nobody_knows_is_repeated_as_the_same_and_counts_once(watch: Watch) -> None:
    await watch.sweep(WELL, WELL, times=10)
    watch.registry.fails = OutcomeUnknown("no reply")
    await watch.sweep(WELL, WELL)
    watch.registry.fails = None
    await watch.sweep(WELL, WELL)
    assert watch.registry.ops[-1] == watch.registry.ops[-2]
    assert [point.count for point in await watch.points(HOUR_MS)] == [10]


async def test_what_waits_is_bounded_and_the_oldest_is_given_up(watch: Watch, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_CHANGES", 3)
    monkeypatch.setattr(module, "MOST_POINTS", 4)
    watch.registry.free.clear()
    await watch.sweep(WELL, WELL)
    for _ in range(40):
        await watch.sweep(ILL, WELL)
        await watch.sweep(WELL, WELL)
    assert (len(watch.history._changes), len(watch.history._over)) == (3, 4)
    assert watch.history.dropped > 0


async def test_a_sweep_does_not_wait_for_the_registry_and_there_is_one_write_at_a_time(watch: Watch) -> None:
    watch.registry.free.clear()
    await watch.sweep(WELL, WELL)
    await until(lambda: watch.registry.ops)
    await watch.sweep(ILL, WELL, times=2)
    assert len(watch.registry.ops) == 1
    watch.registry.free.set()
    await watch.settled()
    assert watch.registry.written == [(2, 0), (1, 0)]


async def test_a_fault_in_keeping_history_is_told_and_no_more(watch: Watch) -> None:
    watch.registry.fails = RegistryError("x")
    watch.registry.record_health = None  # type: ignore[method-assign, assignment]
    await watch.sweep(WELL, WELL, times=2)
    assert "TypeError" in watch.told("history-not-written")[0]["reason"]


async def test_history_that_cannot_be_read_keeps_nobody_from_sweeping(watch: Watch, monkeypatch) -> None:
    async def away(*_given: Any, **_more: Any) -> Any:
        raise RegistryError("the registry does not answer")

    await watch.sweep(WELL, WELL)
    monkeypatch.setattr(watch.registry.inner, "health_changes", away)
    again = await restarted(watch)
    assert again.found == {}
    assert len(again.told("history-not-read")) == 1
    await again.sweep(WELL, WELL)


async def test_what_is_old_is_taken_away_now_and_then(watch: Watch) -> None:
    kept = Retention(changes_ms=8 * DAY_MS, fine_ms=HOUR_MS, hours_ms=8 * DAY_MS)
    watch.history.retention = kept
    await watch.sweep(WELL, WELL, times=11)
    assert len(await watch.points()) == 1
    watch.clock.advance(3 * 3600)
    await watch.sweep(WELL, WELL)
    await watch.sweep(WELL, WELL, times=11)
    first = (await watch.points())[0]
    assert first.start_ms > watch.clock.now_ms() - 2 * HOUR_MS
    assert len(await watch.points(HOUR_MS)) == 2


async def test_what_waits_for_a_registry_is_not_written_to_another(watch: Watch, tmp_path: Path) -> None:
    watch.registry.fails = RegistryError("away")
    await watch.sweep(WELL, WELL, times=11)
    async with opened(tmp_path / "other", watch.clock) as other:
        assert await watch.history.recall(Stores(registry=other, clusters={}), (A, B)) == {}
        watch.stores = Stores(registry=other, clusters={})
        await watch.sweep(WELL, WELL)
        await watch.history.close()
        assert await other.health_changes(A, since_ms=0) == ()
        points = await other.health_points(A, since_ms=0, until_ms=watch.clock.now_ms() + 1, span_ms=FINE_MS)
        assert [point.count for point in points] == [1]


async def test_closing_ends_although_the_registry_hangs(watch: Watch, monkeypatch) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.01)
    watch.registry.free.clear()
    await watch.sweep(WELL, WELL)
    await asyncio.wait_for(watch.history.close(), 10)


async def test_a_daemon_that_starts_again_tells_no_change_of_who_is_as_before(tmp_path: Path) -> None:
    """A whole daemon, on a cluster on which nothing becomes ready."""
    source = MemorySource()
    source.commit({"fleet.yaml": NOTHING, "agents/fast.yaml": body("fast")})
    first = Fleet(tmp_path, source, Mode.APPLY)
    history = keep_history(first)
    async with running(first):
        await until(lambda: first.told("health", state="unhealthy"))
        await until(lambda: history._writing is not None)
        await history.close()
    second = Fleet(tmp_path, source, Mode.APPLY)
    swept: list[Swept] = []

    async def hears(one: Swept) -> None:
        swept.append(one)

    keep_history(second)
    second.service.heard += (hears,)
    async with running(second):
        await until(lambda: len(swept) > 2)
    assert {one.state for one in swept[0].before.values()} == {U}
    assert second.told("health") == []


def keep_history(fleet: Fleet) -> History:
    history = History(clock=fleet.clock, tell=fleet.service.tell)
    fleet.service.settings = replace(fleet.service.settings, sweep_s=0.05)
    fleet.service.heard, fleet.service.recall = (history.heard,), history.recall
    return history

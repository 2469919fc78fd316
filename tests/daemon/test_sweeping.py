"""The daemon's sweep: each agent in its own time, one that hangs beside the others, and who is told what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.daemon.measures import Measures
from reconciler.daemon.probing import Counted
from reconciler.daemon.sweeping import Sweeping, Swept
from reconciler.daemon.telling import Teller
from reconciler.engine.operate import Hand, scale, suspend
from reconciler.engine.reconcile import PlanningCache, declare
from reconciler.engine.world import Stores
from reconciler.model.health import Assessment, HealthState, HttpProbe, ProbeRequest, Sample
from reconciler.model.identity import AgentName
from reconciler.model.objects import Observation, Scope, Unreadable, Usage
from reconciler.model.registry import RegistrySnapshot
from tests.daemon.waiting import until
from tests.doubles.clock import FakeClock
from tests.doubles.never_ready import NeverReadyCluster
from tests.doubles.prober import TableProber
from tests.doubles.source import MemorySource
from tests.doubles.world import open_cluster, open_registry
from tests.engine.conftest import SmallWorld
from tests.engine.fleets import NOTHING, OPTIONS, agent, applied
from tests.engine.test_sweep import CHECKED, add_pod

FAST, SLOW = AgentName.parse("support/fast"), AgentName.parse("support/slow")


class Hanging(TableProber):
    """Answers at once, but for a path: that one waits until it is told otherwise."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.go_on, self.hung = path, asyncio.Event(), 0

    async def probe(self, request: ProbeRequest) -> Sample:
        if isinstance(request, HttpProbe) and request.path == self.path:
            self.hung += 1
            await self.go_on.wait()
        return await super().probe(request)


class Watch:
    """A fleet whose agents have a pod each, and its sweeping."""

    def __init__(self, world: SmallWorld, prober: TableProber, every_s: float | None = None) -> None:
        self.world, self.prober = world, prober
        self.lines: list[dict[str, Any]] = []
        self.heard: list[Swept] = []
        self.measures = Measures()
        self.sweeping = Sweeping(
            world=world, prober=Counted(inner=prober, measures=self.measures), options=OPTIONS, cache=PlanningCache(),
            tell=Teller(clock=world.clock, write=lambda text: self.lines.append(json.loads(text)), as_json=True),
            measures=self.measures, every_s=every_s, acts=True, heard=(self.hear,),
        )  # fmt: skip

    async def hear(self, swept: Swept) -> None:
        self.heard.append(swept)

    async def commit(self, **agents: str) -> None:
        self.world.commit(**{name: agent(name, body) for name, body in agents.items()})
        await applied(self.world)
        for name in agents:
            add_pod(self.world, name)
        await declare(self.world, await self.world.source.revision(""), self.sweeping.cache)

    def value(self, name: str, **labels: str) -> float:
        return self.measures.registry.get_sample_value(f"reconciler_{name}", labels) or 0.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[SmallWorld]:
    source, clock = MemorySource(), FakeClock()
    source.commit({"fleet.yaml": NOTHING})
    registry = await open_registry(tmp_path, clock)
    cluster = open_cluster(NeverReadyCluster, tmp_path)
    yield SmallWorld(source, clock, Stores(registry=registry, clusters={"local": cluster}), cluster, registry)
    await cluster.close()
    await registry.close()


def every(interval: str, path: str = "/healthz") -> str:
    return CHECKED.replace("health:\n", f"health:\n    interval: {interval}\n").replace("/healthz", path)


async def test_each_tick_sweeps_those_that_are_due_and_says_which(world: SmallWorld) -> None:
    watch = Watch(world, TableProber())
    await watch.commit(fast=every("10s"), slow=every("1m"))
    for _tick in range(4):
        await watch.sweeping.once()
        world.fake.advance(10)
    assessed = [swept.found.assessed for swept in watch.heard]
    assert assessed == [{FAST, SLOW}, {FAST}, {FAST}, {FAST}]
    last = watch.heard[-1]
    assert set(last.found.assessments) == {FAST, SLOW}, "what is known of the others is there too"
    assert last.found.assessments[SLOW] is last.before[SLOW]
    assert watch.value("assessments_total", state="healthy") == 5
    assert watch.value("probes_total", kind="http", outcome="ok") == 5


async def test_a_tick_in_which_nobody_is_due_asks_nobody(world: SmallWorld) -> None:
    watch = Watch(world, TableProber())
    await watch.commit(slow=every("1m"))
    await watch.sweeping.once()
    world.fake.advance(10)
    await watch.sweeping.once()
    assert len(watch.prober.asked) == 1
    assert len(watch.heard) == 1


async def test_an_agent_that_hangs_is_judged_later_and_the_others_in_time(world: SmallWorld, monkeypatch) -> None:
    monkeypatch.setattr("reconciler.daemon.sweeping.SETTLE_S", 0.05)
    prober = Hanging("/hangs")
    watch = Watch(world, prober)
    await watch.commit(fast=every("10s"), slow=every("10s", "/hangs"))
    await watch.sweeping.once()
    assert watch.heard[0].found.assessed == {FAST}
    world.fake.advance(10)
    await watch.sweeping.once()
    assert prober.hung == 1, "never two sweeps of one agent at once"
    assert watch.heard[-1].found.assessed == {FAST}
    assert watch.value("sweeps_missed_total") == 1
    assert watch.sweeping.under_way
    prober.go_on.set()
    await until(lambda: watch.heard[-1].found.assessed == {SLOW})
    await until(lambda: not watch.sweeping.under_way)
    assert watch.sweeping.found[SLOW].state is HealthState.HEALTHY


async def test_one_that_is_late_takes_nobody_back_to_what_was_known_when_it_began(
    world: SmallWorld, monkeypatch
) -> None:
    """Else an alert that was raised since by what is on record would be over, and raised once more a moment later."""
    monkeypatch.setattr("reconciler.daemon.sweeping.SETTLE_S", 0.05)
    prober = Hanging("/hangs")
    watch = Watch(world, prober)
    await watch.commit(fast=every("10s"), slow=every("10s", "/hangs"))
    await watch.sweeping.once()
    await scale(Hand(registry=world.registry, clock=world.clock, actor="ada", retry=OPTIONS.retry), FAST, 2)
    world.fake.advance(10)
    await watch.sweeping.once()
    now = watch.heard[-1]
    prober.go_on.set()
    await until(lambda: watch.heard[-1].found.assessed == {SLOW})
    late = watch.heard[-1]
    assert late.records is now.records
    assert late.records[FAST].version > watch.heard[0].records[FAST].version
    assert (late.fleet, late.declared, late.found.sights) == (now.fleet, now.declared, now.found.sights)


async def test_what_ends_while_history_is_asked_about_others_is_not_forgotten(world: SmallWorld, monkeypatch) -> None:
    monkeypatch.setattr("reconciler.daemon.sweeping.SETTLE_S", 0.05)
    prober = Hanging("/hangs")
    watch = Watch(world, prober)
    await watch.commit(fast=every("10s"), slow=every("10s", "/hangs"))
    await watch.sweeping.once()
    assert SLOW not in watch.sweeping.found

    async def asked(_stores: Stores, names: Collection[AgentName]) -> Mapping[AgentName, Assessment]:
        prober.go_on.set()
        await until(lambda: SLOW in watch.sweeping.found)
        return {}

    watch.sweeping.recall = asked
    await watch.commit(new=every("1m"))
    world.fake.advance(5)
    await watch.sweeping.once()
    assert watch.sweeping.found.keys() == {FAST, SLOW, AgentName.parse("support/new")}


async def test_a_fault_of_ours_in_one_agent_leaves_the_others_alone(world: SmallWorld) -> None:
    class Faulty(TableProber):
        async def probe(self, request: ProbeRequest) -> Sample:
            if isinstance(request, HttpProbe) and request.path == "/odd":
                raise RuntimeError("a fault")
            return await super().probe(request)

    watch = Watch(world, Faulty())
    await watch.commit(fast=every("10s"), slow=every("10s", "/odd"))
    await watch.sweeping.once()
    assert watch.heard[0].found.assessed == {FAST}
    (line,) = [line for line in watch.lines if line["event"] == "not-assessed"]
    assert (line["agent"], line["reason"]) == ("support/slow", "RuntimeError: a fault")


async def test_who_is_gone_is_known_no_more(world: SmallWorld) -> None:
    watch = Watch(world, TableProber())
    await watch.commit(fast=every("10s"), slow=every("10s"))
    await watch.sweeping.once()
    world.commit(slow=None)
    await applied(world)
    await declare(world, await world.source.revision(""), watch.sweeping.cache)
    world.fake.advance(10)
    await watch.sweeping.once()
    assert set(watch.heard[-1].found.assessments) == {FAST}


@pytest.mark.parametrize("slow", [None, "apiVersion: [", agent("slow", "  replicas: many\n")])
async def test_who_runs_is_looked_at_whatever_becomes_of_its_file(world: SmallWorld, slow: str | None) -> None:
    """Its file is broken, or its deletion is held back: it is left as it is, and would be ill and nobody knew."""
    watch = Watch(world, TableProber())
    await watch.commit(fast=every("10s"), slow=every("10s"))
    await watch.sweeping.once()
    world.commit(slow=slow)
    for _ in range(2):
        await declare(world, await world.source.revision(""), watch.sweeping.cache)
        world.fake.advance(10)
        await watch.sweeping.once()
    last = watch.heard[-1]
    assert last.found.assessed == {FAST, SLOW}
    assert set(last.kept) == {SLOW}
    assert last.agent(SLOW) == last.kept[SLOW]
    await suspend(Hand(registry=world.registry, clock=world.clock, actor="ada", retry=OPTIONS.retry), SLOW)
    world.fake.advance(10)
    await watch.sweeping.once()
    assert watch.heard[-1].found.assessed == {FAST}


async def test_it_ends_with_what_is_under_way(world: SmallWorld, monkeypatch) -> None:
    monkeypatch.setattr("reconciler.daemon.sweeping.SETTLE_S", 0.01)
    prober = Hanging("/hangs")
    watch = Watch(world, prober)
    await watch.commit(slow=every("10s", "/hangs"))
    task = asyncio.create_task(watch.sweeping.run())
    await until(lambda: watch.sweeping._late)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not watch.sweeping.under_way


@pytest.mark.parametrize("every_s", [None, 20.0])
async def test_clusters_are_looked_at_also_where_nobody_runs(world: SmallWorld, every_s: float | None) -> None:
    watch = Watch(world, TableProber(), every_s)
    await declare(world, await world.source.revision(""), watch.sweeping.cache)
    await watch.sweeping.once()
    assert set(watch.heard[0].found.sights) == {"local"}


async def test_usage_is_read_as_often_as_it_is_measured(world: SmallWorld, monkeypatch) -> None:
    asked: list[Scope] = []
    usage = type(world.cluster).usage

    async def counted(cluster: NeverReadyCluster, scope: Scope) -> Observation[Usage]:
        asked.append(scope)
        return await usage(cluster, scope)

    monkeypatch.setattr(type(world.cluster), "usage", counted)
    watch = Watch(world, TableProber())
    await watch.commit(fast=every("5s"), slow=every("1m"))
    for _tick in range(7):
        await watch.sweeping.once()
        world.fake.advance(5)
    assert len(asked) == 3
    assert {scope.namespaces for scope in asked} == {frozenset({"support"})}


async def test_a_registry_that_is_away_is_not_asked_without_rest(world: SmallWorld, monkeypatch) -> None:
    watch = Watch(world, TableProber())
    await watch.commit(fast=every("10s"))
    await watch.sweeping.once()
    asked = 0

    async def away() -> Observation[RegistrySnapshot]:
        nonlocal asked
        asked += 1
        return Unreadable(reason="it is away")

    monkeypatch.setattr(world.registry, "snapshot", away)
    world.fake.advance(60)
    world.fake.slept.clear()
    task = asyncio.create_task(watch.sweeping.run())
    await until(lambda: asked >= 3)
    assert world.fake.slept[:2] == [30.0, 30.0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

"""A daemon as a whole, in memory: where it begins, whom it stands for, and what it leaves in peace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.daemon import acting, loop, service
from reconciler.daemon.calling import ring
from reconciler.daemon.loop import Mode
from reconciler.daemon.measures import Measures
from reconciler.daemon.ours import Ours
from reconciler.daemon.service import Service, Settings
from reconciler.daemon.standing import LEADER_LEASE
from reconciler.daemon.telling import Teller
from reconciler.daemon.wakes import Pace
from reconciler.engine import continuous
from reconciler.engine.apply import Back
from reconciler.engine.change import run_change
from reconciler.engine.locks import LockHeld, LockLost, apply_lock
from reconciler.engine.operate import Hand, scale
from reconciler.engine.reconcile import PlanningCache
from reconciler.engine.rollback import Way
from reconciler.engine.run import Failed, Run
from reconciler.engine.turns import Turn
from reconciler.engine.world import Patience, Stores
from reconciler.model.errors import ReconcilerError, SourceError
from reconciler.model.events import ChangeFinished
from reconciler.model.fleet import FleetSpec
from reconciler.model.fleet import SqliteRegistry as Declared
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import RENDERED_KINDS, Found, Scope
from reconciler.model.plan import Change, Plan
from reconciler.model.registry import JournalEntry, JournalPhase
from tests.daemon.test_wakes import change, plan
from tests.daemon.waiting import PATIENTLY_S, until
from tests.doubles.never_ready import SILENT, NeverReadyCluster
from tests.doubles.prober import TableProber
from tests.doubles.source import MemorySource
from tests.doubles.world import open_cluster, open_registry
from tests.engine.fleets import NOTHING, OPTIONS, agent

MOVED = NOTHING + "  registry: {sqlite: {path: other.db}}\n"
RENDERED = {(group, kind) for group, _version, kind in RENDERED_KINDS}
SLOW = AgentName.parse("support/slow")


class Far(MemorySource):
    """A repository that cannot be reached any more."""

    async def fetch(self) -> None:
        raise SourceError("the repository cannot be reached")


class Fleet:
    """A world with a registry for each file that fleet.yaml may name, and the daemon that looks after it."""

    def __init__(self, folder: Path, source: MemorySource, mode: Mode) -> None:
        self.folder, self.source, self.clock = folder, source, SystemClock()
        self.cluster = open_cluster(NeverReadyCluster, folder)
        self.registries: dict[str, SqliteRegistry] = {}
        self.patience = Patience()
        self.lines: list[dict[str, Any]] = []
        self.stop = asyncio.Event()
        self.service = Service(
            world=self,
            settings=Settings(mode=mode, poll_s=0.05, sweep_s=60.0),
            options=replace(OPTIONS, holder="this daemon"),
            prober=TableProber(),
            tell=Teller(clock=self.clock, write=lambda text: self.lines.append(json.loads(text)), as_json=True),
            measures=Measures(),
            jitter=lambda: 1.0,
            tidy=self.tidy,
        )
        self.tidied: list[Stores] = []

    async def tidy(self, stores: Stores) -> None:
        self.tidied.append(stores)

    async def stores(self, fleet: FleetSpec) -> Stores:
        assert isinstance(fleet.registry, Declared)
        registry = await self.registry(fleet.registry.path)
        return Stores(registry=registry, clusters={"local": self.cluster}, patience=self.patience)

    async def registry(self, path: str = "registry.db") -> SqliteRegistry:
        if path not in self.registries:
            self.registries[path] = await open_registry(self.folder / path, self.clock)
        return self.registries[path]

    def told(self, event: str, **facts: object) -> list[dict[str, Any]]:
        def holds(line: dict[str, Any]) -> bool:
            return line["event"] == event and all(line.get(key) == value for key, value in facts.items())

        return [line for line in self.lines if holds(line)]


@asynccontextmanager
async def running(fleet: Fleet) -> AsyncIterator[Fleet]:
    task = asyncio.create_task(fleet.service.run(fleet.stop))
    try:
        yield fleet
    finally:
        fleet.stop.set()
        await asyncio.wait_for(task, PATIENTLY_S)
        await fleet.cluster.close()
        for registry in fleet.registries.values():
            await registry.close()


Making = Callable[..., Fleet]


@pytest.fixture
def made(tmp_path: Path) -> Making:
    def make(source: MemorySource | None = None, mode: Mode = Mode.APPLY) -> Fleet:
        fleet = Fleet(tmp_path, source or MemorySource(), mode)
        fleet.source.commit({"fleet.yaml": NOTHING, "agents/fast.yaml": agent("fast")})
        return fleet

    return make


async def test_one_that_only_plans_stands_in_nobodys_way_and_names_what_it_would_do(made: Making) -> None:
    fleet = made(mode=Mode.PLAN_ONLY)
    registry = await fleet.registry()
    now = fleet.clock.now_ms()
    held = await registry.acquire(LEADER_LEASE, holder="one that acts", ttl_ms=600_000, now_ms=now)
    async with running(fleet):
        await until(lambda: fleet.told("planned", would=["create support/fast"]))
        assert fleet.service.not_ready() == ""
    again = await registry_lease(fleet, "one that acts")
    assert again == held.epoch
    assert fleet.told("leads") == []


async def registry_lease(fleet: Fleet, holder: str) -> int:
    opened = await open_registry(fleet.folder / "registry.db", fleet.clock)
    lease = await opened.acquire(LEADER_LEASE, holder=holder, ttl_ms=1, now_ms=fleet.clock.now_ms())
    await opened.close()
    return lease.epoch


async def test_a_commit_that_another_daemon_was_told_of_is_fetched_long_before_the_next_poll(
    made: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "REGISTRY_POLL_S", 0.02)
    fleet = made()
    fleet.service.settings = replace(fleet.service.settings, poll_s=3600.0)
    async with running(fleet):
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        fleet.source.commit({"README.md": "x"})
        await ring(await fleet.registry(), fleet.clock, "one that stands by")
        await until(lambda: fleet.told("planned", commit=fleet.source.commits[-1][:12]))


async def test_a_scaling_by_hand_ends_when_it_ends_and_not_with_the_next_look_at_everything(
    made: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "REGISTRY_POLL_S", 0.02)
    fleet = made()
    fleet.service.settings = replace(fleet.service.settings, poll_s=3600.0, resync_s=3600.0)
    async with running(fleet):
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        hand = Hand(registry=await fleet.registry(), clock=fleet.clock, actor="ada", retry=OPTIONS.retry)
        await scale(hand, AgentName.parse("support/fast"), 3, for_ms=3000)  # long enough to be seen on a busy machine
        await until(lambda: fleet.told("change-ended", action="scale", text="scaled 1 -> 3"))
        await until(lambda: fleet.told("change-ended", action="scale", text="scaled 3 -> 1"))


async def test_it_begins_with_what_was_fetched_before_while_the_repository_is_away(made: Making) -> None:
    async with running(made(Far())) as fleet:
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        assert "cannot be reached" in fleet.told("not-fetched")[0]["reason"]


async def test_a_fleet_that_moves_to_another_registry_is_stood_for_there_before_anything_is_done(made: Making) -> None:
    async with running(made()) as fleet:
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        fleet.source.commit({"fleet.yaml": MOVED})
        await until(lambda: len(fleet.told("leads")) == 2)
        await until(lambda: len(fleet.told("change-ended", outcome="applied")) == 2)
        events = [line["event"] for line in fleet.lines]
    moved = events.index("registry-moved")
    assert "change-started" not in events[moved : events.index("leads", moved)]


async def test_one_of_several_on_several_machines_does_nothing_with_a_registry_that_is_a_file(made: Making) -> None:
    fleet = made()
    fleet.service.settings = replace(fleet.service.settings, shared_registry=True)
    async with running(fleet):
        await until(lambda: fleet.told("cannot-start"))
        assert "the registry is a file" in fleet.told("cannot-start")[0]["reason"]
        assert "ArangoDB" in fleet.told("cannot-start")[0]["hint"]
        assert fleet.service.not_ready() == "the fleet or its registry cannot be opened"
    assert fleet.registries == {}


async def test_work_that_breaks_off_by_a_fault_rests_as_what_fails_does(
    made: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[AgentName] = []

    async def broken(_run: Run, change: Any, _turn: object) -> ChangeFinished:
        tries.append(change.name)
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(continuous, "run_change", broken)
    async with running(made()) as fleet:
        await until(lambda: fleet.told("work-broke-off"))
        fleet.source.commit({"agents/next.yaml": agent("next")})
        await until(lambda: len(fleet.told("work-broke-off")) > 1)
        for number in range(3):
            fleet.source.commit({"README.md": str(number)})
            await until(lambda number=number: fleet.told("planned", commit=fleet.source.commits[-1][:12]))  # type: ignore[misc]
    assert sorted(map(str, tries)) == ["support/fast", "support/next"]


async def test_it_ends_while_it_plans_and_a_cluster_is_silent(made: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = made()
    fleet.patience = Patience(connect_s=3600.0, read_s=3600.0, call_s=3600.0)
    asked = asyncio.Event()

    async def silent(_ref: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with running(fleet):
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        monkeypatch.setattr(fleet.cluster, "observe", silent)
        fleet.source.commit({"README.md": "x"})
        await asyncio.wait_for(asked.wait(), PATIENTLY_S)
        fleet.stop.set()
        await until(lambda: fleet.service.standing is not None and not fleet.service.standing.leads)


async def test_one_whose_pass_does_not_end_says_that_it_is_not_ready(
    made: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, go_on = made(), asyncio.Event()
    fleet.service.settings = replace(fleet.service.settings, resync_s=0.05)
    monkeypatch.setattr(loop, "SILENT_S", 1.0)
    opened = fleet.stores

    async def in_its_time(of: FleetSpec) -> Stores:
        await go_on.wait()
        return await opened(of)

    async with running(fleet):
        await until(lambda: fleet.told("change-ended", outcome="applied") and fleet.service.not_ready() == "")
        monkeypatch.setattr(fleet, "stores", in_its_time)
        await until(lambda: "no pass has ended for" in fleet.service.not_ready())
        go_on.set()
        await until(lambda: fleet.service.not_ready() == "")


async def test_a_way_back_that_fails_rests(made: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier run left it open; its cluster refuses."""
    entry = JournalEntry(id="e", agent=SLOW, action="create", phase=JournalPhase.INTENT, commit="c", detail={}, at_ms=0)
    spared: list[bool] = []

    async def ways(
        _run: Run, _plan: object, *, spare: Collection[AgentName], **_: object
    ) -> list[tuple[JournalEntry, Back]]:
        spared.append(SLOW in spare)
        return [] if SLOW in spare else [(entry, refused)]

    async def refused(_run: Run) -> Way:
        raise Failed("refused")

    async def something(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(Pace, "pause", lambda *_: 600.0)  # its rest is not over before this has looked
    monkeypatch.setattr(continuous, "open_ways", ways)
    monkeypatch.setattr(acting, "nothing_to_do", something)
    async with running(made()) as fleet:
        for number in range(4):
            fleet.source.commit({"README.md": str(number)})
            await until(lambda number=number: fleet.told("planned", commit=fleet.source.commits[-1][:12]))  # type: ignore[misc]
        ends = fleet.told("change-ended", agent=str(SLOW))
    assert [line["outcome"] for line in ends] == ["failed"]
    assert spared.count(False) == 1


async def test_objects_of_others_are_no_reason_to_look(made: Making) -> None:
    async with running(made()) as fleet:
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        ours = Ours(cache=fleet.service.cache)
        live = await fleet.cluster.observe(Scope())
        assert isinstance(live, Found)
        refs = [ref for ref in live.value.objects if (ref.group, ref.kind) in RENDERED]
        assert refs
        assert all(ours("local", ref) for ref in refs)
        assert not ours("local", replace(refs[0], name="kube-root-ca.crt"))
        assert not ours("elsewhere", refs[0])


async def test_what_was_there_before_any_plan_is_a_reason_to_look() -> None:
    ref = ObjectRef(group="", kind="ConfigMap", namespace="support", name="x")
    assert Ours(cache=PlanningCache())("local", ref)


async def test_clusters_are_tidied_only_while_nothing_is_under_way(made: Making) -> None:
    async with running(made()) as fleet:
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        fleet.source.commit({"agents/slow.yaml": agent("slow", image=f"acme/{SILENT}:1")})
        await until(lambda: fleet.told("change-started", agent=str(SLOW)))
        before = len(fleet.tidied)
        fleet.source.commit({"README.md": "x"})
        await until(lambda: fleet.told("planned", commit=fleet.source.commits[-1][:12]))
        assert len(fleet.tidied) == before
        fleet.source.commit({"agents/slow.yaml": agent("slow")})
        await until(lambda: fleet.told("change-ended", agent=str(SLOW), outcome="applied"))
        await until(lambda: len(fleet.tidied) > before)


async def test_a_lock_that_is_lost_ends_all_work_and_what_comes_next_is_under_another(
    made: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    under: list[int] = []

    async def losing(run: Run, change: Change, turn: Turn) -> ChangeFinished:
        under.append(run.lock.fences()[0].epoch)
        if len(under) == 1:
            raise LockLost("somebody else has it")
        return await run_change(run, change, turn)

    monkeypatch.setattr(acting, "LOCK_AGAIN_S", 0.05)
    monkeypatch.setattr(continuous, "run_change", losing)
    async with running(made()) as fleet:
        await until(lambda: fleet.told("change-ended", outcome="applied"))
    assert len(under) == 2
    assert under[1] > under[0]


async def test_while_it_rests_it_gives_the_lock_up_and_hears_that_it_is_over(
    made: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LEAST_REST_S", 3600.0)
    async with running(made()) as fleet:
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        registry = await fleet.registry()
        async with apply_lock(registry, fleet.clock, holder="ann", wait_s=PATIENTLY_S):
            pass


async def test_a_pass_that_waits_for_anothers_apply_went_through_and_what_fails_after_it_is_news(
    made: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, held = ReconcilerError("the registry is away"), LockHeld("ann applies")
    ends: list[Exception] = []

    async def do(_acting: acting.Acting, _plan: Plan) -> None:
        raise ends[-1]

    monkeypatch.setattr(acting.Acting, "do", do)
    monkeypatch.setattr(loop, "LEAST_REST_S", 0.0)
    monkeypatch.setattr(loop, "LOCK_AGAIN_S", 0.01)
    ends.append(away)
    async with running(made()) as fleet:
        await until(lambda: fleet.told("pass-failed", level="error"))
        ends.append(held)
        await until(lambda: fleet.told("waits-for-lock", level="info"))
        ends.append(away)
        await until(lambda: len(fleet.told("pass-failed", level="error")) == 2)


def test_one_that_stands_by_measures_nothing_of_the_fleet() -> None:
    measures = Measures()
    measures.leads(True)
    measures.planned(plan(change()))
    assert b'reconciler_planned_changes{action="update"} 1.0' in measures.text()
    measures.leads(False)
    assert b"reconciler_planned_changes{" not in measures.text()
    assert b"reconciler_leader 0.0" in measures.text()


def test_one_that_only_plans_is_measured_as_neither_leader_nor_standby() -> None:
    measures = Measures(leads=False)
    measures.planned(plan(change()))
    text = measures.text()
    assert b'reconciler_planned_changes{action="update"} 1.0' in text
    assert b"reconciler_leader" not in text
    assert b"reconciler_shards" not in text

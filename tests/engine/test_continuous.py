"""Plans that come while older ones are being done: each agent by itself, and none twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.engine.apply import Back, locked
from reconciler.engine.continuous import Broken, Continuous
from reconciler.engine.reconcile import replanner
from reconciler.engine.rollback import Way
from reconciler.engine.run import Run, Unfinished
from reconciler.engine.settle import settle
from reconciler.engine.turns import Turns
from reconciler.engine.world import Stores
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.identity import AgentName
from reconciler.model.objects import Unreadable
from reconciler.model.plan import Action, Plan
from reconciler.model.registry import AgentState, JournalEntry, JournalPhase
from tests.adapters.kubernetes.conftest import until
from tests.doubles.never_ready import NEVER_READY, SILENT, NeverReadyCluster
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld, open_cluster, open_registry
from tests.engine.fleets import NOTHING, OPTIONS, agent, plan_of, record, snapshot

SLOW, FAST, NEXT = (AgentName.parse(f"support/{name}") for name in ("slow", "fast", "next"))
STUCK = f"acme/{SILENT}:1"
"""Runs in no time, and never says so: its rollout goes on for as long as it may."""


class Keeper:
    """A fleet, and who does its changes as plans come."""

    def __init__(self, world: GivenWorld, source: MemorySource, work: Continuous, ends: list[ChangeFinished]) -> None:
        self.world, self.source, self.work, self.ends = world, source, work, ends
        self.rests = 0

    async def commit(self, **files: str | None) -> Plan:
        """Commit agents by name, plan, and offer what is planned."""
        self.source.commit({f"agents/{name}.yaml": text for name, text in files.items()})
        return await self.look()

    async def look(self) -> Plan:
        plan = await plan_of(self.world)
        await self.work.offer(plan, replanner(self.world, plan))
        return plan

    async def end_of(self, name: AgentName) -> ChangeFinished:
        """How the next change of an agent ends."""
        known = len(self._ends(name))
        await until(lambda: len(self._ends(name)) > known)
        return self._ends(name)[-1]

    def outcomes(self, name: AgentName) -> list[Outcome]:
        return [end.outcome for end in self._ends(name)]

    def _ends(self, name: AgentName) -> list[ChangeFinished]:
        return [end for end in self.ends if end.agent == name]


@asynccontextmanager
async def keeping(folder: Path) -> AsyncIterator[Keeper]:
    source, clock, stop = MemorySource(), SystemClock(), asyncio.Event()
    source.commit({"fleet.yaml": NOTHING})
    registry = await open_registry(folder, clock)
    cluster = open_cluster(NeverReadyCluster, folder)
    stores = Stores(registry=registry, clusters={"local": cluster})
    ends: list[ChangeFinished] = []
    broken: list[Broken] = []
    rests: list[None] = []

    def ended(end: ChangeFinished | Broken | None) -> None:
        if end is None:
            rests.append(None)
        elif isinstance(end, ChangeFinished):
            ends.append(end)
        else:
            broken.append(end)

    try:
        async with locked(
            stores, clock, fleet="acme", commit="", options=OPTIONS, stop=stop, emit=lambda _event: None
        ) as run:
            work = Continuous(run=run, options=OPTIONS, on_end=ended)
            yield Keeper(GivenWorld(source, clock, stores), source, work, ends)
            work.stop()
            await work.ended()
            assert rests, "nobody was told that nothing is under way any more"
    finally:
        await cluster.close()
        await registry.close()
    assert broken == []


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    async with keeping(tmp_path) as made:
        yield made


async def test_a_slow_agent_holds_up_nobody_and_is_begun_once(keeper: Keeper) -> None:
    await keeper.commit(slow=agent("slow", image=STUCK))
    await keeper.commit(fast=agent("fast"))
    await until(lambda: keeper.outcomes(FAST) == [Outcome.APPLIED])
    await keeper.look()
    assert keeper.work.busy == {SLOW}
    assert keeper.outcomes(SLOW) == []


async def test_a_newer_commit_stops_the_older_work_on_its_agent_and_goes_on_from_there(keeper: Keeper) -> None:
    await keeper.commit(slow=agent("slow", image=STUCK))
    assert keeper.work.busy == {SLOW}
    await until(lambda: not keeper.work.pending)
    await keeper.commit(slow=agent("slow", image="acme/agent:2"))
    await until(lambda: keeper.outcomes(SLOW) == [Outcome.FAILED])
    await keeper.look()
    await until(lambda: keeper.outcomes(SLOW) == [Outcome.FAILED, Outcome.APPLIED])
    assert (await plan_of(keeper.world)).changes == ()
    assert await (await keeper.world.stores(None)).registry.open_journal() == ()  # type: ignore[arg-type]


async def test_a_later_wave_waits_for_the_earlier_one_through_all_plans(keeper: Keeper) -> None:
    """`next` is in wave 1; other plans come while wave 0 is under way."""
    await keeper.commit(slow=agent("slow", image=STUCK), next=agent("next", "  wave: 1\n"))
    for number in range(3):
        await keeper.commit(fast=agent("fast", image=f"acme/agent:{number}"))
        await until(lambda number=number: len(keeper.outcomes(FAST)) > number)  # type: ignore[misc]
    assert keeper.work.busy == {SLOW, NEXT}
    assert keeper.outcomes(NEXT) == []


async def test_what_waits_for_its_wave_and_is_wanted_otherwise_is_done_as_it_is_wanted_last(keeper: Keeper) -> None:
    await keeper.commit(slow=agent("slow", image=STUCK), next=agent("next", "  wave: 1\n"))
    await keeper.commit(slow=agent("slow", image="acme/agent:2"), next=agent("next", "  replicas: 3\n"))
    await until(lambda: keeper.outcomes(NEXT) == [Outcome.APPLIED])
    assert (await snapshot(keeper.world)).records[NEXT].placement[0].replicas == 3
    assert keeper.outcomes(NEXT) == [Outcome.APPLIED]


async def test_who_depends_on_an_agent_that_fails_is_not_begun(keeper: Keeper) -> None:
    await keeper.commit(
        slow=agent("slow", image=f"acme/{NEVER_READY}:1"), fast=agent("fast", "  dependsOn: [support/slow]\n")
    )
    await until(lambda: keeper.outcomes(FAST) == [Outcome.SKIPPED])
    assert keeper.outcomes(SLOW) == [Outcome.UNDONE]
    assert FAST not in (await snapshot(keeper.world)).records


async def test_an_agent_that_leaves_while_it_comes_up_is_deleted(keeper: Keeper) -> None:
    await keeper.commit(slow=agent("slow", image=STUCK), fast=agent("fast"))
    await until(lambda: keeper.outcomes(FAST) == [Outcome.APPLIED])
    await keeper.commit(slow=None)
    await until(lambda: len(keeper.outcomes(SLOW)) == 1)
    await keeper.look()
    await until(lambda: keeper.outcomes(SLOW)[1:] == [Outcome.APPLIED])
    assert set((await snapshot(keeper.world)).records) == {FAST}


async def test_what_is_stopped_goes_on_with_the_next(tmp_path: Path) -> None:
    async with keeping(tmp_path) as first:
        await first.commit(slow=agent("slow", image=STUCK))
        await until(lambda: not first.work.pending)
    assert first.outcomes(SLOW) == [Outcome.FAILED]
    assert "the next apply goes on with it" in first.ends[0].reason
    async with keeping(tmp_path) as second:
        await second.commit(slow=agent("slow", image="acme/agent:2"))
        await until(lambda: second.outcomes(SLOW) == [Outcome.APPLIED])
        assert (await plan_of(second.world)).changes == ()


async def test_an_offer_after_the_stop_begins_nothing(keeper: Keeper) -> None:
    await keeper.commit(fast=agent("fast"))
    await until(lambda: keeper.outcomes(FAST) == [Outcome.APPLIED])
    keeper.work.stop()
    plan = await keeper.commit(next=agent("next"))
    assert [change.name for change in plan.changes] == [NEXT]
    await until(lambda: keeper.outcomes(NEXT) == [Outcome.SKIPPED])
    assert NEXT not in (await snapshot(keeper.world)).records


async def test_a_later_wave_waits_for_who_is_under_way_and_in_no_plan_any_more(keeper: Keeper) -> None:
    """As one is that failed and is brought back: its spec is in quarantine, so that plans want nothing of it."""
    await keeper.commit(slow=agent("slow", image=STUCK))
    await until(lambda: not keeper.work.pending)
    keeper.source.commit({"agents/next.yaml": agent("next", "  wave: 1\n")})
    for number in range(3):  # each takes as long as `next` would
        keeper.source.commit({"agents/fast.yaml": agent("fast", image=f"acme/agent:{number}")})
        plan = await plan_of(keeper.world)
        without = replace(plan, changes=tuple(change for change in plan.changes if change.name != SLOW))
        await keeper.work.offer(without, replanner(keeper.world, plan))
        await until(lambda number=number: len(keeper.outcomes(FAST)) > number)  # type: ignore[misc]
    assert keeper.work.pending == {NEXT}
    assert keeper.work.busy == {SLOW, NEXT}


async def test_a_failed_spec_that_was_reverted_is_quarantined_no_more_though_nothing_is_to_be_changed(
    keeper: Keeper,
) -> None:
    await keeper.commit(fast=agent("fast"))
    await until(lambda: keeper.outcomes(FAST) == [Outcome.APPLIED])
    await keeper.commit(fast=agent("fast", image=f"acme/agent:{NEVER_READY}"))
    await until(lambda: keeper.outcomes(FAST)[1:] == [Outcome.ROLLED_BACK] and keeper.work.idle)
    await keeper.look()
    await until(lambda: keeper.work.idle)
    assert (await record(keeper.world, str(FAST))).quarantine is not None
    assert (await keeper.commit(fast=agent("fast"))).changes == ()
    await until(lambda: keeper.work.idle)
    assert (await record(keeper.world, str(FAST))).quarantine is None


async def test_who_is_to_be_spared_is_stopped_where_it_is_wanted_otherwise_and_not_begun(keeper: Keeper) -> None:
    await keeper.commit(slow=agent("slow", image=STUCK))
    await until(lambda: not keeper.work.pending)
    keeper.source.commit({"agents/slow.yaml": agent("slow", image="acme/agent:2")})
    plan = await plan_of(keeper.world)
    for _ in range(2):
        await keeper.work.offer(plan, replanner(keeper.world, plan), spare={SLOW})
        await until(lambda: keeper.work.idle)
    assert keeper.outcomes(SLOW) == [Outcome.FAILED]


async def test_a_cluster_that_was_found_silent_is_known_so_to_the_next_plan(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def silent(*_: object) -> Unreadable:
        nonlocal asked
        asked += 1
        return Unreadable(reason="it does not answer")

    monkeypatch.setattr("reconciler.engine.fleetwide.ask_who", silent)
    await keeper.commit(fast=agent("fast"))
    once = asked
    await keeper.commit(next=agent("next"))
    assert asked == once
    await until(lambda: keeper.outcomes(NEXT) == [Outcome.FAILED])


async def test_a_way_back_is_stopped_when_a_plan_wants_something_of_its_agent(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = JournalEntry(id="e", agent=SLOW, action="create", phase=JournalPhase.INTENT, commit="c", detail={}, at_ms=0)

    async def until_stopped(run: Run) -> Way:
        await run.stop.wait()
        raise Unfinished("it was stopped")

    async def ways(*_: object, **__: object) -> list[tuple[JournalEntry, Back]]:
        return [] if keeper.work.busy else [(entry, until_stopped)]

    monkeypatch.setattr("reconciler.engine.continuous.open_ways", ways)
    await keeper.commit(fast=agent("fast"))
    await until(lambda: keeper.outcomes(FAST) == [Outcome.APPLIED])
    assert keeper.work.busy == {SLOW}
    await keeper.commit(slow=agent("slow"))
    await until(lambda: keeper.outcomes(SLOW) == [Outcome.FAILED])
    await keeper.look()
    await until(lambda: keeper.outcomes(SLOW) == [Outcome.FAILED, Outcome.APPLIED])


async def recovering(keeper: Keeper, name: AgentName) -> tuple[asyncio.Event, asyncio.Event]:
    """Have something done beside plans, as a remedy does it; when it may end, and whether it was asked to stop."""
    record = (await snapshot(keeper.world)).records[name]
    may_end, began = asyncio.Event(), asyncio.Event()
    stops: list[asyncio.Event] = []

    async def work(run: Run) -> ChangeFinished:
        stops.append(run.stop)
        await settle(run, record, lambda fresh: replace(fresh, state=AgentState.RECOVERING))
        began.set()
        ended = [asyncio.create_task(event.wait()) for event in (may_end, run.stop)]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        await settle(run, record, lambda fresh: replace(fresh, state=AgentState.RUNNING))
        return ChangeFinished(
            agent=name, action=Action.RECOVER, outcome=Outcome.APPLIED, text="", ready=0, wanted=0, duration_ms=0
        )

    keeper.work.beside(name, record.spec_hash, work)
    await began.wait()
    return may_end, stops[0]


async def test_what_is_done_beside_plans_goes_on_while_they_only_find_the_agent_unsettled(keeper: Keeper) -> None:
    await keeper.commit(fast=agent("fast"))
    await keeper.end_of(FAST)
    may_end, stop = await recovering(keeper, FAST)
    assert keeper.work.busy == {FAST}
    plan = await keeper.look()
    assert [(change.name, change.action) for change in plan.changes] == [(FAST, Action.RECOVER)]
    assert not stop.is_set()
    may_end.set()
    await keeper.end_of(FAST)
    assert (await keeper.look()).changes == ()


async def test_what_is_done_beside_plans_ends_for_a_plan_that_wants_the_agent_otherwise(keeper: Keeper) -> None:
    await keeper.commit(fast=agent("fast"))
    await keeper.end_of(FAST)
    _may_end, stop = await recovering(keeper, FAST)
    await keeper.commit(fast=agent("fast", image="acme/agent:2"))
    assert stop.is_set()
    await keeper.end_of(FAST)
    await keeper.look()
    await keeper.end_of(FAST)
    assert (await keeper.look()).changes == ()


async def test_who_is_left_to_others_while_it_waits_for_its_turn_is_left_at_once(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shard goes to another daemon, which does not wait until slow agents of ours have given their turns back."""
    await keeper.commit(fast=agent("fast"), slow=agent("slow"))
    await until(lambda: not keeper.work.busy)
    monkeypatch.setattr(keeper.work, "_turns", Turns(1))
    may_end, _stop = await recovering(keeper, SLOW)
    await keeper.commit(fast=agent("fast", image="acme/agent:2"))
    await until(lambda: not keeper.work.pending)
    await asyncio.wait_for(keeper.work.leave(lambda name: name == FAST), 20)
    assert keeper.work.busy == {SLOW}
    assert keeper.outcomes(FAST)[-1] is Outcome.SKIPPED
    may_end.set()
    await keeper.end_of(SLOW)
    await keeper.commit(next=agent("next"))
    await until(lambda: keeper.outcomes(NEXT) == [Outcome.APPLIED])  # no turn was lost


async def test_work_whose_wait_was_cancelled_by_others_is_told_as_broken_off(keeper: Keeper) -> None:
    """Else its agent would be taken for one that is under way, and the lock be held for nothing."""
    await keeper.commit(fast=agent("fast"))
    await keeper.end_of(FAST)
    await until(lambda: keeper.work.idle)
    told: list[ChangeFinished | Broken | None] = []
    keeper.work.on_end = told.append

    async def work(_run: Run) -> ChangeFinished:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone
        raise AssertionError

    keeper.work.beside(FAST, "", work)
    await until(lambda: keeper.work.idle)
    assert [end.agent if isinstance(end, Broken) else end for end in told] == [FAST, None]

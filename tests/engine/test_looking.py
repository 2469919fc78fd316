"""How long others are waited for, and what is written down of how they are."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.engine.observe import Silent, attend, look_at, observe
from reconciler.engine.reconcile import PlanningCache, declare
from reconciler.engine.sweep import note_sweep, sweep
from reconciler.engine.wellness import Look, note
from reconciler.engine.world import Patience
from reconciler.model.errors import ClusterUnavailable, RegistryError
from reconciler.model.health import HealthState
from reconciler.model.objects import Found, Scope, Unreadable
from reconciler.model.registry import ClusterState, Write
from tests.doubles.prober import TableProber
from tests.doubles.weather import Sky
from tests.engine.fleets import agent
from tests.engine.several import NOTER, continents

SHORT = Patience(connect_s=0.02, read_s=30.0, call_s=30.0)


@pytest.fixture
async def world(tmp_path):
    async with continents(tmp_path, "eu-1", "us-1") as opened:
        yield opened


async def never() -> object:
    return await asyncio.Event().wait()


async def test_a_silent_cluster_is_unreadable_and_the_others_are_read(world):
    world.turn(Sky.SILENT, "eu-1")
    stores = await world.stores(None)
    seen = await observe(stores, Scope())
    assert seen.live["eu-1"] == Unreadable(reason="cluster eu-1 did not answer within 0.25 s")
    assert isinstance(seen.live["us-1"], Found)
    assert world.clusters["eu-1"].asked == 1


async def test_one_that_goes_silent_in_the_middle_of_a_read_is_asked_who_it_is(world):
    eu = world.clusters["eu-1"]

    async def observing(_scope):
        eu.sky = Sky.SILENT
        return await never()

    eu.inner.observe = observing
    sight = await look_at("eu-1", eu, Scope(), SHORT)
    assert sight.live == Unreadable(reason="cluster eu-1 did not answer within 0.02 s")


async def test_a_long_answer_is_waited_for_while_the_cluster_says_who_it_is(world):
    eu = world.clusters["eu-1"]
    asked, identity = asyncio.Event(), eu.identity

    async def who():
        asked.set()
        return await identity()

    async def slow() -> str:
        await asked.wait()  # the second question has been asked meanwhile
        return "done"

    eu.identity = who
    assert await attend(slow(), eu, SHORT, limit_s=30.0) == "done"


async def test_a_cluster_that_does_not_let_us_in_just_now_is_not_a_silent_one(world):
    eu = world.clusters["eu-1"]
    asked = asyncio.Event()

    async def who() -> Unreadable:
        asked.set()
        return Unreadable(reason="it asks us to wait", refused=True)

    async def slow() -> str:
        await asked.wait()
        await asyncio.sleep(SHORT.connect_s)
        return "done"

    eu.identity = who
    assert await attend(slow(), eu, SHORT, limit_s=30.0) == "done"


async def test_there_is_an_end_to_waiting_all_the_same(world):
    with pytest.raises(Silent) as caught:
        await attend(never(), world.clusters["eu-1"], SHORT, limit_s=0.03)
    assert not caught.value.gone


async def test_what_a_call_raises_comes_through(world):
    async def failing() -> None:
        raise ClusterUnavailable("refused")

    with pytest.raises(ClusterUnavailable):
        await attend(failing(), world.clusters["eu-1"], SHORT, limit_s=1.0)


async def test_a_call_that_is_given_up_is_not_left_running(world):
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await never()
        finally:
            ended.set()

    with pytest.raises(Silent):
        await attend(work(), world.clusters["eu-1"], SHORT, limit_s=0.03)
    assert ended.is_set()


async def look(world) -> Look:
    seen = await observe(await world.stores(None), Scope())
    return Look(before=await world.health(), sights=seen.clusters)


async def test_of_two_looks_at_once_one_writes_and_both_agree(world):
    world.turn(Sky.AWAY, "eu-1")
    first, second = await look(world), await look(world)
    world.fake.advance(5)
    one = await note(world.registry, first, world.clock, NOTER)
    world.fake.advance(5)
    two = await note(world.registry, second, world.clock, NOTER)
    assert one == two == await world.health()
    assert [entry.fact.action async for entry in world.registry.audit()] == ["cluster-unwell"]


async def test_what_cannot_be_written_is_counted_from_a_later_look(world, monkeypatch):
    world.turn(Sky.AWAY, "eu-1")

    async def refused(_write: Write) -> int:
        raise RegistryError("no space left")

    monkeypatch.setattr(world.registry, "commit", refused)
    found = await note(world.registry, await look(world), world.clock, NOTER)
    assert found["eu-1"].state is ClusterState.UNWELL
    assert await world.health() == {}


async def test_looks_that_find_nothing_new_write_nothing(world):
    world.turn(Sky.AWAY, "eu-1")
    await note(world.registry, await look(world), world.clock, NOTER)
    world.fake.advance(60)
    await note(world.registry, await look(world), world.clock, NOTER)
    assert len([entry async for entry in world.registry.audit()]) == 1
    assert (await world.health())["eu-1"].since_ms == world.clock.now_ms() - 60_000


async def test_a_sweep_notes_what_it_saw(world):
    world.commit(triage=agent("triage", "  replicas: 2\n"))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    stores = await world.stores(None)
    found = await sweep(stores, {}, TableProber(), world.clock, previous={})
    assert found.unreadable == {"eu-1": "eu-1 cannot be reached"}
    await note_sweep(stores, found, world.clock, NOTER)
    assert (await world.health())["eu-1"].state is ClusterState.UNWELL
    world.turn(Sky.WELL, "eu-1")
    world.clusters["eu-1"].uid = "somebody-else"
    found = await sweep(stores, {}, TableProber(), world.clock, previous={})
    await note_sweep(stores, found, world.clock, NOTER)
    assert (await world.health())["eu-1"].state is ClusterState.UNWELL, "another one says nothing of it"


@pytest.mark.parametrize(("where", "state"), [("us-1", HealthState.UNHEALTHY), ("eu-1", HealthState.UNKNOWN)])
async def test_a_cluster_that_is_away_hides_nothing_of_agents_that_never_were_there(world, where, state):
    world.commit(triage=agent("triage", f"  replicas: 2\n  placement: {{clusters: {{names: [{where}]}}}}\n"))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    declared = await declare(world, await world.source.revision(""), PlanningCache())
    record = await world.record()
    found = await sweep(
        await world.stores(None), declared.agents, TableProber(), world.clock, previous={},
        records={record.name: record}, at_once=True,
    )  # fmt: skip
    assert found.assessments[record.name].state is state, "nothing runs: no pod of it is ready"

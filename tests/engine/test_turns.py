"""How many agents are changed at once, and who is woken by what happens on a cluster."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from reconciler.adapters.embedded.unrun import ready_status
from reconciler.engine.bells import Bells, rung
from reconciler.engine.follow import FOLLOW_FROM
from reconciler.engine.passes import apply_plan
from reconciler.engine.turns import WAITING_EACH, Turn, Turns
from reconciler.model.events import ChangeFinished, ChangeStarted, Outcome, RolloutProgress
from reconciler.model.identity import AgentName, ObjectRef
from tests.doubles.clock import FakeClock
from tests.engine.fleets import OPTIONS, agent, applied, plan_of

REF = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")
OTHER = replace(REF, name="miner")


class Crew:
    """Workers of `turns` that give their turn back and stay until they are told to go."""

    def __init__(self, turns: Turns, count: int) -> None:
        self.writing: set[int] = set()
        self.under_way: set[int] = set()
        self.turns: dict[int, Turn] = {}
        self.go = [asyncio.Event() for _ in range(count)]
        self.tasks = [asyncio.create_task(self._work(turns, number)) for number in range(count)]

    async def _work(self, turns: Turns, number: int) -> None:
        async with turns.one() as turn:
            self.under_way.add(number)
            self.turns[number] = turn
            await self.go[number].wait()
        self.under_way.discard(number)

    async def settle(self) -> set[int]:
        """Who is under way once nobody can come any further."""
        for _ in range(10 * len(self.tasks)):
            await asyncio.sleep(0)
        return set(self.under_way)

    async def end(self) -> None:
        for event in self.go:
            event.set()
        await asyncio.gather(*self.tasks)


async def test_only_so_many_write_at_once_and_in_order():
    crew = Crew(Turns(2), 5)
    assert await crew.settle() == {0, 1}
    crew.go[1].set()
    assert await crew.settle() == {0, 2}
    await crew.end()


async def test_who_gives_its_turn_back_lets_the_next_one_write_and_is_under_way_still():
    crew = Crew(Turns(2), 5)
    await crew.settle()
    crew.turns[0].end()
    crew.turns[0].end()  # a turn ends once
    assert await crew.settle() == {0, 1, 2}
    await crew.end()


async def test_there_is_a_bound_to_those_under_way():
    crew = Crew(Turns(2), 3 * WAITING_EACH)
    for _ in range(3 * WAITING_EACH):
        await crew.settle()
        for turn in crew.turns.values():
            turn.end()
    assert await crew.settle() == set(range(2 * WAITING_EACH))
    await crew.end()


async def test_one_at_once_is_one_to_its_very_end():
    crew = Crew(Turns(1), 3)
    await crew.settle()
    crew.turns[0].end()
    assert await crew.settle() == {0}
    await crew.end()


@pytest.mark.parametrize("count", [4, FOLLOW_FROM + 2], ids=["by looking", "by events"])
async def test_agents_that_wait_for_their_pods_keep_no_other_from_being_applied(world, count):
    names = {AgentName(namespace="support", name=f"agent-{number}") for number in range(count)}
    waits = "  rollout: {timeout: 10h}\n"
    world.commit(**{one.name: agent(one.name, waits, image="a:silent") for one in names})
    told, ended = set(), {}
    options = replace(OPTIONS, parallelism=2)
    async for event in apply_plan(world, await plan_of(world), options=options, stop=asyncio.Event()):
        if isinstance(event, RolloutProgress) and event.agent not in told:
            told.add(event.agent)
            if told == names:
                for one in names:
                    become_ready(world, one)
        if isinstance(event, ChangeFinished):
            ended[event.agent] = event.outcome
    assert ended == dict.fromkeys(names, Outcome.APPLIED)


async def test_agents_whose_pods_are_replaced_keep_their_turn_until_they_are_ready(world):
    names = [AgentName(namespace="support", name=f"agent-{number}") for number in range(3)]
    world.commit(**{one.name: agent(one.name) for one in names})
    await applied(world)
    waits = "  rollout: {timeout: 10h}\n"
    world.commit(**{one.name: agent(one.name, waits, image="a:silent") for one in names})
    told: dict[AgentName, str] = {}
    options = replace(OPTIONS, parallelism=2)
    async for event in apply_plan(world, await plan_of(world), options=options, stop=asyncio.Event()):
        if isinstance(event, ChangeStarted):
            told[event.agent] = "started"
            assert sum(state != "ready" for state in told.values()) <= 2
        if isinstance(event, RolloutProgress) and told[event.agent] == "started":
            told[event.agent] = "waits"
            for one in told if "started" not in told.values() else ():
                become_ready(world, one)
        if isinstance(event, ChangeFinished):
            assert event.outcome is Outcome.APPLIED
            told[event.agent] = "ready"
    assert told == dict.fromkeys(names, "ready")


def become_ready(world, name: AgentName) -> None:
    store, ref = world.cluster._store, replace(REF, name=name.name)
    store.patch_status(ref, ready_status(store.get(ref)), manager="embedded-controller")


async def test_a_bell_wakes_who_waits_for_that_object_and_nobody_else():
    bells, clock = Bells(), FakeClock()
    bells.followed.add("eu-1")
    with bells.listening([("eu-1", REF)]) as bell, bells.listening([("eu-1", OTHER)]) as other:
        bells.ring("eu-1", REF)
        bells.ring("us-1", OTHER)
        assert bell is not None
        assert other is not None
        assert (bell.is_set(), other.is_set()) == (True, False)
        await rung(bell, clock, 3600.0)
    bells.ring("eu-1", REF)  # nobody waits any more


async def test_without_a_ring_the_time_is_over_some_time():
    bells, clock = Bells(), FakeClock()
    bells.followed.add("eu-1")
    with bells.listening([("eu-1", REF)]) as bell:
        await rung(bell, clock, 7.0)
    assert clock.monotonic() == 7.0


async def test_where_one_of_the_clusters_is_not_followed_there_is_no_bell():
    bells, clock = Bells(), FakeClock()
    bells.followed.add("eu-1")
    with bells.listening([("eu-1", REF), ("us-1", REF)]) as bell:
        assert bell is None
        await rung(bell, clock, 7.0)
    assert clock.monotonic() == 7.0

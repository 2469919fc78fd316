"""Change windows where things are done: what is ignored is audited, and nothing begins after its window has closed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from reconciler.engine.passes import apply_plan
from reconciler.model.events import Outcome, RolloutProgress
from reconciler.model.plan import HoldCode, Policy
from tests.doubles.never_ready import SILENT
from tests.engine.fleets import NOTHING, OPTIONS, agent, applied, finished, plan_of, snapshot

NEVER = NOTHING + "  windows: [{name: freeze, effect: deny, match: {namespaces: [support]}}]\n"


async def facts(world) -> list[tuple[str, str]]:
    return [(entry.fact.action, str(entry.fact.agent)) async for entry in world.registry.audit()]


async def test_a_frozen_fleet_stays_as_it_is_and_its_commit_is_on_record(world) -> None:
    world.memory.commit({"fleet.yaml": NEVER})
    world.commit(a=agent("a"))
    plan = await plan_of(world)
    assert [hold.code for hold in plan.holds] == [HoldCode.WINDOW]
    assert finished(await applied(world, plan)) == {}
    assert (await snapshot(world)).records == {}


async def test_who_ignores_a_window_is_in_the_audit(world) -> None:
    world.memory.commit({"fleet.yaml": NEVER})
    world.commit(a=agent("a"), b=agent("b", namespace="other"))
    events = await applied(world, policy=Policy(ignore_windows=True))
    assert {end.outcome for end in finished(events).values()} == {Outcome.APPLIED}
    assert [item for item in await facts(world) if item[0] == "ignore-windows"] == [("ignore-windows", "support/a")]


async def test_what_no_window_holds_back_needs_no_word_in_the_audit(world) -> None:
    world.memory.commit({"fleet.yaml": NEVER})
    world.commit(b=agent("b", namespace="other"))
    await applied(world, policy=Policy(ignore_windows=True))
    assert "ignore-windows" not in {action for action, _agent in await facts(world)}


async def test_a_change_whose_window_has_closed_before_its_turn_does_not_begin(world) -> None:
    world.commit(a=agent("a"))
    plan = await plan_of(world)
    late = replace(plan, changes=tuple(replace(one, until_ms=world.clock.now_ms()) for one in plan.changes))
    (end,) = finished(await applied(world, late)).values()
    assert (end.outcome, end.reason) == (Outcome.SKIPPED, "its change window has closed")
    assert (await snapshot(world)).records == {}


async def test_what_was_interrupted_goes_on_after_its_window_closed_and_what_came_since_waits(world) -> None:
    world.commit(a=agent("a"))
    await applied(world)
    world.commit(a=agent("a", image=f"acme/{SILENT}"))
    stop = asyncio.Event()
    async for event in apply_plan(world, await plan_of(world), options=OPTIONS, stop=stop):
        if isinstance(event, RolloutProgress):
            stop.set()
    world.memory.commit({"fleet.yaml": NEVER})
    plan = await plan_of(world)
    assert (len(plan.changes), plan.holds) == (1, ())
    world.commit(a=agent("a", image="acme/newer:1"))
    plan = await plan_of(world)
    assert (plan.changes, [hold.code for hold in plan.holds]) == ((), [HoldCode.WINDOW])

"""A pass that has nothing to do takes no lock, whatever lies open that it may not go on with."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engine import apply as applying
from reconciler.engine.journal import Step
from reconciler.engine.locks import APPLY_LEASE
from reconciler.model.identity import AgentName
from reconciler.model.registry import AgentState, JournalEntry, JournalPhase, Write
from tests.engine.fleets import OPTIONS, agent, applied, plan_of, record, stores_of

NAME = AgentName.parse("support/a")


async def left_open(world, step: Step, *, version: int = 0) -> None:
    """An apply that was killed in the middle of a change of `a`, whose file nobody can read since."""
    world.commit(a=agent("a"), b=agent("b"))
    await applied(world)
    known = await record(world, str(NAME))
    entry = JournalEntry(
        id="e", agent=NAME, action="update", phase=JournalPhase.INTENT, commit="c", detail={"step": step}, at_ms=0
    )
    stopped = replace(known, version=known.version + 1, state=AgentState.DEPLOYING)
    await world.registry.commit(Write(op_id=world.registry.new_id(), at_ms=1, records=(stopped,), journal=(entry,)))
    world.commit(a="kind: [", b=agent("b"))
    await applied(world)


async def epoch(world) -> int:
    (lease,) = await world.registry.leases(APPLY_LEASE)
    return int(lease.epoch)


async def test_an_open_change_of_an_agent_that_is_held_is_left_and_costs_no_lock(world) -> None:
    await left_open(world, Step.FORWARD)
    before = await epoch(world)
    plan = await plan_of(world)
    assert plan.changes == ()
    assert plan.holds
    await applied(world, plan)
    assert await epoch(world) == before
    assert [entry.id for entry in await world.registry.open_journal()] == ["e"]


async def test_a_way_back_that_may_be_gone_is_something_to_do_unless_its_agent_rests(world) -> None:
    await left_open(world, Step.FORWARD)
    known = await record(world, str(NAME))
    back = JournalEntry(
        id="e", agent=NAME, action="update", phase=JournalPhase.INTENT, commit="c",
        detail={"step": Step.ROLL_BACK}, at_ms=0,
    )  # fmt: skip
    await world.registry.commit(
        Write(
            op_id=world.registry.new_id(),
            at_ms=1,
            journal=(back,),
            records=(replace(known, version=known.version + 1),),
        )
    )
    plan, stores = await plan_of(world), await stores_of(world)
    assert not await applying.nothing_to_do(plan, stores, OPTIONS)
    assert await applying.nothing_to_do(plan, stores, OPTIONS, spare={NAME})

"""Wishes by hand: written on the record, shown by the plan, brought about by apply, ended by Git or by hand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reconciler.engine.operate import Hand, resume, scale, suspend, unscale
from reconciler.engine.world import Retry
from reconciler.model.errors import UsageError
from reconciler.model.events import ApplyEvent, Outcome
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, HoldCode, ReasonCode
from reconciler.model.registry import AgentState
from tests.doubles.never_ready import NEVER_READY
from tests.engine.fleets import agent, applied, finished, plan_of, record

NAME = AgentName.parse("support/triage")
HOUR_MS = 3_600_000
SCALED = """\
  resources: {requests: {cpu: 100m}}
  autoscaling: {min: 2, max: 5, metrics: [{cpu: 70%}]}
"""


@pytest.fixture
def hand(world):
    return Hand(registry=world.registry, clock=world.clock, actor="ada", retry=Retry(jitter=lambda: 0.0))


async def standing(world: Any, body: str = "  replicas: 2\n", image: str = "acme/agent:1") -> list[ApplyEvent]:
    world.commit(triage=agent("triage", body, image=image))
    return await applied(world)


async def replicas(world) -> int:
    return sum(item.replicas for item in (await record(world, str(NAME))).placement)


async def test_scaling_by_hand_is_planned_and_ends_by_itself(world, hand):
    await standing(world)
    await scale(hand, NAME, 6, for_ms=2 * HOUR_MS, reason="launch day")
    plan = await plan_of(world)
    assert [(change.action, change.replicas) for change in plan.changes] == [(Action.SCALE, (2, 6))]
    assert plan.changes[0].reasons[0].code is ReasonCode.OVERRIDE
    assert "launch day" in plan.changes[0].reasons[0].text
    await applied(world, plan)
    assert await replicas(world) == 6
    assert (await plan_of(world)).changes == ()
    world.fake.advance(2 * 3600 + 1)
    await applied(world)
    assert await replicas(world) == 2
    assert (await record(world, str(NAME))).override is None


async def test_scaling_by_hand_can_be_lifted(world, hand):
    await standing(world)
    await scale(hand, NAME, 6)
    await applied(world)
    await unscale(hand, NAME)
    await applied(world)
    assert await replicas(world) == 2


async def test_what_an_autoscaler_scales_is_not_scaled_by_hand(world, hand):
    await standing(world, SCALED)
    with pytest.raises(UsageError, match="autoscaler"):
        await scale(hand, NAME, 6)


@pytest.mark.parametrize("number", [-1, 10_001])
async def test_a_number_that_cannot_be_meant_is_refused(world, hand, number):
    await standing(world)
    with pytest.raises(UsageError, match="cannot be meant"):
        await scale(hand, NAME, number)


async def test_a_suspended_agent_runs_nowhere_until_it_is_resumed(world, hand):
    await standing(world)
    await suspend(hand, NAME, reason="too loud")
    await applied(world)
    assert (await record(world, str(NAME))).state is AgentState.SUSPENDED
    assert await replicas(world) == 0
    again = await plan_of(world)
    assert again.changes == ()
    assert [hold.code for hold in again.holds] == [HoldCode.SUSPENDED]
    await resume(hand, NAME)
    await applied(world)
    assert (await record(world, str(NAME))).state is AgentState.RUNNING
    assert await replicas(world) == 2


async def test_resume_lifts_a_quarantine(world, hand):
    await standing(world, image=f"acme/{NEVER_READY}")
    assert (await plan_of(world)).changes == ()
    await resume(hand, NAME)
    assert finished(await applied(world))[str(NAME)].outcome is Outcome.UNDONE


async def test_a_wish_that_changes_nothing_writes_nothing(world, hand):
    await standing(world)
    before = await record(world, str(NAME))
    assert (await resume(hand, NAME)).version == before.version


async def test_nobody_is_invented(world, hand):
    await standing(world)
    with pytest.raises(UsageError, match="support/nobody"):
        await suspend(hand, AgentName.parse("support/nobody"))


async def test_wishes_that_come_at_once_are_all_kept(world, hand):
    await standing(world)
    await asyncio.gather(suspend(hand, NAME), scale(hand, NAME, 4))
    now = await record(world, str(NAME))
    assert now.suspended
    assert now.override is not None
    actions = [entry.fact.action async for entry in world.registry.audit(name=NAME)]
    assert sorted(actions[-2:]) == ["scale", "suspend"]

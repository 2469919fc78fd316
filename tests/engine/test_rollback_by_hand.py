"""Going back by hand: to which revision, what is quarantined, what follows after a crash."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reconciler.engine.apply import ApplyOptions
from reconciler.engine.locks import LockHeld
from reconciler.engine.operate import Hand, resume, rollback, scale, suspend
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import compute_plan
from reconciler.engine.world import Retry
from reconciler.model.errors import ReconcilerError, UsageError
from reconciler.model.events import ApplyEvent, Outcome, RolloutProgress
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import Found, LiveObject, Observation
from reconciler.model.plan import HoldCode, Policy
from reconciler.model.registry import AgentState, JournalPhase
from tests.doubles.never_ready import NEVER_READY
from tests.engine.fleets import agent, applied, end, finished, plan_of, record
from tests.engine.test_apply_failures import deployment, edit, take_replicas

NAME = AgentName.parse("support/triage")
ADA = ApplyOptions(actor="ada", holder="ada (a test)", retry=Retry(jitter=lambda: 0.0))


async def back(world: Any, *, to: int | None = None, reason: str = "too slow") -> list[ApplyEvent]:
    going = rollback(world, NAME, to=to, reason=reason, options=ADA, stop=asyncio.Event())
    return [event async for event in going]


async def image(world: Any) -> str:
    ref = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")
    answer: Observation[LiveObject] = await world.cluster.get(ref)
    assert isinstance(answer, Found)
    text: str = answer.value.body["spec"]["template"]["spec"]["containers"][0]["image"]
    return text


async def standing(world: Any, *images: str, body: str = "  replicas: 2\n") -> None:
    """Revisions 1, 2, ... of the agent, each applied."""
    for each in images:
        world.commit(triage=agent("triage", body, image=each))
        await applied(world)


@pytest.fixture
def hand(world):
    return Hand(registry=world.registry, clock=world.clock, actor="ada", retry=Retry(jitter=lambda: 0.0))


async def test_an_agent_goes_back_and_stays_until_its_spec_changes(world):
    await standing(world, "a:1", "a:2")
    events = await back(world)
    assert finished(events)[str(NAME)].outcome is Outcome.APPLIED
    assert finished(events)[str(NAME)].text.startswith("back at revision 1 (")
    assert (end(events).applied, end(events).failed) == (1, 0)
    assert await image(world) == "a:1"
    now = await record(world, str(NAME))
    assert now.state is AgentState.RUNNING
    assert now.quarantine is not None
    assert now.quarantine.reason == "rolled back by hand by ada: too slow"
    held = await plan_of(world)
    assert held.changes == ()
    assert [hold.code for hold in held.holds] == [HoldCode.QUARANTINED]
    assert "by ada: too slow" in held.holds[0].text
    world.commit(triage=agent("triage", "  replicas: 2\n", image="a:3"))
    assert finished(await applied(world))[str(NAME)].outcome is Outcome.APPLIED
    assert (await record(world, str(NAME))).quarantine is None
    assert await image(world) == "a:3"


async def test_a_way_back_undoes_hand_edits_as_any_apply_does_and_leaves_other_tools_what_they_hold(world):
    await standing(world, "a:1", "a:2")
    await edit(world, {"replicas": 7})
    await back(world)
    assert await image(world) == "a:1"
    assert (await deployment(world)).body["spec"]["replicas"] == 2
    await standing(world, "a:3", "a:4")
    await take_replicas(world, 5)
    await back(world)
    assert await image(world) == "a:3"
    assert (await deployment(world)).body["spec"]["replicas"] == 5


async def test_a_failed_update_that_a_person_edited_meanwhile_goes_back_all_the_same(world):
    await standing(world, "a:1")
    world.commit(triage=agent("triage", "  replicas: 2\n", image=f"a:{NEVER_READY}"))
    begun: list[ApplyEvent] = []
    async for event in apply_plan(world, await plan_of(world), options=ADA, stop=asyncio.Event()):
        if isinstance(event, RolloutProgress) and not any(isinstance(one, RolloutProgress) for one in begun):
            await edit(world, {"replicas": 7})
        begun.append(event)
    assert finished(begun)[str(NAME)].outcome is Outcome.ROLLED_BACK
    assert await image(world) == "a:1"
    assert (await deployment(world)).body["spec"]["replicas"] == 2


async def test_every_step_back_is_on_record(world):
    await standing(world, "a:1", "a:2")
    await back(world)
    facts = [entry.fact async for entry in world.registry.audit(name=NAME)]
    assert [(fact.actor, fact.action) for fact in facts[-2:]] == [("ada", "roll-back"), ("ada", "rolled-back")]
    assert await world.registry.open_journal() == ()
    outcomes = {item.number: item.outcome for item in await world.registry.revisions(NAME)}
    assert outcomes == {1: "ready", 2: "rolled back by hand by ada: too slow"}
    assert (await world.registry.verify_audit()).sound


async def test_resume_tries_again_what_was_left(world, hand):
    await standing(world, "a:1", "a:2")
    await back(world)
    await resume(hand, NAME)
    await applied(world)
    assert await image(world) == "a:2"


async def test_going_back_twice_goes_further_back_and_what_git_asks_for_stays_quarantined(world):
    await standing(world, "a:1", "a:2", "a:3")
    await back(world)
    assert await image(world) == "a:2"
    await back(world)
    assert await image(world) == "a:1"
    plan = await plan_of(world)
    assert plan.changes == ()
    assert [hold.code for hold in plan.holds] == [HoldCode.QUARANTINED]


async def test_a_revision_that_failed_is_passed_over(world):
    await standing(world, "a:1", f"a:{NEVER_READY}", "a:3")
    await back(world)
    assert await image(world) == "a:1"


async def test_an_agent_left_with_a_failed_spec_goes_back_to_the_good_one(world):
    await standing(world, "a:1")
    await standing(world, f"a:{NEVER_READY}", body="  replicas: 2\n  rollout: {onFailure: stop}\n")
    await back(world)
    assert await image(world) == "a:1"


async def test_a_revision_by_number(world):
    await standing(world, "a:1", "a:2", "a:3")
    await back(world, to=1)
    assert await image(world) == "a:1"


@pytest.mark.parametrize(
    ("to", "words"), [(3, "what runs now"), (2, "never became ready"), (9, "no revision 9"), (None, "no good revision")]
)
async def test_a_revision_that_cannot_be_gone_back_to_is_refused(world, to, words):
    await standing(world, *(("a:1", f"a:{NEVER_READY}", "a:3") if to else ("a:3",)))
    before = await record(world, str(NAME))
    with pytest.raises(UsageError, match=words):
        await back(world, to=to)
    assert await record(world, str(NAME)) == before


async def test_the_quarantined_revision_is_left_to_resume(world):
    await standing(world, "a:1", "a:2")
    await back(world)
    with pytest.raises(UsageError, match="quarantined"):
        await back(world, to=2)


async def test_nobody_goes_back(world):
    await standing(world, "a:1")
    with pytest.raises(UsageError, match="support/nobody"):
        async for _event in rollback(world, AgentName.parse("support/nobody"), options=ADA, stop=asyncio.Event()):
            pass


async def test_what_is_wished_by_hand_goes_with_it(world, hand):
    await standing(world, "a:1", "a:2")
    await scale(hand, NAME, 5)
    await applied(world)
    await back(world)
    now = await record(world, str(NAME))
    assert ([item.replicas for item in now.placement], [item.replicas for item in now.reservations]) == ([5], [5])


async def test_a_suspended_agent_goes_back_without_running(world, hand):
    await standing(world, "a:1", "a:2")
    await suspend(hand, NAME)
    await applied(world)
    await back(world)
    now = await record(world, str(NAME))
    assert (now.state, now.reservations) == (AgentState.SUSPENDED, ())
    assert await image(world) == "a:1"


async def test_it_takes_its_turn_with_applies(world):
    await standing(world, "a:1", "a:2")
    await world.registry.acquire("apply", holder="bob", ttl_ms=30_000, now_ms=world.fake.now_ms())
    with pytest.raises(LockHeld, match="bob"):
        await back(world)


async def test_what_was_never_committed_cannot_be_made_again(world):
    await standing(world, "a:1", "a:2")
    commit = (await world.registry.revisions(NAME))[-1].commit
    world.memory.trees[commit] = world.memory.trees[world.memory.commits[-1]]
    with pytest.raises(ReconcilerError, match="cannot be made again"):
        await back(world)


async def test_a_rollback_that_is_asked_to_stop_is_gone_on_with(world, monkeypatch):
    await standing(world, "a:1", "a:2")
    monkeypatch.setattr("tests.doubles.never_ready.SILENT", "a:1")
    stop = asyncio.Event()
    events = []
    async for event in rollback(world, NAME, options=ADA, stop=stop):
        events.append(event)
        if isinstance(event, RolloutProgress):
            stop.set()
    assert end(events).interrupted
    assert len(await world.registry.open_journal()) == 1
    monkeypatch.undo()
    assert finished(await applied(world))[str(NAME)].outcome is Outcome.ROLLED_BACK
    assert (await record(world, str(NAME))).state is AgentState.RUNNING
    assert await image(world) == "a:1"
    assert await world.registry.open_journal() == ()


async def test_a_crash_after_the_intent_is_gone_on_with(world, monkeypatch):
    await standing(world, "a:1", "a:2")

    async def crash(*_given: object, **_more: object) -> None:
        raise RuntimeError("the power is gone")

    monkeypatch.setattr("reconciler.engine.rollback._restore", crash)
    with pytest.raises(RuntimeError):
        await back(world)
    monkeypatch.undo()
    assert [entry.phase for entry in await world.registry.open_journal()] == [JournalPhase.INTENT]
    assert (await record(world, str(NAME))).state is AgentState.RECOVERING
    events = finished(await applied(world))
    assert events[str(NAME)].outcome is Outcome.ROLLED_BACK
    assert await image(world) == "a:1"
    assert (await record(world, str(NAME))).state is AgentState.RUNNING
    assert await world.registry.open_journal() == ()


async def test_a_revision_that_does_not_become_ready_any_more_is_said_to_have_failed(world, monkeypatch):
    await standing(world, "a:1", "a:2")
    monkeypatch.setattr("tests.doubles.never_ready.NEVER_READY", "a:1")
    event = finished(await back(world))[str(NAME)]
    assert event.outcome is Outcome.FAILED
    assert "does not become ready either" in event.reason
    assert (await record(world, str(NAME))).state is AgentState.DEGRADED


async def test_scaled_by_hand_it_keeps_its_revision_and_what_git_asks_for_stays_quarantined(world, hand):
    """Else more replicas of what works would bring back what does not, with the next plan."""
    await standing(world, "a:1", "a:2")
    await back(world)
    before = await record(world, str(NAME))
    await scale(hand, NAME, 3)
    plan = await compute_plan(world, policy=Policy(targets=(NAME,), accept_rewind=True), ref=before.commit)
    assert finished(await applied(world, plan))[str(NAME)].outcome is Outcome.APPLIED
    now = await record(world, str(NAME))
    assert [item.replicas for item in now.placement] == [3]
    assert now.quarantine == before.quarantine
    assert (now.good and now.good.number, now.revision) == (1, 2)
    assert {hold.code for hold in (await plan_of(world)).holds} == {HoldCode.QUARANTINED, HoldCode.OVERRIDE}
    assert await image(world) == "a:1"


async def test_a_failure_stays_in_history_when_what_it_went_back_to_is_scaled_and_left_by_hand(world, hand):
    await standing(world, "a:1", "a:2", f"a:{NEVER_READY}")
    world.commit(triage=agent("triage", "  replicas: 2\n", image="a:2"))
    await applied(world)
    await scale(hand, NAME, 3)
    await applied(world)
    await back(world)
    outcomes = {item.number: item.outcome.partition(" by")[0] for item in await world.registry.revisions(NAME)}
    assert outcomes[1] == "ready"
    assert outcomes[2] == "rolled back"
    assert outcomes[3].startswith("failed: ")
    await standing(world, "a:4")
    now = await record(world, str(NAME))
    assert (now.good and now.good.number, now.revision) == (4, 4)

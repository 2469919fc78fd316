"""Objects of strangers that take a name of ours while an apply is under way: never taken over, never deleted."""

from __future__ import annotations

import asyncio
from typing import Any

from reconciler.engine.operate import rollback
from reconciler.model.errors import ClusterUnavailable
from reconciler.model.events import Outcome
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import Found, LiveObject, Manifest, MustBeAbsent, Observation
from reconciler.model.plan import HoldCode
from tests.engine.fleets import OPTIONS, agent, applied, finished, plan_of

NAME = "support/triage"
CONFIG = ObjectRef(group="", kind="ConfigMap", namespace="support", name="triage")
SCALER = ObjectRef(group="autoscaling", kind="HorizontalPodAutoscaler", namespace="support", name="triage")
SCALED = """\
  resources: {requests: {cpu: 100m}}
  autoscaling: {min: 1, max: 3, metrics: [{cpu: 70%}]}
"""


def theirs(ref: ObjectRef) -> Manifest:
    body = {
        "apiVersion": "v1",
        "kind": ref.kind,
        "metadata": {"name": ref.name, "namespace": ref.namespace},
        "data": {"whose": "somebody's"},
    }
    return Manifest(ref=ref, body=body, hash="", agent=AgentName.parse(NAME))


def autoscaler() -> Manifest:
    """One that somebody made by hand."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "triage"}
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": SCALER.kind,
        "metadata": {"name": SCALER.name, "namespace": SCALER.namespace},
        "spec": {"maxReplicas": 9, "scaleTargetRef": target},
    }
    return Manifest(ref=SCALER, body=body, hash="", agent=AgentName.parse(NAME))


async def live(world: Any, ref: ObjectRef) -> LiveObject:
    found: Observation[LiveObject] = await world.cluster.get(ref)
    assert isinstance(found, Found)
    return found.value


async def test_what_a_stranger_makes_between_plan_and_apply_is_not_taken_over(world):
    world.commit(triage=agent("triage"))
    plan = await plan_of(world)
    made = await world.cluster.apply(theirs(CONFIG), MustBeAbsent(), manager="kubectl")
    done = finished(await applied(world, plan))[NAME]
    left = await live(world, CONFIG)
    assert (left.uid, left.body["data"]) == (made.uid, {"whose": "somebody's"})
    assert done.outcome is Outcome.FAILED
    assert "belongs to somebody else" in done.reason
    assert [hold.code for hold in (await plan_of(world)).holds] == [HoldCode.FOREIGN_OWNER]


async def test_what_a_stranger_makes_where_an_apply_stopped_is_not_deleted_with_the_agent(world, monkeypatch):
    world.commit(triage=agent("triage"), other=agent("other"))
    await applied(world)
    world.commit(triage=agent("triage", SCALED))

    async def away(*_given: Any, **_more: Any) -> LiveObject:
        raise ClusterUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(world.cluster, "apply", away)
        assert finished(await applied(world))[NAME].outcome is Outcome.FAILED
    made = await world.cluster.apply(autoscaler(), MustBeAbsent(), manager="kubectl")
    world.commit(triage=agent("triage"))
    await applied(world)
    assert (await live(world, SCALER)).uid == made.uid
    world.commit(triage=None)
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    assert (await live(world, SCALER)).uid == made.uid


async def test_what_a_stranger_made_in_the_place_of_an_earlier_object_is_not_taken_over_on_the_way_back(world):
    world.commit(triage=agent("triage", SCALED))
    await applied(world)
    world.commit(triage=agent("triage", image="acme/agent:2"))
    await applied(world)
    made = await world.cluster.apply(autoscaler(), MustBeAbsent(), manager="kubectl")
    going = rollback(world, AgentName.parse(NAME), to=1, options=OPTIONS, stop=asyncio.Event())
    done = finished([event async for event in going])[NAME]
    assert done.outcome is Outcome.FAILED
    assert "is somebody else's now" in done.reason
    left = await live(world, SCALER)
    assert (left.uid, left.body["spec"]["maxReplicas"]) == (made.uid, 9)

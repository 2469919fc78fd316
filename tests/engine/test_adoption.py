"""Taking over what somebody else made: gently, and back to what it was when it does not come up."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from reconciler.model.events import Outcome
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState, Found, LiveObject, Manifest
from reconciler.model.plan import Action, HoldCode
from reconciler.model.registry import AgentState
from tests.doubles.never_ready import NEVER_READY
from tests.engine.fleets import agent, applied, finished, plan_of, record
from tests.engine.test_apply_failures import deployment, image_of, objects

NAME = "support/triage"
OURS = {"agents.codevald.io/agent": "triage"}
ADOPT = "  adopt: true\n  replicas: 2\n"
BAD = f"acme/agent:{NEVER_READY}"


def theirs(selector: dict[str, str] | None = None, **pod: Any) -> dict[str, Any]:
    labels = selector or OURS
    container = {
        "name": "agent",
        "image": "acme/old:1",
        "env": [{"name": "MODE", "value": "old"}, {"name": "LOG", "value": "info"}],
        "imagePullPolicy": "Always",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "triage", "namespace": "support", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels | {"tier": "web"}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 90, **pod},
            },
        },
    }


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "triage", "namespace": "support"},
    "spec": {"selector": {"tier": "web"}, "ports": [{"name": "web", "port": 80, "targetPort": 8080}]},
}


async def make(world: Any, body: dict[str, Any]) -> LiveObject:
    """Apply an object as somebody else."""
    group = body["apiVersion"].rpartition("/")[0]
    ref = ObjectRef(group=group, kind=body["kind"], namespace="support", name=body["metadata"]["name"])
    manifest = Manifest(ref=ref, body=body, hash="", agent=AgentName.parse(NAME))
    live: LiveObject = await world.cluster.apply(manifest, AnyState(), manager="kubectl")
    return live


def spec_of(live: LiveObject) -> dict[str, Any]:
    """What makes pods; the account that they get by default may be said, twice as a server stores it."""
    spec = copy.deepcopy({key: live.body["spec"][key] for key in ("replicas", "selector", "template", "strategy")})
    for name in ("serviceAccountName", "serviceAccount"):
        assert spec["template"]["spec"].pop(name, "default") == "default"
    return spec


async def service(world: Any) -> LiveObject:
    found = await world.cluster.get(ObjectRef(group="", kind="Service", namespace="support", name="triage"))
    assert isinstance(found, Found)
    value: LiveObject = found.value
    return value


async def test_an_adoption_takes_over_what_is_there_and_the_next_plan_is_empty(world):
    before = await make(world, theirs())
    world.commit(triage=agent("triage", ADOPT))
    plan = await plan_of(world)
    assert [change.action for change in plan.changes] == [Action.ADOPT]
    assert finished(await applied(world, plan))[NAME].text == "adopted"
    live = await deployment(world)
    assert (live.uid, image_of(live), live.body["spec"]["replicas"]) == (before.uid, "acme/agent:1", 2)
    assert (await plan_of(world)).changes == ()


async def test_an_adoption_that_does_not_come_up_leaves_everything_as_it_was(world):
    before, front = await make(world, theirs()), await make(world, SERVICE)
    known = set(await objects(world))
    body = ADOPT + "  env: [{name: MODE, value: new}]\n  ports: [{name: http, port: 8080}]\n"
    world.commit(triage=agent("triage", body, image=BAD))
    event = finished(await applied(world))[NAME]
    assert event.outcome is Outcome.UNDONE
    live = await deployment(world)
    assert (live.uid, (await service(world)).uid) == (before.uid, front.uid)
    assert spec_of(live) == spec_of(before)
    assert live.metadata["labels"] == before.metadata["labels"]
    assert (await service(world)).body["spec"]["selector"] == {"tier": "web"}
    assert [port["port"] for port in (await service(world)).body["spec"]["ports"]] == [80]
    assert set(await objects(world)) == known
    kept = await record(world, NAME)
    assert (kept.state, kept.inventory, kept.reservations) == (AgentState.QUARANTINED, (), ())
    assert [hold.code for hold in (await plan_of(world)).holds] == [HoldCode.QUARANTINED]

    world.commit(triage=agent("triage", ADOPT))
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    assert (await deployment(world)).uid == before.uid
    assert (await plan_of(world)).changes == ()


async def test_an_adoption_that_stopped_half_way_is_still_undone_to_what_was_there(world, monkeypatch):
    """The second run sees objects that look like ours already; what they were is in the journal of the first."""
    before = await make(world, theirs())
    world.commit(triage=agent("triage", ADOPT, image=BAD))

    class Killed(BaseException):
        pass

    async def killed(*_arguments: object, **_options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("reconciler.engine.change._watch", killed)
        with pytest.raises(Killed):
            await applied(world)
    assert image_of(await deployment(world)) == BAD
    world.fake.advance(60)
    event = finished(await applied(world))[NAME]
    assert event.outcome is Outcome.UNDONE
    assert spec_of(await deployment(world)) == spec_of(before)


async def test_an_adoption_by_replacement_that_fails_is_left_and_not_deleted(world):
    """What was there cannot be had again; what stands in its place is better than nothing."""
    await make(world, theirs(selector={"app": "triage"}))
    world.commit(triage=agent("triage", ADOPT, image=BAD))
    event = finished(await applied(world))[NAME]
    assert event.outcome is Outcome.FAILED
    assert image_of(await deployment(world)) == BAD
    assert (await record(world, NAME)).state is AgentState.DEGRADED
    assert [hold.code for hold in (await plan_of(world)).holds] == [HoldCode.QUARANTINED]

"""What a plan remembers from the last one: whose each object is, and that a warm plan equals a cold one."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.model.identity import AgentName
from reconciler.model.objects import TRACKING_ANNOTATION
from reconciler.model.plan import Plan, Policy
from reconciler.plan import PlanCache, make_plan
from tests.plan.builders import actions, agent, held, path_of, ref, running


def name(text: str) -> AgentName:
    return AgentName.parse(text)


def test_a_warm_memory_sees_a_cluster_go_and_come_back() -> None:
    world = running("support/triage")
    cache = PlanCache()
    world.files[path_of("support/triage")] = agent("support/triage", replicas=2)
    assert actions(world.plan(cache=cache)) == {"support/triage": "scale"}
    world.unreadable["local"] = "timeout"
    assert held(world.plan(cache=cache)) == {"unreadable": ["support/triage"]}
    world.unreadable.clear()
    assert actions(world.plan(cache=cache)) == {"support/triage": "scale"}


def strays(plan: Plan) -> set[str]:
    return {f"{item.ref.kind} {item.ref.name}" for item in plan.drift}


def test_a_warm_memory_knows_whose_each_object_is() -> None:
    world = running("support/triage", "support/knowledge")
    cache = PlanCache()
    assert strays(world.plan(cache=cache)) == set()
    forgotten, file = world.records.pop(name("support/knowledge")), world.files.pop(path_of("support/knowledge"))
    plan = world.plan(cache=cache)
    assert strays(plan) == {f"{entry.ref.kind} {entry.ref.name}" for entry in forgotten.inventory}
    assert plan == world.plan()
    world.records[forgotten.name] = dataclasses.replace(forgotten, inventory=forgotten.inventory[1:])
    plan = world.plan(Policy(targets=()), cache=cache)
    assert strays(plan) == {f"{forgotten.inventory[0].ref.kind} knowledge"}
    world.records[forgotten.name] = dataclasses.replace(forgotten, version=forgotten.version + 1)
    world.files[path_of("support/knowledge")] = file
    plan = world.plan(cache=cache)
    assert (strays(plan), plan.changes) == (set(), ())


def test_what_an_agent_no_longer_has_is_nobodys() -> None:
    world = running("support/triage", "support/knowledge")
    cache = PlanCache()
    world.plan(cache=cache)
    record = world.records[name("support/triage")]
    dropped = next(entry for entry in record.inventory if entry.ref.kind == "ServiceAccount")
    world.alter("support/triage", inventory=tuple(e for e in record.inventory if e is not dropped), version=9)
    given = world.input()
    manifests = {key: value for key, value in given.desired.items() if key != record.name}
    manifests[record.name] = {
        cluster: tuple(one for one in some if one.ref != dropped.ref)
        for cluster, some in given.desired[record.name].items()
    }
    given = dataclasses.replace(given, desired=manifests)
    warm = make_plan(given, cache)
    assert strays(warm) == {"ServiceAccount triage"}
    assert warm == make_plan(given)


@pytest.mark.parametrize(
    ("owners", "mark", "told"),
    [
        (None, "acme:x/y:acme", True),
        ([{"kind": "ReplicaSet", "name": "x"}], "acme:x/y:acme", True),
        ([{"kind": "ReplicaSet", "name": "x", "controller": True}], "acme:x/y:acme", False),
        (None, "acme:x/y:other", False),
        (None, 7, False),
        (None, None, False),
    ],
)
def test_a_stray_carries_our_mark_and_is_nobodys_part(owners: object, mark: object, *, told: bool) -> None:
    world = running("support/triage")
    metadata: dict[str, object] = {"annotations": {TRACKING_ANNOTATION: mark}} if mark is not None else {}
    if owners is not None:
        metadata["ownerReferences"] = owners
    world.store("local", ref("ConfigMap", "support/left"), {"metadata": metadata})
    assert strays(world.plan()) == ({"ConfigMap left"} if told else set())

"""What a plan remembers from the last one: whose each object is, and that a warm plan equals a cold one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.model.identity import AgentName
from reconciler.model.objects import TRACKING_ANNOTATION
from reconciler.model.plan import Plan, Policy
from reconciler.plan import PlanCache, make_plan
from reconciler.plan.memory import differing
from tests.plan.builders import World, actions, agent, held, path_of, ref, running


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


class Counting(PlanCache):
    """A memory that says whom it judged anew."""

    def __init__(self) -> None:
        super().__init__()
        self.judged: list[str] = []

    def _judge(self, name: AgentName, *others: Any) -> None:
        self.judged.append(str(name))
        super()._judge(name, *others)


def world_of_three() -> World:
    return running("support/answers", "support/knowledge", "support/triage")


TRIAGE, KNOWLEDGE, ANSWERS = "support/triage", "support/knowledge", "support/answers"


def edited(world: World, short: str) -> None:
    """Somebody scales an agent by hand."""
    world.edit(ref("Deployment", short), lambda body: body["spec"].update(replicas=9), {"f:spec": {"f:replicas": {}}})


def scaled_by_another(world: World, short: str, name: str = "theirs") -> None:
    """Somebody's autoscaler of an agent's Deployment."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": short.partition("/")[2]}
    where = ref("HorizontalPodAutoscaler", f"support/{name}")
    world.store("local", where, {"metadata": {}, "spec": {"scaleTargetRef": target}})


STEPS: dict[str, tuple[Callable[[World], object], list[str]]] = {
    "nothing": (lambda world: None, []),
    "time goes by": (lambda world: setattr(world, "now_ms", world.now_ms + 1), []),
    "a file of an agent changes": (
        lambda world: world.files.update({path_of(TRIAGE): agent(TRIAGE, replicas=2)}),
        [TRIAGE],
    ),
    "a file is removed": (lambda world: world.files.pop(path_of(TRIAGE)), [TRIAGE]),
    "an agent is declared": (lambda world: world.files.update({path_of("x/new"): agent("x/new")}), ["x/new"]),
    "an object is edited": (lambda world: edited(world, KNOWLEDGE), [KNOWLEDGE]),
    "an object is deleted": (lambda world: world.live["local"].pop(ref("Service", KNOWLEDGE)), [KNOWLEDGE]),
    "an object of ours comes that nobody has": (
        lambda world: world.store(
            "local", ref("ConfigMap", "support/left"), {"metadata": {"annotations": {TRACKING_ANNOTATION: "x:acme"}}}
        ),
        [],
    ),
    "an autoscaler of somebody else comes": (lambda world: scaled_by_another(world, ANSWERS), [ANSWERS]),
    "an autoscaler of somebody else's comes": (lambda world: scaled_by_another(world, "support/other"), []),
    "a record is written": (lambda world: world.alter(TRIAGE, version=9), [TRIAGE]),
    "a record is another one": (lambda world: world.alter(TRIAGE, id="another"), [TRIAGE]),
    "a record goes": (lambda world: world.records.pop(name(TRIAGE)), [TRIAGE]),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_warm_memory_judges_whom_a_change_concerns_and_nobody_else(step: str) -> None:
    happens, concerned = STEPS[step]
    world, cache = world_of_three(), Counting()
    world.plan(cache=cache)
    assert sorted(cache.judged) == [ANSWERS, KNOWLEDGE, TRIAGE]
    cache.judged.clear()
    happens(world)
    assert world.plan(cache=cache) == world.plan()
    assert cache.judged == concerned


@pytest.mark.parametrize("reason", ["forbidden", "timeout"])
def test_a_warm_memory_judges_all_anew_where_less_can_be_read_than_before(reason: str) -> None:
    world, cache = world_of_three(), Counting()
    world.partly["local"] = {("Service", ""): "timeout"}
    world.plan(cache=cache)
    cache.judged.clear()
    world.partly["local"] = {("Service", ""): reason}
    edited(world, TRIAGE)
    assert world.plan(cache=cache) == world.plan()
    assert sorted(cache.judged) == ([TRIAGE] if reason == "timeout" else [ANSWERS, KNOWLEDGE, TRIAGE])


def test_a_warm_memory_knows_whose_an_object_is_after_it_was_judged_again() -> None:
    world, cache = world_of_three(), Counting()
    world.plan(cache=cache)
    for replicas in (2, 3):
        world.files[path_of(TRIAGE)] = agent(TRIAGE, replicas=replicas)
        assert world.plan(cache=cache) == world.plan()
        cache.judged.clear()
        world.touch(ref("Deployment", TRIAGE))
        assert world.plan(cache=cache) == world.plan()
        assert cache.judged == [TRIAGE]


def test_a_plan_that_fails_half_way_is_forgotten() -> None:
    world, cache = world_of_three(), Counting()
    world.plan(cache=cache)
    world.files[path_of(TRIAGE)] = agent(TRIAGE, replicas=2)

    def fails(*_: Any) -> Any:
        raise RuntimeError("half-way")

    view = cache.last
    assert view is not None
    with pytest.raises(RuntimeError, match="half-way"):
        cache.refresh(dataclasses.replace(view, terms=("other",)), fails)
    cache.judged.clear()
    assert actions(world.plan(cache=cache)) == {TRIAGE: "scale"}
    assert sorted(cache.judged) == [ANSWERS, KNOWLEDGE, TRIAGE]


def test_what_differs_is_found_whatever_the_order_and_equals_are_not_looked_into() -> None:
    one, two, three = ["1"], ["2"], ["3"]
    asked: list[tuple[list[str], list[str]]] = []

    def same(before: list[str], now: list[str]) -> bool:
        asked.append((before, now))
        return before == now

    before = {"a": one, "b": two}
    assert list(differing(before, before, same)) == []
    assert list(differing(before, dict(before), same)) == []
    assert list(differing(before, {"b": two, "a": one}, same)) == []
    assert asked == []
    assert list(differing(before, {"a": one, "b": ["2"]}, same)) == []
    assert asked == [(two, ["2"])]
    assert list(differing(before, {"a": one, "b": three}, same)) == ["b"]
    assert list(differing(before, {"b": three, "a": one}, same)) == ["b"]
    assert list(differing(before, {"a": one}, same)) == ["b"]
    assert list(differing(before, {"a": one, "b": two, "c": three}, same)) == ["c"]
    assert list(differing(before, {"c": three}, same)) == ["c", "a", "b"]
    assert list(differing({}, {"c": three}, same)) == ["c"]

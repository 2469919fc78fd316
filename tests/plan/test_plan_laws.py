"""Laws that hold for every plan, over worlds that hypothesis makes up."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.plan import Action, HoldCode, Plan, Policy, Verb
from reconciler.model.registry import ScaleOverride
from reconciler.plan import PlanCache, PlanInput, make_plan
from reconciler.plan.planfile import dump
from tests.plan.builders import BASE, World, agent, fleet_files, path_of, ref
from tests.searching import at_most

NAMES = tuple(f"{space}/{name}" for space in ("research", "support") for name in ("ant", "bee", "cat", "dog"))
TWO = """
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec:
  clusters:
    - {name: east, embedded: {run: nothing}}
    - {name: west, embedded: {run: nothing}}
"""
EVENTS = (
    "add", "remove", "edit", "template", "break", "drift", "touch", "vanish", "blind", "half-blind", "sight",
    "suspend", "resume", "override", "protect", "autoscale", "depend", "apply",
)  # fmt: skip
steps = st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from(NAMES), st.integers(0, 5)), max_size=14)
relaxed = settings(max_examples=at_most(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def happen(world: World, event: str, name: str, number: int) -> None:  # noqa: C901, PLR0912 - a table of events
    path, key = path_of(name), AgentName.parse(name)
    cluster = ("east", "west")[number % 2]
    deployment = ref("Deployment", name)
    there = deployment in world.live.get(cluster, {})
    match event:
        case "add":
            world.files[path] = agent(name, replicas=number + 1)
        case "remove":
            world.files.pop(path, None)
        case "edit":
            world.files[path] = agent(name, description=f"number {number}", replicas=2)
        case "autoscale":
            world.files[path] = agent(name, autoscaling={"min": 2, "max": 5, "metrics": [{"cpu": "70%"}]})
        case "depend":
            other = NAMES[number]
            if other < name:
                world.files[path] = agent(name, dependsOn=[other])
        case "template":
            world.files["templates/base.yaml"] = BASE.replace("256Mi", f"{256 + number}Mi")
        case "break":
            world.files[path] = "{" * (number + 1)
        case "drift" if there:
            body = world.live[cluster][deployment].body
            if "replicas" in body["spec"]:
                world.edit(
                    deployment,
                    lambda b: b["spec"].update(replicas=b["spec"]["replicas"] + 1),
                    {"f:spec": {"f:replicas": {}}},
                    cluster=cluster,
                    subresource="scale",
                )
        case "touch" if there:
            world.touch(deployment, cluster)
        case "vanish" if there:
            del world.live[cluster][deployment]
        case "blind":
            world.unreadable[cluster] = "connection refused"
        case "half-blind":
            world.partly[cluster] = {("Deployment", key.namespace): "forbidden"}
        case "sight":
            world.unreadable.clear()
            world.partly.clear()
        case "suspend" | "resume" if key in world.records:
            world.alter(name, suspended=event == "suspend", version=world.records[key].version + 1)
        case "protect" if key in world.records:
            world.alter(name, protect=True, version=world.records[key].version + 1)
        case "override" if key in world.records:
            override = ScaleOverride(replicas=number, author="ann", reason="launch", since_ms=1)
            world.alter(name, override=override, version=world.records[key].version + 1)
        case "apply":
            world.apply(world.plan())
        case _:
            pass


def lived(events: list[tuple[str, str, int]]) -> World:
    world = World(files=fleet_files(*NAMES[:5], fleet=TWO))
    world.converge()
    for event in events:
        happen(world, *event)
    return world


def shuffled(value: Any) -> Any:
    """The same mappings in another order."""
    return dict(reversed(value.items()))


@relaxed
@given(steps)
def test_equal_inputs_in_any_order_give_equal_bytes(events):
    given_ = lived(events).input()
    assert isinstance(given_.registry, Found)
    snapshot = given_.registry.value
    again = dataclasses.replace(
        given_,
        declaration=dataclasses.replace(given_.declaration, agents=shuffled(given_.declaration.agents)),
        desired=shuffled(given_.desired),
        placed=shuffled(given_.placed),
        observations=shuffled(given_.observations),
        registry=Found(dataclasses.replace(snapshot, records=shuffled(snapshot.records))),
        placement_holds=tuple(reversed(given_.placement_holds)),
    )
    assert dump(make_plan(given_)) == dump(make_plan(again))


@relaxed
@given(steps)
def test_a_warm_plan_equals_a_cold_one(events):
    world = World(files=fleet_files(*NAMES[:5], fleet=TWO))
    world.converge()
    cache = PlanCache()
    for event in events:
        happen(world, *event)
        given_ = world.input()
        assert make_plan(given_, cache) == make_plan(given_)


def touches(plan: Plan, given_: PlanInput) -> None:
    """No effect where nothing can be seen, none on what another plan's rule protects."""
    for change in plan.changes:
        for item in change.objects:
            seen = given_.observations[item.cluster]
            assert isinstance(seen, Found), "an effect on a cluster that cannot be read"
            reason = seen.value.unreadable.get((item.ref.kind, item.ref.namespace))
            assert not reason, "an effect on an object that cannot be read"
            if item.verb is Verb.DELETE:
                assert item.ref in seen.value.objects


@relaxed
@given(steps)
def test_nothing_is_done_where_nothing_can_be_seen(events):
    world = lived(events)
    given_ = world.input(Policy(max_deletes=100, allow_empty=True))
    plan = make_plan(given_)
    touches(plan, given_)
    for change in plan.changes:
        if change.action is Action.DELETE:
            for entry in world.records[change.name].inventory:
                assert isinstance(given_.observations[entry.cluster], Found)


@relaxed
@given(steps)
def test_what_is_broken_suspended_or_protected_is_never_deleted(events):
    world = lived(events)
    plan = world.plan(Policy(max_deletes=100, allow_empty=True))
    declaration = world.declaration
    for change in plan.changes:
        if change.action is Action.DELETE:
            assert change.name not in declaration.agents
            assert change.name not in declaration.frozen_agents
            assert not world.records[change.name].protect
            assert world.records[change.name].source_path not in declaration.frozen_paths


@relaxed
@given(steps, st.integers(0, 4))
def test_deletions_stay_within_the_budget(events, allowed):
    plan = lived(events).plan(Policy(max_deletes=allowed))
    assert plan.count(Action.DELETE) <= allowed


@relaxed
@given(steps)
def test_after_an_apply_there_is_nothing_left_to_do(events):
    world = lived(events)
    world.unreadable.clear()
    world.partly.clear()
    policy = Policy(max_deletes=100, allow_empty=True)
    world.apply(world.plan(policy))
    again = world.plan(policy)
    assert [(str(change.name), change.action, change.reasons) for change in again.changes] == []


@relaxed
@given(steps, st.sampled_from(["all", "spread"]), st.booleans())
def test_after_an_apply_there_is_nothing_left_to_do_where_something_can_be_seen(events, policy, half):
    world = World(files=fleet_files(*NAMES[:5], fleet=TWO, base=BASE + f"  placement: {{policy: {policy}}}\n"))
    world.converge()
    for event in events:
        happen(world, *event)
    world.unreadable = {} if half else {"east": "connection refused"}
    world.partly = {"east": {("Deployment", "support"): "forbidden"}} if half else {}
    everything = Policy(max_deletes=100, allow_empty=True)
    world.apply(world.plan(everything))
    again = [change for change in world.plan(everything).changes if change.action is not Action.DELETE]
    assert [(str(change.name), change.action, change.reasons) for change in again] == []


@relaxed
@given(steps)
def test_destroy_plans_towards_nothing_but_what_is_protected(events):
    world = lived(events)
    world.unreadable.clear()
    world.partly.clear()
    protected = {name for name, record in world.records.items() if record.protect}
    plan = world.plan(Policy(destroy=True))
    assert {change.action for change in plan.changes} <= {Action.DELETE}
    assert {change.name for change in plan.changes} == world.records.keys() - protected
    world.apply(plan)
    assert {name for hold in world.plan(Policy(destroy=True)).holds for name in hold.agents} >= protected


@relaxed
@given(steps)
def test_dependencies_come_first_and_go_last(events):
    plan = lived(events).plan(Policy(max_deletes=100, allow_empty=True))
    order = {change.name: number for number, change in enumerate(plan.changes)}
    waves = [change.wave for change in plan.changes]
    assert waves == sorted(waves)
    for change in plan.changes:
        for other in change.after:
            assert order[other] < order[change.name]
            assert plan.changes[order[other]].wave < change.wave
    kinds = [change.action is Action.DELETE for change in plan.changes]
    assert kinds == sorted(kinds), "deletions come after all else"


@relaxed
@given(steps)
def test_a_plan_changes_nothing_of_what_it_was_made_from(events):
    world = lived(events)
    given_ = world.input()
    before = copy.deepcopy(world.live), copy.deepcopy(world.records)
    make_plan(given_)
    assert (world.live, world.records) == before


@relaxed
@given(steps)
def test_a_registry_that_cannot_be_read_holds_everything(events):
    world = lived(events)
    world.registry_down = "disk I/O error"
    plan = world.plan(Policy(max_deletes=100, allow_empty=True))
    assert plan.changes == ()
    assert {hold.code for hold in plan.holds} <= {HoldCode.UNREADABLE, HoldCode.INVALID}
    assert any(item.source == "registry" and item.problem for item in plan.completeness)

"""What a plan says and what it holds: actions, reasons, budgets, waves, masks, what must never happen."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Unreadable
from reconciler.model.plan import Action, HoldCode, Missing, Policy, ReasonCode, Risk, Verb
from reconciler.model.registry import AgentState, Quarantine, ScaleOverride
from reconciler.plan import make_plan
from reconciler.plan.attributes import compare, masked, risks
from reconciler.plan.guard import limit
from reconciler.plan.order import deletion_waves, waves
from tests.plan.builders import BASE, World, actions, agent, fleet_files, held, path_of, ref, running

TRIAGE, KNOWLEDGE = AgentName.parse("support/triage"), AgentName.parse("support/knowledge")


def name(text: str) -> AgentName:
    return AgentName.parse(text)


def test_a_fleet_file_that_cannot_be_used_plans_nothing() -> None:
    world = running("support/triage")
    world.files["fleet.yaml"] = "kind: Fleet"
    plan = world.plan()
    assert plan.changes == ()
    assert [hold.code for hold in plan.holds] == [HoldCode.INVALID]
    assert plan.diagnostics


def test_a_registry_that_is_new_is_empty() -> None:
    world = World(files=fleet_files("support/triage"))
    given = dataclasses.replace(world.input(), registry=Absent())
    assert actions(make_plan(given)) == {"support/triage": "create"}


def test_a_cluster_that_was_not_observed_is_not_an_empty_one() -> None:
    world = running("support/triage")
    world.files[path_of("support/triage")] = agent("support/triage", replicas=2)
    for observations in ({}, {"local": Absent()}):
        given = dataclasses.replace(world.input(), observations=observations)
        plan = make_plan(given)
        assert plan.changes == ()
        assert held(plan) == {"unreadable": ["support/triage"]}
    assert [item.problem for item in plan.completeness if item.source == "local"] == ["not observed"]


def test_an_agent_that_needs_nothing_is_not_held_where_nothing_can_be_seen() -> None:
    world = running("support/triage")
    world.unreadable["local"] = "timeout"
    plan = world.plan()
    assert (plan.changes, plan.holds) == ((), ())
    assert [item.problem for item in plan.completeness] == ["unreadable (timeout)", ""]


def test_another_template_text_makes_template_changes_with_their_place() -> None:
    world = running("support/triage", "research/miner")
    world.files["templates/base.yaml"] = BASE.replace("256Mi", "512Mi")
    plan = world.plan()
    for change in plan.changes:
        (reason,) = change.reasons
        assert reason.code is ReasonCode.TEMPLATE_CHANGED
        assert reason.origin is not None
        assert reason.origin.position is not None
        assert reason.origin.position.path == "templates/base.yaml"
        assert Risk.RESOURCES_RAISED in change.risks
    (radius,) = plan.blast_radius
    assert (radius.template, len(radius.changed), radius.total) == ("base", 2, 2)


def test_a_file_that_moves_changes_nothing() -> None:
    world = running("support/triage")
    world.files["agents/elsewhere.yml"] = world.files.pop(path_of("support/triage"))
    assert world.plan().changes == ()


def test_an_agent_that_moved_into_a_file_that_broke_is_kept() -> None:
    world = running("support/triage", "support/knowledge")
    del world.files[path_of("support/triage")]
    world.files["agents/all.yaml"] = "{"
    plan = world.plan()
    assert plan.changes == ()
    assert "support/triage" in held(plan)["invalid"]
    assert any("agents/all.yaml" in hold.text for hold in plan.holds)


def test_a_renamed_agent_that_is_invalid_does_not_cost_the_one_that_runs() -> None:
    world = running("support/triage", "support/knowledge")
    path = path_of("support/triage")
    renamed = agent("support/triage-two", image="ghcr.io/acme/triage:1")
    world.files[path] = renamed.replace('"image"', '"imagee"')
    plan = world.plan()
    assert actions(plan) == {}
    assert sorted(held(plan)["invalid"]) == ["support/triage", "support/triage-two"]
    assert any("may have been renamed to support/triage-two" in hold.text for hold in plan.holds)
    world.files[path] = renamed
    assert actions(world.plan()) == {"support/triage-two": "create", "support/triage": "delete"}


@pytest.mark.parametrize("text", ["{", ""])
def test_a_broken_or_empty_file_deletes_nothing(text: str) -> None:
    world = running("support/triage", "support/knowledge")
    world.files[path_of("support/triage")] = text
    plan = world.plan(Policy(max_deletes=10, allow_empty=True))
    assert plan.changes == ()
    assert "support/triage" in held(plan)["invalid"]
    assert all(hold.blocks_exit for hold in plan.holds)


def test_removing_a_file_deletes_with_uid_and_version_from_the_inventory() -> None:
    world = running("support/triage", "support/knowledge")
    del world.files[path_of("support/triage")]
    (change,) = world.plan().changes
    assert (change.action, change.agent, change.replicas) == (Action.DELETE, None, (1, 0))
    for item in change.objects:
        seen = world.live["local"][item.ref]
        assert (item.expect.uid, item.expect.resource_version) == (seen.uid, seen.resource_version)  # type: ignore[union-attr]
    assert [item.ref.kind for item in change.objects][-1] == "ServiceAccount", "in reverse of their making"


def many(count: int) -> World:
    return running(*(f"research/a{number:02d}" for number in range(count)), "support/triage")


@pytest.mark.parametrize(
    ("fleet", "gone", "policy", "deleted"),
    [
        (10, 3, Policy(), 3),
        (10, 4, Policy(), 0),
        (10, 4, Policy(max_deletes=4), 4),
        (10, 4, Policy(max_deletes="50%"), 4),
        (10, 4, Policy(max_deletes="10%"), 0),
        (10, 1, Policy(max_deletes=0), 0),
        (49, 5, Policy(), 5),
        (49, 6, Policy(), 0),
    ],
)
def test_the_deletion_budget_is_a_number_or_a_share(fleet: int, gone: int, policy: Policy, deleted: int) -> None:
    world = many(fleet)
    for number in range(gone):
        del world.files[path_of(f"research/a{number:02d}")]
    world.files[path_of("support/triage")] = agent("support/triage", replicas=2)
    plan = world.plan(policy)
    assert plan.count(Action.DELETE) == deleted
    assert plan.count(Action.SCALE) == 1, "the rest goes on"
    if not deleted:
        (hold,) = plan.holds
        assert (hold.code, len(hold.agents)) == (HoldCode.DELETION_BUDGET, gone)
        assert hold.lift == f"raise it with --max-deletes {gone}, or `reconciler approve`"


def test_limits_take_the_larger_of_count_and_share() -> None:
    from reconciler.model.fleet import DeletionBudget

    budget = DeletionBudget(max=3, percent=10)
    assert [limit(budget, total, None) for total in (0, 29, 30, 41, 100)] == [3, 3, 3, 4, 10]
    assert limit(budget, 100, "7%") == 7


def test_a_budget_holds_for_each_cluster_too() -> None:
    fleet = """
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec:
  clusters: [{name: east, embedded: {run: nothing}}, {name: west, embedded: {run: nothing}}]
  deletions: {max: 1, percent: 50}
"""
    world = World(files=fleet_files(fleet=fleet))
    for number in range(8):
        where = {"clusters": {"names": ["east" if number < 2 else "west"]}}
        world.files[path_of(f"research/a{number}")] = agent(f"research/a{number}", placement=where)
    world.converge()
    for number in (0, 1):
        del world.files[path_of(f"research/a{number}")]
    plan = world.plan()
    assert plan.count(Action.DELETE) == 0
    assert "2 deletes, over the budget of 1 on east" in plan.holds[0].text


def test_an_empty_fleet_is_refused_unless_it_is_meant() -> None:
    world = running("support/triage")
    del world.files[path_of("support/triage")]
    assert held(world.plan()) == {"empty-fleet": ["support/triage"]}
    assert actions(world.plan(Policy(allow_empty=True))) == {"support/triage": "delete"}


def test_a_rewound_branch_deletes_nothing_unless_accepted() -> None:
    world = running("support/triage", "support/knowledge")
    del world.files[path_of("support/triage")]
    assert held(world.plan(rewound=True)) == {"rewind": ["support/triage"]}
    assert actions(world.plan(Policy(accept_rewind=True), rewound=True)) == {"support/triage": "delete"}


def test_protection_outlives_the_file_and_destroy() -> None:
    world = World(files=fleet_files("support/knowledge"))
    world.files[path_of("support/triage")] = agent("support/triage", protect=True)
    world.converge()
    del world.files[path_of("support/triage")]
    plan = world.plan()
    assert held(plan) == {"protected": ["support/triage"]}
    assert plan.holds[0].blocks_exit
    destroying = world.plan(Policy(destroy=True))
    assert actions(destroying) == {"support/knowledge": "delete"}
    assert [hold.blocks_exit for hold in destroying.holds] == [True]


def test_a_quarantined_spec_is_held_until_it_changes() -> None:
    world = running("support/triage")
    world.files[path_of("support/triage")] = agent("support/triage", image="bad:1")
    bad = world.declaration.agents[TRIAGE].spec_hash
    world.alter("support/triage", quarantine=Quarantine(spec_hash=bad, since_ms=0, reason="exited at once"))
    plan = world.plan()
    assert plan.changes == ()
    assert "since 1970-01-01 00:00:00Z: exited at once; what runs is left as it is, drift too" in plan.holds[0].text
    world.files[path_of("support/triage")] = agent("support/triage", image="good:1")
    assert actions(world.plan()) == {"support/triage": "update"}


def test_drift_of_a_quarantined_agent_is_left_to_people_until_somebody_resumes_it() -> None:
    world = running("support/triage")
    present = world.declaration.agents[TRIAGE].spec_hash
    world.alter("support/triage", quarantine=Quarantine(spec_hash=present, since_ms=0, reason="it never recovered"))
    del world.live["local"][ref("Deployment", "support/triage")]
    plan = world.plan()
    assert plan.changes == ()
    assert "what runs is left as it is, drift too" in plan.holds[0].text
    world.alter("support/triage", quarantine=None)
    assert actions(world.plan()) == {"support/triage": "recover"}


def test_of_a_quarantined_agent_of_which_nothing_is_left_nothing_is_said_to_run() -> None:
    world = World(files=fleet_files("support/triage"))
    bad = world.declaration.agents[TRIAGE].spec_hash
    world.converge()
    world.alter("support/triage", quarantine=Quarantine(spec_hash=bad, since_ms=0, reason="bad"), inventory=())
    assert world.plan().holds[0].text.endswith(": bad")


def test_what_is_to_be_created_waits_for_a_dependency_that_is_held_and_not_there() -> None:
    world = World(files=fleet_files("support/answers"))
    world.files[path_of("support/knowledge")] = "{"
    world.files[path_of("support/knowledge")] = agent("support/knowledge", replicas="many")
    world.files[path_of("support/triage")] = agent("support/triage", dependsOn=["support/knowledge"])
    world.files[path_of("support/front")] = agent("support/front", dependsOn=["support/triage"])
    plan = world.plan()
    assert actions(plan) == {"support/answers": "create"}
    assert sorted(held(plan)["dependency"]) == ["support/front", "support/triage"]


def test_what_depends_on_a_held_agent_that_runs_goes_on() -> None:
    world = World(files=fleet_files("support/knowledge"))
    world.files[path_of("support/triage")] = agent("support/triage", dependsOn=["support/knowledge"])
    world.converge()
    world.files[path_of("support/knowledge")] = agent("support/knowledge", replicas="many")
    world.files[path_of("support/triage")] = agent("support/triage", dependsOn=["support/knowledge"], replicas=2)
    assert actions(world.plan()) == {"support/triage": "scale"}


def test_an_override_shows_in_every_plan_until_it_ends() -> None:
    world = running("support/triage")
    override = ScaleOverride(replicas=6, author="ann", reason="launch day", since_ms=1, until_ms=world.now_ms + 10)
    world.alter("support/triage", override=override)
    world.converge()
    plan = world.plan()
    assert plan.changes == ()
    (hold,) = plan.holds
    assert (hold.code, hold.blocks_exit) == (HoldCode.OVERRIDE, False)
    assert "to 6 by ann" in hold.text
    world.now_ms += 10
    plan = world.plan()
    assert plan.holds == ()
    assert [change.replicas for change in plan.changes] == [(6, 1)]


def test_suspending_scales_to_nothing_and_resuming_back() -> None:
    world = running("support/triage")
    world.files[path_of("support/triage")] = agent("support/triage", suspend=True)
    plan = world.converge()
    assert [(change.action, change.replicas) for change in plan.changes] == [(Action.SCALE, (1, 0))]
    assert [reason.code for reason in plan.changes[0].reasons] == [ReasonCode.SUSPENDED]
    world.files[path_of("support/triage")] = agent("support/triage")
    plan = world.converge()
    assert [reason.code for reason in plan.changes[0].reasons] == [ReasonCode.RESUMED]
    world.alter("support/triage", suspended=True)
    assert [reason.code for reason in world.converge().changes[0].reasons] == [ReasonCode.SUSPENDED]
    assert held(world.plan()) == {"suspended": ["support/triage"]}
    world.alter("support/triage", suspended=False)
    assert [reason.code for reason in world.converge().changes[0].reasons] == [ReasonCode.RESUMED]


def test_an_apply_that_stopped_in_the_middle_is_finished() -> None:
    world = running("support/triage")
    world.alter("support/triage", state=AgentState.DEPLOYING)
    (change,) = world.plan().changes
    assert (change.action, change.reasons[0].code) == (Action.RECOVER, ReasonCode.UNFINISHED)


def test_an_agent_whose_quarantine_is_lifted_is_looked_at_once_more_though_nothing_differs() -> None:
    world = running("support/triage")
    world.alter("support/triage", state=AgentState.QUARANTINED)
    (change,) = world.plan().changes
    assert (change.action, change.objects) == (Action.RECOVER, ())
    assert [(reason.code, reason.text) for reason in change.reasons] == [
        (ReasonCode.RESUMED, "its quarantine is over, and it is looked at once more")
    ]
    world.converge()
    assert world.plan().changes == ()


def test_an_agent_that_moves_says_so() -> None:
    two = """
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec:
  clusters: [{name: east, embedded: {run: nothing}}, {name: west, embedded: {run: nothing}}]
"""
    world = World(files=fleet_files(fleet=two))
    world.files[path_of("support/triage")] = agent("support/triage", placement={"clusters": {"names": ["east"]}})
    world.converge()
    world.files[path_of("support/triage")] = agent("support/triage", placement={"clusters": {"names": ["west"]}})
    (change,) = world.plan().changes
    assert change.action is Action.UPDATE
    assert {item.cluster for item in change.objects} == {"east", "west"}
    assert ReasonCode.PLACEMENT_CHANGED in {reason.code for reason in change.reasons}


def test_another_rendering_of_the_same_spec_is_an_update() -> None:
    world = running("support/triage")
    record = world.records[TRIAGE]
    inventory = tuple(dataclasses.replace(entry, hash="0" * 64) for entry in record.inventory)
    world.alter("support/triage", inventory=inventory)
    (change,) = world.plan().changes
    assert change.reasons[-1].code is ReasonCode.RENDERING_CHANGED


def test_targets_make_a_partial_plan() -> None:
    world = running("support/triage", "support/knowledge")
    for short in ("triage", "knowledge"):
        world.files[path_of(f"support/{short}")] = agent(f"support/{short}", replicas=2)
    plan = world.plan(Policy(targets=(TRIAGE,)))
    assert actions(plan) == {"support/triage": "scale"}
    assert plan.partial


def test_a_plan_of_targets_names_what_they_depend_on_and_leave_out() -> None:
    world = running("support/knowledge", "support/tools", "support/fine")
    declared: dict[str, dict[str, Any]] = {
        "knowledge": {"replicas": 2},
        "tools": {"replicas": "many"},
        "memory": {},
        "store": {},
        "fine": {},
    }
    for short, spec in declared.items():
        world.files[path_of(f"support/{short}")] = agent(f"support/{short}", **spec)
    world.files[path_of("support/memory")] = agent("support/memory", dependsOn=["support/store"])
    others = [f"support/{short}" for short in ("knowledge", "tools", "memory", "fine")]
    world.files[path_of("support/triage")] = agent("support/triage", dependsOn=others)
    plan = world.plan(Policy(targets=(TRIAGE,)))
    assert actions(plan) == {"support/triage": "create"}
    assert [(str(hold.code), hold.blocks_exit, hold.text, hold.lift) for hold in plan.holds] == [
        (
            "targets",
            False,
            "support/knowledge is to be scaled and is left out, though support/triage depends on it",
            "add --target support/knowledge",
        ),
        (
            "targets",
            False,
            "support/memory, support/store are to be created and are left out, though the targets depend on them",
            "add --target support/memory --target support/store",
        ),
        (
            "targets",
            False,
            (
                "support/tools is held and is left out, though support/triage depends on it: "
                "support/tools stays as it is: a whole number is expected here, not text"
            ),
            "correct the file",
        ),
    ]


def test_destroying_a_target_names_what_depends_on_it_and_stays() -> None:
    world = running("support/knowledge")
    world.files[path_of("support/triage")] = agent("support/triage", dependsOn=["support/knowledge"])
    world.converge()
    plan = world.plan(Policy(targets=(KNOWLEDGE,), destroy=True))
    assert actions(plan) == {"support/knowledge": "delete"}
    assert [hold.text for hold in plan.holds] == ["support/triage depends on what goes, and is left"]
    assert not any(hold.blocks_exit for hold in plan.holds)
    assert world.plan(Policy(targets=(KNOWLEDGE, TRIAGE), destroy=True)).holds == ()


def test_waves_follow_from_what_is_declared_and_cycles_are_named() -> None:
    world = World(files=fleet_files("x/a"))
    for short, others in {"b": ["x/a"], "c": ["x/b"]}.items():
        world.files[path_of(f"x/{short}")] = agent(f"x/{short}", dependsOn=others)
    world.files[path_of("x/d")] = agent("x/d", wave=7)
    agents = world.declaration.agents
    levels, cyclic = waves(agents, sorted(agents))
    assert {str(key): level for key, level in levels.items()} == {"x/a": 0, "x/b": 1, "x/c": 2, "x/d": 7}
    assert cyclic == set()
    looped = dict(agents)
    spec = dataclasses.replace(agents[name("x/a")].spec, depends_on=(name("x/c"),))
    looped[name("x/a")] = dataclasses.replace(agents[name("x/a")], spec=spec)
    _, cyclic = waves(looped, sorted(looped))
    assert cyclic == {name("x/a"), name("x/b"), name("x/c")}
    given = world.input()
    given = dataclasses.replace(given, declaration=dataclasses.replace(given.declaration, agents=looped))
    plan = make_plan(given)
    assert actions(plan) == {"x/d": "create"}
    assert any("cycle" in hold.text for hold in plan.holds)


def test_what_goes_goes_before_what_it_needs() -> None:
    a, b, c = name("x/a"), name("x/b"), name("x/c")
    assert deletion_waves({a: (), b: (a,), c: (b, name("x/other"))}, 4) == {c: 4, b: 5, a: 6}
    assert deletion_waves({a: (b,), b: (a,)}, 0) == {a: 0, b: 0}


def test_attributes_are_leaves_by_name_with_secrets_masked() -> None:
    before = {"env": [{"name": "A", "value": "1"}, {"name": "MY_TOKEN", "value": "x"}], "config": {"key": "k"}, "n": {}}
    after = {"env": [{"name": "MY_TOKEN", "value": "y"}, {"name": "B", "value": "2"}], "config": {"key": "k"}, "n": {}}
    changes, same = compare(before, after, sensitive=frozenset(), origin=lambda _: None)
    told = {change.path: (change.before, change.after) for change in changes}
    assert told[("env", "[MY_TOKEN]", "value")] == ("(sensitive value)", "(sensitive value)")
    assert told[("env", "[A]", "value")] == ("1", Missing.FIELD)
    assert told[("env", "[B]", "value")] == (Missing.FIELD, "2")
    assert same == 3
    changes, _ = compare({"a": "x"}, {"a": "y"}, sensitive=frozenset({("a",)}), origin=lambda _: None)
    assert changes[0].before == "(sensitive value)"


def test_a_secret_inside_a_list_of_several_kinds_is_masked_with_all_of_the_list() -> None:
    kept = {"config": {"auth": ["basic", [{"token": "hunter2"}]], "modes": ["a"]}, "modelConfig": {"parameters": {}}}
    gone = {"config": {"auth": ["basic"], "modes": ["b"]}, "modelConfig": {"parameters": {"x": [1, {"apiKey": "k"}]}}}
    for before, after in ((kept, gone), (gone, kept)):
        changes, _ = compare(before, after, sensitive=frozenset(), origin=lambda _: None)
        told = {change.path: (change.before, change.after) for change in changes}
        assert told[("config", "auth")] == ("(sensitive value)", "(sensitive value)")
        assert "(sensitive value)" in told[("modelConfig", "parameters", "x")]
        assert "hunter2" not in str(changes)
        assert "'k'" not in str(changes)
        assert "(sensitive value)" not in told[("config", "modes")]


@pytest.mark.parametrize(
    "removed",
    [
        {"config": {"secret": "hunter2"}},
        {"config": {"secret": {"token": "hunter2"}}},
        {"config": {"secret": {"value": "hunter2"}}},
        {"config": {"auth": {"secret": ["hunter2"]}}},
        {"modelConfig": {"parameters": {"secret": {"value": "hunter2"}}}},
        {"env": [{"name": "CLIENT_SECRET", "value": "hunter2"}]},
    ],
)
def test_what_stands_below_a_secret_is_masked_when_it_comes_and_when_it_goes(removed: dict[str, object]) -> None:
    for before, after in ((removed, {}), ({}, removed)):
        changes, _ = compare(before, after, sensitive=frozenset(), origin=lambda _: None)
        assert changes
        assert "hunter2" not in str(changes)
        assert "(sensitive value)" in str(changes)


def test_references_to_secrets_are_shown() -> None:
    reference = {"secret": {"name": "vault", "key": "token"}}
    document = {"modelConfig": {"provider": "a", **reference}, "env": [{"name": "TOKEN", **reference}]}
    changes, _ = compare({}, document, sensitive=frozenset(), origin=lambda _: None)
    told = {change.path: change.after for change in changes}
    assert told[("modelConfig", "secret", "key")] == "token"
    assert told[("env", "[TOKEN]", "secret", "name")] == "vault"


def test_equal_quantities_and_durations_are_no_change() -> None:
    before = {"resources": {"limits": {"cpu": "1000m"}}, "rollout": {"timeout": "60s"}, "image": "1.0"}
    after = {"resources": {"limits": {"cpu": "1"}}, "rollout": {"timeout": "1m"}, "image": "1.0"}
    assert compare(before, after, sensitive=frozenset(), origin=lambda _: None) == ((), 3)
    assert len(compare({"v": "1x"}, {"v": "2x"}, sensitive=frozenset(), origin=lambda _: None)[0]) == 1


def tool(server: str, names: list[str], approval: list[str] | None = None) -> dict[str, object]:
    return {"mcpServer": {"name": server, "toolNames": names}, "requireApproval": approval or []}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"systemMessage": "a"}, {"systemMessage": "b"}, {Risk.PROMPT}),
        ({"modelConfig": {"model": "a"}}, {"modelConfig": {"model": "b"}}, {Risk.MODEL}),
        ({"image": "a"}, {"image": "b"}, {Risk.IMAGE}),
        ({"command": ["a"]}, {"command": ["b"]}, {Risk.COMMAND}),
        ({"tools": [tool("t", ["a"])]}, {"tools": [tool("t", ["a", "b"])]}, {Risk.TOOL_GAINED}),
        ({"tools": [tool("t", ["a", "b"])]}, {"tools": [tool("t", ["a"])]}, {Risk.TOOL_LOST}),
        ({"tools": [tool("t", ["a"], ["a"])]}, {"tools": [tool("t", ["a"])]}, {Risk.APPROVAL_REMOVED}),
        (
            {"tools": [tool("t", ["a"], ["a"])]},
            {"tools": [tool("t", [])]},
            {Risk.TOOL_GAINED, Risk.TOOL_LOST, Risk.APPROVAL_REMOVED},
        ),
        (
            {"resources": {"limits": {"memory": "1Gi"}}},
            {"resources": {"limits": {"memory": "2Gi"}}},
            {Risk.RESOURCES_RAISED},
        ),
        (
            {"resources": {"requests": {"cpu": "1"}}},
            {"resources": {"requests": {"cpu": "500m"}}},
            {Risk.RESOURCES_LOWERED},
        ),
        ({"resources": {"limits": {"memory": "1Gi"}}}, {"resources": {}}, {Risk.RESOURCES_RAISED}),
        ({"resources": {"requests": {"cpu": "1"}}}, {}, {Risk.RESOURCES_LOWERED}),
        (
            {"env": [{"name": "A", "secret": {"name": "s", "key": "a"}}]},
            {"env": [{"name": "A", "secret": {"name": "s", "key": "b"}}]},
            {Risk.SECRET_CHANGED},
        ),
        ({"description": "a"}, {"description": "b"}, set()),
    ],
)
def test_changes_of_an_agent_have_risks(before: dict[str, object], after: dict[str, object], found: set[Risk]) -> None:
    assert set(risks(before, after)) == found


def test_a_drift_that_holds_a_secret_of_the_agent_is_masked() -> None:
    world = World(files=fleet_files())
    world.files[path_of("support/triage")] = agent("support/triage", config={"api_key": "hunter2"})
    item = world.declaration.agents[TRIAGE]
    assert item.sensitive
    from reconciler.model.plan import Drift

    drift = Drift(
        cluster="local",
        ref=ref("ConfigMap", "support/triage"),
        path="data.agent",
        manager="kubectl",
        before='{"api_key": "hunter2"}',
        after="{}",
    )
    shown = masked(drift, item, {})
    assert (shown.before, shown.after) == ("(sensitive value)", "{}")
    removed = dataclasses.replace(drift, before="{}", after='{"secret": "swordfish"}')
    shown = masked(removed, item, {"config": {"secret": "swordfish"}})
    assert (shown.before, shown.after) == ("{}", "(sensitive value)"), "what the spec before had runs still"
    numbered = dataclasses.replace(drift, before='{"api_key": [7, 20260731]}', after="image:17")
    shown = masked(numbered, item, {"config": {"api_key": [7, 20260731, True]}})
    assert (shown.before, shown.after) == ("(sensitive value)", "image:17"), "a short one counts as a whole word alone"
    count = dataclasses.replace(drift, path="spec.replicas", before=7, after=8)
    assert masked(count, item, {"config": {"api_key": 7}}) == count
    mount = dataclasses.replace(drift, path="automountServiceAccountToken", before=False, after=True)
    assert masked(mount, item, {}) == mount, "yes and no are no secrets, whatever the question"


def test_an_unreadable_registry_names_whom_it_holds() -> None:
    world = running("support/triage")
    given = dataclasses.replace(world.input(), registry=Unreadable(reason="locked"))
    plan = make_plan(given)
    assert held(plan) == {"unreadable": ["support/triage"]}
    assert "locked" in plan.holds[0].text


def test_a_plan_for_some_clusters_deletes_only_what_lies_wholly_there() -> None:
    two = """
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec:
  clusters: [{name: east, embedded: {run: nothing}}, {name: west, embedded: {run: nothing}}]
"""
    world = World(files=fleet_files("x/keep", fleet=two))
    world.files[path_of("x/both")] = agent("x/both", placement={"policy": "all"})
    world.files[path_of("x/east")] = agent("x/east", placement={"clusters": {"names": ["east"]}})
    world.converge()
    del world.files[path_of("x/both")]
    del world.files[path_of("x/east")]
    plan = world.plan(Policy(clusters=("east",)))
    assert actions(plan) == {"x/east": "delete"}
    assert plan.partial
    assert actions(world.plan()) == {"x/both": "delete", "x/east": "delete"}


def test_what_would_be_taken_from_a_cluster_that_cannot_be_seen_waits_and_keeps_no_other_waiting() -> None:
    two = """
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec:
  clusters: [{name: east, embedded: {run: nothing}}, {name: west, embedded: {run: nothing}}]
"""
    world = World(files=fleet_files(fleet=two))
    world.files[path_of("x/a")] = agent("x/a", placement={"clusters": {"names": ["east"]}})
    world.converge()
    world.files[path_of("x/a")] = agent("x/a", placement={"clusters": {"names": ["west"]}})
    world.unreadable["east"] = "timeout"
    plan = world.plan()
    assert {(item.cluster, item.verb) for change in plan.changes for item in change.objects} == {("west", Verb.CREATE)}
    assert [change.behind for change in plan.changes] == [("east",)]
    assert held(plan) == {"unreadable": ["x/a"]}
    world.unreadable.clear()
    claimed = ref("Service", "x/a")
    fields: dict[str, object] = {"f:metadata": {"f:labels": {"f:kapp.k14s.io/app": {}}}}
    world.edit(
        claimed, lambda body: body["metadata"]["labels"].update({"kapp.k14s.io/app": "y"}), fields, cluster="east"
    )
    assert held(world.plan()) == {"foreign-owner": ["x/a"]}

"""What waits for a change window, what does not, and how a plan tells it."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import pytest

from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, HoldCode, Plan, Policy
from reconciler.model.registry import AgentState, ScaleOverride
from reconciler.plan.planfile import dump, load
from tests.plan.builders import FLEET, World, agent, declare, fleet_files, path_of

OFFICE = """
  windows:
    - {name: office, days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00", timezone: Europe/Berlin}
"""
GOLD = """
  windows:
    - {name: freeze, effect: deny, timezone: UTC, from: "00:00", to: "12:00", match: {labels: {tier: gold}}}
    - {name: shop-hours, from: "10:00", to: "11:00", match: {namespaces: [shop]}}
"""
CLOSED, OPEN = "2026-11-26T20:00+01:00", "2026-11-26T10:00+01:00"
IGNORED = Policy(ignore_windows=True)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def standing(*names: str, windows: str = OFFICE, now: str = CLOSED) -> World:
    """A fleet that runs as declared, and then gets windows."""
    world = World(files=fleet_files(*names))
    world.converge()
    world.files["fleet.yaml"] = FLEET + windows
    world.now_ms = ms(now)
    return world


def held(plan: Plan) -> list[str]:
    return [hold.text for hold in plan.holds if hold.code is HoldCode.WINDOW]


def test_a_commit_waits_until_its_window_opens_and_the_plan_says_until_when() -> None:
    world = standing("x/a")
    world.files[path_of("x/a")] = agent("x/a", replicas=3)
    plan = world.plan()
    assert plan.changes == ()
    assert held(plan) == [
        "x/a waits until Fri 2026-11-27 09:00 Europe/Berlin: it goes out in the change window office only"
    ]
    (hold,) = plan.holds
    assert hold.blocks_exit
    assert hold.until_ms == ms("2026-11-27T09:00+01:00")
    assert "--ignore-windows" in hold.lift


def test_while_its_window_is_open_it_goes_out_and_knows_when_that_closes() -> None:
    world = standing("x/a", now=OPEN)
    world.files[path_of("x/a")] = agent("x/a", replicas=3)
    (change,) = world.plan().changes
    assert change.until_ms == ms("2026-11-26T17:00+01:00")


def test_new_and_removed_agents_wait_too_and_all_that_wait_for_one_are_told_at_once() -> None:
    world = standing("x/a", "x/b")
    del world.files[path_of("x/a")]
    world.files[path_of("x/c")] = agent("x/c")
    plan = world.plan()
    assert plan.changes == ()
    (hold,) = plan.holds
    assert [str(name) for name in hold.agents] == ["x/a", "x/c"]
    assert hold.text.startswith("2 changes wait until Fri 2026-11-27 09:00 Europe/Berlin: they go out in")


def test_an_agent_that_depends_on_a_new_one_that_waits_waits_as_well() -> None:
    world = standing("x/a", windows=GOLD)
    world.files[path_of("shop/new")] = agent("shop/new")
    world.files[path_of("x/b")] = agent("x/b", dependsOn=["shop/new"])
    assert {hold.code for hold in world.plan().holds} == {HoldCode.WINDOW, HoldCode.DEPENDENCY}


def test_drift_is_undone_and_what_is_gone_comes_back_at_any_time() -> None:
    world = standing("x/a")
    world.live["local"].clear()
    plan = world.plan()
    assert [change.action for change in plan.changes] == [Action.RECOVER]
    assert held(plan) == []


def test_what_was_begun_is_finished_though_its_window_has_closed() -> None:
    world = standing("x/a")
    world.files[path_of("x/a")] = agent("x/a", replicas=3)
    world.alter("x/a", state=AgentState.DEPLOYING)
    assert len(world.plan().changes) == 1


def test_a_commit_that_comes_while_another_one_is_under_way_waits() -> None:
    world = standing("x/a")
    for image, waiting in (("e/begun:1", 0), ("e/newer:1", 1)):
        world.files[path_of("x/a")] = agent("x/a", image=image)
        if not waiting:
            begun = world.declaration.agents[AgentName.parse("x/a")].spec_hash
            world.alter("x/a", state=AgentState.DEPLOYING, begun=begun)
        plan = world.plan()
        assert (len(plan.changes), len(held(plan))) == (1 - waiting, waiting)

    world.files[path_of("x/a")] = agent("x/a")
    assert len(world.plan().changes) == 1, "what was applied last is nothing new"


def test_a_commit_that_comes_while_an_agent_recovers_waits_and_its_remedy_does_not() -> None:
    world = standing("x/a")
    world.alter("x/a", state=AgentState.RECOVERING)
    assert len(world.plan().changes) == 1
    world.files[path_of("x/a")] = agent("x/a", image="e/newer:1")
    newer = world.declaration.agents[AgentName.parse("x/a")].spec_hash
    for begun in ("", newer):
        world.alter("x/a", begun=begun)
        plan = world.plan()
        assert plan.changes == ()
        assert len(held(plan)) == 1


def test_what_people_ask_for_by_hand_does_not_wait_and_what_a_file_says_does() -> None:
    world = standing("x/a", "x/b")
    world.alter("x/a", override=ScaleOverride(replicas=4, author="me", reason="", since_ms=1))
    world.files[path_of("x/b")] = agent("x/b", suspend=True)
    plan = world.plan()
    assert [str(change.name) for change in plan.changes] == ["x/a"]
    assert [str(name) for hold in plan.holds if hold.code is HoldCode.WINDOW for name in hold.agents] == ["x/b"]


def test_destroying_is_asked_for_by_hand() -> None:
    assert len(standing("x/a").plan(Policy(destroy=True)).changes) == 1


def test_windows_concern_whom_they_match_and_denying_wins() -> None:
    world = standing("shop/a", "shop/b", "x/c", windows=GOLD, now="2026-11-26T10:30+00:00")
    for one in ("shop/a", "shop/b", "x/c"):
        world.files[path_of(one)] = agent(one, replicas=2)
    gold = agent("shop/b", replicas=2).replace('"name"', '"labels": {"tier": "gold"}, "name"')
    world.files[path_of("shop/b")] = gold
    plan = world.plan()
    assert [str(change.name) for change in plan.changes] == ["shop/a", "x/c"]
    assert held(plan) == ["shop/b waits with no end in sight: nothing goes out in the change window freeze"]


def test_ignored_windows_hold_nothing_and_the_plan_tells_of_them() -> None:
    world = standing("x/a")
    world.files[path_of("x/a")] = agent("x/a", replicas=3)
    plan = world.plan(IGNORED)
    (change,) = plan.changes
    assert change.until_ms == 0
    (hold,) = plan.holds
    assert not hold.blocks_exit
    assert hold.text.endswith("in the change window office only, which is ignored")
    assert load(dump(plan)).policy == IGNORED


def test_a_held_change_is_in_no_saved_plan_and_what_it_is_does_not_depend_on_the_minute() -> None:
    world = standing("x/a")
    world.files[path_of("x/a")] = agent("x/a", replicas=3)
    first = dump(world.plan())
    world.now_ms += 60_000
    assert dump(world.plan()) == first


@pytest.mark.parametrize(
    ("window", "code"),
    [
        ("{name: w, timezone: Europe/Nowhere}", "bad-timezone"),
        ("{name: w, timezone: ../../etc/passwd}", "bad-text"),
        ("{name: w, from: '9:00'}", "bad-text"),
        ("{name: w, to: '24:01'}", "bad-text"),
        ("{name: w, days: [monday]}", "not-one-of"),
        ("{name: w}, {name: w}", "duplicate-name"),
    ],
)
def test_a_window_that_cannot_be_meant_is_a_finding(window: str, code: str) -> None:
    found = declare(fleet_files("x/a", fleet=FLEET + f"  windows: [{window}]\n"))
    assert found.fleet is None
    assert [item.code for item in found.diagnostics] == [code]


def test_windows_are_part_of_the_fleet() -> None:
    found = declare(fleet_files("x/a", fleet=FLEET + GOLD)).fleet
    assert found is not None
    freeze, shop = found.windows
    assert (freeze.start, freeze.end, freeze.labels) == (0, 720, {"tier": "gold"})
    assert (shop.days, shop.namespaces) == (frozenset(range(7)), frozenset({"shop"}))
    assert dataclasses.replace(freeze, name="other") != freeze

"""The rules that turn wishes into holds, one by one: whom they hold, in which words, and what lifts them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.model.fleet import Declaration, DeletionBudget, Frozen
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import ClusterIdentity, Found, Unreadable
from reconciler.model.plan import Action, Hold, HoldCode, Policy
from reconciler.model.registry import (
    FleetRecord,
    InventoryEntry,
    PlacedReplicas,
    Record,
    ScaleOverride,
)
from reconciler.model.source import Diagnostic
from reconciler.plan import guard
from tests.plan.builders import World, actions, agent, declare, fleet_files, path_of, running
from tests.plan.builders import held as kept_by

BUDGET = DeletionBudget(max=3, percent=10)


def name(short: str) -> AgentName:
    return AgentName(namespace="x", name=short)


def names(count: int) -> tuple[AgentName, ...]:
    return tuple(name(f"a{number}") for number in range(count))


PLAIN = next(iter(running("x/a0").records.values()))


def record(short: str, **other: Any) -> Record:
    placed = (PlacedReplicas(cluster="local", replicas=1),)
    default: dict[str, Any] = {"placement": placed, "inventory": (), "source_path": path_of(f"x/{short}")}
    return dataclasses.replace(PLAIN, name=name(short), **(default | other))


def records(count: int, **other: Any) -> dict[AgentName, Record]:
    return {one: record(one.name, **other) for one in names(count)}


def declared(*agents: str, frozen: dict[str, Frozen] | None = None, paths: dict[str, Frozen] | None = None):
    found = declare(fleet_files(*(f"x/{one}" for one in agents)))
    invalid = {name(key): value for key, value in (frozen or {}).items()}
    return dataclasses.replace(found, frozen_agents=invalid, frozen_paths=paths or {})


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, ""),
        (1, "x/a0"),
        (5, "x/a0, x/a1, x/a2, x/a3, x/a4"),
        (6, "x/a0, x/a1, x/a2, x/a3, x/a4 and 1 more"),
        (9, "x/a0, x/a1, x/a2, x/a3, x/a4 and 4 more"),
    ],
)
def test_five_names_are_told_and_the_rest_counted(count: int, text: str) -> None:
    assert guard.names_text(names(count)) == text


def departed(
    declaration: Declaration, known: Mapping[AgentName, Record], policy: Policy
) -> tuple[list[Record], list[Hold]]:
    """What becomes of those on record that are declared nowhere, or of all that are to be destroyed."""
    leave = known if policy.destroy else known.keys() - declaration.agents.keys()
    return guard.departures(sorted(leave), declaration, known, policy)


def held(holds: list[Hold]) -> list[tuple[HoldCode, str, str]]:
    assert all(hold.action is Action.DELETE for hold in holds)
    assert all(len(hold.agents) == 1 for hold in holds)
    return [(hold.code, hold.text, hold.lift) for hold in holds]


def test_what_is_declared_nowhere_goes_in_order_of_names() -> None:
    given = dict(reversed(records(3).items()))
    going, holds = departed(declared("a1"), given, Policy())
    assert [one.name.name for one in going] == ["a0", "a2"]
    assert holds == []


def test_what_cannot_be_read_keeps_the_agents_that_came_from_it_and_those_that_may_have_moved_there() -> None:
    broken = Frozen(reason="no YAML", words=frozenset({"a0", "name"}))
    declaration = declared(paths={path_of("x/a0"): broken})
    going, holds = departed(declaration, records(2), Policy())
    assert [one.name.name for one in going] == ["a1"], "the broken file is known, and says nothing of a1"
    text = "x/a0 stays as it is: agents/x/a0.yaml cannot be read (no YAML)"
    assert held(holds) == [(HoldCode.INVALID, text, "mend the file, or delete it to delete the agent")]

    declaration = declared(paths={"b.yaml": broken, "a.yaml": broken})
    going, holds = departed(declaration, records(1), Policy())
    assert going == []
    text = "x/a0 stays as it is: it may have been moved to a.yaml, which cannot be read"
    assert held(holds) == [(HoldCode.INVALID, text, "mend a.yaml")]


def test_an_agent_whose_name_stands_in_a_broken_file_may_have_moved_there_though_others_came_from_it() -> None:
    given = records(4)
    paths = {path_of("x/a1"): Frozen(reason="-", words=frozenset({"a1", "a2"})), path_of("x/a0"): Frozen(reason="-")}
    (one, other) = ({path: paths[path]} for path in sorted(paths, reverse=True))
    going, holds = departed(declared(paths=one), given, Policy())
    assert [one.name.name for one in going] == ["a0", "a3"]
    text = "x/a2 stays as it is: it may have been moved to agents/x/a1.yaml, which cannot be read"
    assert held(holds)[1:] == [(HoldCode.INVALID, text, "mend agents/x/a1.yaml")]

    going, holds = departed(declared(paths=other), given, Policy())
    assert going == [], "nobody knows what stands in it"
    assert held(holds)[-1][2] == "mend agents/x/a0.yaml"
    going, holds = departed(declared(paths=paths), given, Policy())
    assert [lift for _, _, lift in held(holds)[2:]] == ["mend agents/x/a1.yaml", "mend agents/x/a0.yaml"]


def test_an_agent_moved_into_a_file_that_breaks_in_the_same_commit_is_not_deleted() -> None:
    world = World(files=fleet_files("x/b", "x/c", "x/d"))
    world.files["agents/x/all.yaml"] = f"{agent('x/a')}\n"
    world.converge()
    moved = world.files.pop(path_of("x/b"))
    del world.files[path_of("x/c")]
    world.files["agents/x/all.yaml"] = f"{agent('x/a')}\n---\n{moved}\n---\nkind: Agent\nkind: Agent\n"
    plan = world.plan()
    assert actions(plan) == {"x/c": "delete"}
    assert kept_by(plan) == {"invalid": ["x/a", "x/b"]}


def test_an_agent_whose_file_declares_an_invalid_newcomer_may_be_it() -> None:
    bad = Frozen(reason="bad", paths=(path_of("x/a0"),))
    declaration = declared(frozen={"z1": bad, "z0": bad, "a1": Frozen(reason="bad", paths=(path_of("x/a2"),))})
    going, holds = departed(declaration, records(3), Policy())
    assert [one.name.name for one in going] == ["a2"], "a1 is on record itself: nobody was renamed to it"
    text = "x/a0 stays as it is: it may have been renamed to x/z0, which is invalid"
    assert held(holds) == [(HoldCode.INVALID, text, "correct x/z0 in agents/x/a0.yaml")]


def test_what_is_protected_stays_whoever_wants_it_gone_and_keeps_nobody_else() -> None:
    given = {name("a0"): record("a0", protect=True), name("a1"): record("a1")}
    lift = "declare it with `protect: false`, apply, then remove it"
    for policy, why in ((Policy(), "gone from Git"), (Policy(destroy=True), "to go")):
        going, holds = departed(declared(), given, policy)
        assert [one.name.name for one in going] == ["a1"]
        text = f"x/a0 is protected, and stays although it is {why}"
        assert held(holds) == [(HoldCode.PROTECTED, text, lift)]


def test_destroying_takes_what_is_declared_and_what_is_broken_too() -> None:
    declaration = declared("a0", frozen={"a1": Frozen(reason="bad")}, paths={path_of("x/a2"): Frozen(reason="bad")})
    going, holds = departed(declaration, records(3), Policy(destroy=True))
    assert [one.name.name for one in going] == ["a0", "a1", "a2"]
    assert holds == []


def test_an_invalid_agent_stays_and_says_where_it_is_wrong() -> None:
    files = fleet_files("x/a0")
    files[path_of("x/a0")] = agent("x/a0", replicas="many")
    found: Diagnostic = next(iter(declare(files).diagnostics))
    declaration = declared(frozen={"a1": Frozen(reason="bad"), "a0": Frozen(reason="worse", diagnostics=(found,))})
    first, second = guard.invalid(declaration)
    assert (first.agents, first.text) == ((name("a0"),), "x/a0 stays as it is: worse")
    assert (first.code, first.action, first.lift) == (HoldCode.INVALID, None, "correct the file")
    assert first.origin == found.position
    assert found.position is not None
    assert (second.agents, second.origin) == ((name("a1"),), None)


def deletions(going: int, of: int, declaration: Declaration | None = None, **other: Any) -> tuple[Any, ...]:
    every = records(of)
    options: dict[str, Any] = {"policy": Policy(), "rewound": False, "budget": BUDGET} | other
    found = guard.deletions(
        [every[one] for one in reversed(names(going))], every, declaration or declared("other"), **options
    )
    if found is None:
        return ()
    assert found.agents == names(going)
    assert found.action is Action.DELETE
    return found.code, found.text, found.lift


def test_a_budget_is_told_with_what_raises_it() -> None:
    assert deletions(3, 10) == ()
    text = "4 deletes, over the budget of 3"
    assert deletions(4, 10) == (
        HoldCode.DELETION_BUDGET,
        text,
        "raise it with --max-deletes 4, or `reconciler approve`",
    )
    one = deletions(1, 10, policy=Policy(max_deletes=0))
    assert one == (
        HoldCode.DELETION_BUDGET,
        "1 delete, over the budget of 0",
        "raise it with --max-deletes 1, or `reconciler approve`",
    )
    assert deletions(4, 10, policy=Policy(max_deletes=4)) == ()
    assert deletions(0, 10, policy=Policy(max_deletes=0)) == ()


def test_a_rewound_branch_and_an_empty_fleet_are_asked_about_before_any_budget() -> None:
    text = "2 deletes: the branch was rewound, the commit on record is not among its ancestors"
    assert deletions(2, 2, declared(), rewound=True) == (
        HoldCode.REWIND,
        text,
        "accept it with --accept-rewind, or `reconciler approve`",
    )
    accepted = Policy(accept_rewind=True)
    empty = (
        HoldCode.EMPTY_FLEET,
        "2 deletes: the fleet declares no agent at all",
        "if that is meant, --allow-empty, or `reconciler approve`",
    )
    assert deletions(2, 2, declared(), rewound=True, policy=accepted) == empty
    assert deletions(9, 9, declared(), policy=Policy(allow_empty=True)) == (), "all of them: no budget then"
    broken = declared(frozen={"a9": Frozen(reason="bad")})
    assert deletions(2, 9, broken) == (), "an agent that is invalid is declared"
    assert deletions(9, 9, declared(), rewound=True, policy=Policy(destroy=True)) == ()


def test_each_cluster_has_its_budget_unless_a_number_was_asked_for() -> None:
    every = {
        name(f"a{number}"): record(f"a{number}", placement=(PlacedReplicas(cluster=cluster, replicas=1),))
        for number, cluster in enumerate(["west"] * 30 + ["east"] * 4)
    }
    going = [every[name(f"a{number}")] for number in range(30, 34)]
    declaration = declared("other")
    budget = DeletionBudget(max=1, percent=20)
    asked: dict[str, Any] = {"rewound": False, "budget": budget}
    found = guard.deletions(going, every, declaration, policy=Policy(), **asked)
    assert found is not None
    assert found.text == "4 deletes, over the budget of 1 on east"
    assert guard.deletions(going[:1], every, declaration, policy=Policy(), **asked) is None
    share = [every[name(f"a{number}")] for number in range(6)]
    assert guard.deletions(share, every, declaration, policy=Policy(), **asked) is None, "a fifth of those on west"
    assert guard.deletions(going, every, declaration, policy=Policy(max_deletes=4), **asked) is None


def test_a_share_is_rounded_down_and_a_number_taken_as_it_is() -> None:
    assert [guard.limit(BUDGET, 19, asked) for asked in ("10%", "99%", "100%", 0, 50)] == [1, 18, 19, 0, 50]
    assert guard.limit(BUDGET, 39, None) == 3
    assert guard.limit(BUDGET, 40, None) == 4


def test_a_cluster_is_a_stranger_when_it_says_another_uid_than_at_first_contact() -> None:
    pinned = dict.fromkeys(("same", "other", "silent", "undeclared"), "u")
    fleet = FleetRecord(name="acme", version=1, cluster_uids=pinned)
    identities: dict[str, Any] = {
        "same": Found(ClusterIdentity(uid="u", version="")),
        "other": Found(ClusterIdentity(uid="v", version="")),
        "silent": Unreadable(reason="timeout"),
        "new": Found(ClusterIdentity(uid="w", version="")),
    }
    told = "other is another cluster than at first contact (it was u, now v)"
    assert guard.strangers(identities, fleet) == {"other": told}
    assert guard.strangers(identities, fleet, ["other"]) == {}
    assert guard.strangers(identities, None) == {}


HERE = (PlacedReplicas(cluster="east", replicas=1),)
THERE = (PlacedReplicas(cluster="west", replicas=1),)


def test_agents_wait_where_nothing_can_be_seen_and_what_they_left_there_is_told_apart() -> None:
    a, b, c = names(3)
    found = {("west", "timeout"): [c], ("east", "timeout"): [b, a, c], ("odd", "timeout"): [a]}
    holds = list(guard.unseen(found, {"odd": "another one"}, {a: HERE, b: (*THERE, *HERE), c: THERE}))
    assert [(hold.code, hold.agents, hold.action, hold.text) for hold in holds] == [
        (HoldCode.UNREADABLE, (a, b), None, "nothing is changed or deleted where it cannot be seen: timeout"),
        (HoldCode.UNREADABLE, (c,), None, "what may still run on east is deleted when it can be seen: timeout"),
        (HoldCode.UNREADABLE, (c,), None, "nothing is changed or deleted where it cannot be seen: timeout"),
    ]
    assert {hold.lift for hold in holds} == {"restore access, then plan again"}
    (undeclared,) = guard.unseen({("gone", "gone was not observed"): [a]}, {}, {})
    assert undeclared.lift == (
        "declare gone in fleet.yaml again until its agents are moved or deleted; "
        "if it is gone for good, --forget-cluster gone"
    )


def test_a_cluster_in_whose_place_another_answers_holds_who_is_there_and_who_would_come() -> None:
    a, b, c = names(3)
    entry = InventoryEntry(
        cluster="east", ref=ObjectRef(group="", kind="Service", namespace="x", name="a1"), uid="", hash=""
    )
    given = {a: record("a0"), b: record("a1", inventory=(dataclasses.replace(entry, cluster="west"), entry))}
    found = {("east", "why"): [c], ("west", "why"): [a]}
    (hold,) = guard.elsewhere(found, {"east": "east is another"}, given)
    assert (hold.code, hold.agents, hold.action, hold.text) == (HoldCode.OTHER_CLUSTER, (b, c), None, "east is another")
    assert hold.lift == "point it at the right cluster; if it was rebuilt, accept it with --accept-cluster east"
    assert [hold.text for hold in guard.elsewhere({}, {"b": "2", "a": "1"}, {})] == ["1", "2"]


def test_times_are_told_in_utc_wherever_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert guard.when(1_000) == "1970-01-01 00:00:01Z"
    time.tzset()


@pytest.mark.parametrize(
    ("until_ms", "reason", "text"),
    [
        (0, "", "x/a0 is scaled by hand to 6 by ann"),
        (0, "launch", "x/a0 is scaled by hand to 6 by ann: launch"),
        (86_400_001, "", "x/a0 is scaled by hand to 6 by ann until 1970-01-02 00:00:00Z"),
        (86_400_000, "", None),
        (1, "", None),
    ],
)
def test_scaling_by_hand_is_told_until_it_ends(until_ms: int, reason: str, text: str | None) -> None:
    override = ScaleOverride(replicas=6, author="ann", reason=reason, since_ms=0, until_ms=until_ms)
    given = {name("a1"): record("a1"), name("a0"): record("a0", override=override)}
    holds = list(guard.overridden(sorted(given), given, 86_400_000))
    assert [hold.text for hold in holds] == ([text] if text else [])
    for hold in holds:
        assert (hold.code, hold.agents, hold.action) == (HoldCode.OVERRIDE, (name("a0"),), None)
        assert hold.lift == "`reconciler scale x/a0 --end` gives it back to Git"
        assert not hold.blocks_exit
    assert list(guard.overridden((name("a1"),), given, 0)) == []

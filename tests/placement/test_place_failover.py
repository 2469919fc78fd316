"""Leaving a cluster that is unwell and going back to it, as one story told by the clock."""

from __future__ import annotations

from dataclasses import replace

from reconciler.model.agent import ClusterSelector
from reconciler.model.objects import Unreadable
from reconciler.model.recovery import RecoveryState
from reconciler.model.registry import Record
from reconciler.model.units import Duration
from reconciler.placement import PlacementRequest, PlacementResult, place
from tests.placement.builders import agent, capacity, cluster, name, node, record, request, resources, rule, where

EU, US, AP = cluster("eu"), cluster("us"), cluster("ap")
RULE = rule(
    "failover",
    ClusterSelector(names=("eu", "us", "ap")),
    failover_after=Duration.parse("5m"),
    failback_after=Duration.parse("10m"),
)
ONE = agent("a/one", replicas=2, placement=RULE)
MINUTE = 60_000
EVERYWHERE = ClusterSelector(everything=True)


def at(
    now_ms: int,
    known: Record | None,
    *,
    down: dict[str, int] | None = None,
    well: dict[str, int] | None = None,
    **more: object,
) -> PlacementRequest:
    """`down` clusters cannot be read, since then; `well` were unwell until then."""
    gone = down or {}
    return request(
        more.pop("agent", ONE),  # type: ignore[arg-type]
        clusters=(EU, US, AP),
        capacities={key: Unreadable(reason="down") for key in gone} | more.pop("capacities", {}),  # type: ignore[operator]
        unreachable=frozenset(gone),
        records=[known] if known else [],
        now_ms=now_ms,
        cluster_unwell_since_ms=gone,
        cluster_well_since_ms=well or {},
    )


def home(result: PlacementResult) -> str:
    return result.homes.get(name("a/one"), "")


def test_one_that_leaves_remembers_where_it_was() -> None:
    result = place(at(5 * MINUTE, record(ONE, {"eu": 2}), down={"eu": 0}))
    assert (where(result, "a/one"), home(result)) == ({"us": 2}, "eu")


def test_one_that_waits_still_is_at_home() -> None:
    result = place(at(4 * MINUTE, record(ONE, {"eu": 2}), down={"eu": 0}))
    assert (where(result, "a/one"), home(result)) == ({"eu": 2}, "")


def test_it_goes_back_when_its_cluster_has_been_well_for_a_while_and_not_before() -> None:
    away = record(ONE, {"us": 2}, home="eu")
    early = place(at(19 * MINUTE, away, well={"eu": 10 * MINUTE}))
    assert (where(early, "a/one"), home(early)) == ({"us": 2}, "eu")
    late = place(at(20 * MINUTE, away, well={"eu": 10 * MINUTE}))
    assert (where(late, "a/one"), home(late)) == ({"eu": 2}, "")


def test_without_a_wait_of_its_own_ten_minutes_are_meant() -> None:
    plain = agent("a/one", placement=replace(RULE, failback_after=None))
    away = record(plain, {"us": 1}, home="eu")
    assert where(place(at(10 * MINUTE - 1, away, well={"eu": 0}, agent=plain)), "a/one") == {"us": 1}
    assert where(place(at(10 * MINUTE, away, well={"eu": 0}, agent=plain)), "a/one") == {"eu": 1}


def test_it_stays_away_from_a_home_that_is_unwell_or_cannot_be_read() -> None:
    away = record(ONE, {"us": 2}, home="eu")
    assert where(place(at(10**9, away, down={"eu": 0})), "a/one") == {"us": 2}
    unread = place(at(10**9, away, capacities={"eu": Unreadable(reason="down")}))
    assert where(unread, "a/one") == {"us": 2}


def test_a_home_without_room_is_no_trouble_where_it_is() -> None:
    heavy = agent("a/one", replicas=2, placement=RULE, resources=resources({"cpu": "1"}))
    away = record(heavy, {"us": 2}, home="eu")
    full = {"eu": capacity(node(cpu="1"))}
    result = place(at(10**9, away, capacities=full, agent=heavy))
    assert (where(result, "a/one"), home(result), result.holds) == ({"us": 2}, "eu", ())


def test_when_the_stand_in_falls_too_it_moves_on_and_its_home_is_still_the_first() -> None:
    away = record(ONE, {"us": 2}, home="eu")
    result = place(at(10 * MINUTE, away, down={"eu": 0, "us": 5 * MINUTE}))
    assert (where(result, "a/one"), home(result)) == ({"ap": 2}, "eu")


def test_when_the_stand_in_falls_a_home_that_is_back_is_taken_at_once() -> None:
    away = record(ONE, {"us": 2}, home="eu")
    result = place(at(10 * MINUTE, away, down={"us": 5 * MINUTE}, well={"eu": 9 * MINUTE}))
    assert (where(result, "a/one"), home(result)) == ({"eu": 2}, "")


def test_another_wait_in_the_rule_moves_nobody() -> None:
    away = record(ONE, {"us": 2}, home="eu", document={"placement": {"policy": "failover", "failoverAfter": "5m"}})
    quick = replace(
        agent("a/one", replicas=2, placement=replace(RULE, failover_after=Duration.parse("1m"))),
        document={"placement": {"policy": "failover", "failoverAfter": "1m"}},
    )
    result = place(at(MINUTE, away, well={"eu": 0}, agent=quick))
    assert (where(result, "a/one"), home(result)) == ({"us": 2}, "eu")


def test_a_rule_that_selects_otherwise_forgets_the_home() -> None:
    other = agent("a/one", replicas=2, placement=replace(RULE, clusters=ClusterSelector(names=("us", "ap"))))
    result = place(at(MINUTE, record(ONE, {"us": 2}, home="eu"), agent=other))
    assert (where(result, "a/one"), home(result)) == ({"us": 2}, "")


def test_one_that_is_new_while_its_first_cluster_is_unwell_goes_there_when_that_has_been_well_for_a_while() -> None:
    result = place(at(MINUTE, None, down={"eu": 0}))
    assert (where(result, "a/one"), home(result)) == ({"us": 2}, "eu")
    late = place(at(20 * MINUTE, record(ONE, {"us": 2}, home=home(result)), well={"eu": 10 * MINUTE}))
    assert (where(late, "a/one"), home(late)) == ({"eu": 2}, "")


def test_one_that_is_new_has_no_other_home_while_its_first_cluster_is_well() -> None:
    result = place(at(MINUTE, None, down={"us": 0}))
    assert (where(result, "a/one"), home(result)) == ({"eu": 2}, "")


def test_by_weight_the_heaviest_is_the_first_and_of_equals_none() -> None:
    by_weight = agent("a/one", replicas=2, placement=replace(RULE, clusters=EVERYWHERE, weights={"ap": 5}))
    assert home(place(at(MINUTE, None, down={"ap": 0}, agent=by_weight))) == "ap"
    alike = agent("a/one", replicas=2, placement=replace(RULE, clusters=EVERYWHERE))
    assert home(place(at(MINUTE, None, down={"ap": 0}, agent=alike))) == ""


def test_other_policies_leave_nothing_and_remember_nothing() -> None:
    for policy in ("spread", "weighted", "all"):
        spread = agent("a/one", replicas=2, placement=rule(policy))
        result = place(at(10**9, record(spread, {"eu": 1, "us": 1}), down={"eu": 0}, agent=spread))
        assert (where(result, "a/one") or {})["eu"] == 1, policy
        assert home(result) == ""


def test_time_alone_brings_one_home_in_a_warm_pass() -> None:
    away = record(ONE, {"us": 2}, home="eu")
    before = place(at(MINUTE, away, well={"eu": 0}))
    later = place(at(10 * MINUTE, away, well={"eu": 0}), previous=before, changed=())
    assert (where(later, "a/one"), home(later)) == ({"eu": 2}, "")


def left(known: Record, *clusters: str, spec_hash: str = "") -> Record:
    """The agent after it was ill on these clusters, and left them."""
    state = RecoveryState(spec_hash=spec_hash or known.spec_hash, since_ms=1, step=1, avoid=clusters)
    return replace(known, recovery=state)


def test_one_that_was_ill_somewhere_runs_on_what_else_its_rule_allows() -> None:
    assert where(place(at(MINUTE, left(record(ONE, {"eu": 2}), "eu"))), "a/one") == {"us": 2}
    assert where(place(at(MINUTE, left(record(ONE, {"us": 2}), "eu"))), "a/one") == {"us": 2}
    assert where(place(at(MINUTE, left(record(ONE, {"us": 2}), "eu", "us"))), "a/one") == {"ap": 2}
    spread = agent("a/one", replicas=2, placement=rule("spread", ClusterSelector(names=("eu", "us"))))
    known = left(record(spread, {"eu": 1, "us": 1}), "eu")
    assert where(place(at(MINUTE, known, agent=spread)), "a/one") == {"us": 2}


def test_one_that_was_ill_everywhere_stays_and_so_does_one_that_is_another_now_or_is_to_be_everywhere() -> None:
    assert where(place(at(MINUTE, left(record(ONE, {"eu": 2}), "eu", "us", "ap"))), "a/one") == {"eu": 2}
    assert where(place(at(MINUTE, left(record(ONE, {"eu": 2}), "eu", spec_hash="other"))), "a/one") == {"eu": 2}
    everywhere = agent("a/one", replicas=1, placement=rule("all", ClusterSelector(names=("eu", "us"))))
    known = left(record(everywhere, {"eu": 1, "us": 1}), "eu")
    assert where(place(at(MINUTE, known, agent=everywhere)), "a/one") == {"eu": 1, "us": 1}

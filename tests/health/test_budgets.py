"""Budgets of a fleet and its clusters, and the doubt in our own eyes when most of it fails at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from reconciler.health.budgets import (
    AT_ONCE_MS,
    RED_LEAST,
    Limits,
    Spent,
    Suspicion,
    Tally,
    Want,
    admit,
    suspect,
    tally,
)
from reconciler.model.agent import Dimension
from reconciler.model.health import Assessment, CheckState, HealthState
from reconciler.model.identity import AgentName

NOW = 1_000_000_000
LIMITS = Limits()


def name(number: int) -> AgentName:
    return AgentName(namespace="support", name=f"a{number:04}")


def want(number: int, *clusters: str, critical: bool = False, since_ms: int = 0) -> Want:
    return Want(agent=name(number), clusters=clusters or ("eu",), critical=critical, since_ms=since_ms)


def test_limits_are_a_share_and_no_fewer_than_the_least() -> None:
    assert [LIMITS.at_once(agents) for agents in (0, 12, 60, 61, 1000)] == [3, 3, 3, 4, 50]
    assert [LIMITS.in_window(agents) for agents in (0, 12, 51, 1000)] == [10, 10, 11, 200]


def test_those_of_which_nothing_serves_come_first_then_those_ill_for_longest() -> None:
    wants = [want(1, since_ms=9), want(2, since_ms=3), want(3, critical=True, since_ms=9), want(4, since_ms=3)]
    admitted, refused = admit(wants, [], {"": 10, "eu": 10}, LIMITS, now_ms=NOW)
    assert admitted == (name(3), name(2), name(4))
    assert refused == {name(1): "3 remedies are under way in the fleet, as many as may be"}


def test_one_cluster_that_is_full_holds_up_no_other() -> None:
    under_way = [Spent(clusters=("eu",), at_ms=NOW - 10**9, under_way=True)] * 3
    wants = [want(1), want(2, "us"), want(3, "eu", "us")]
    admitted, refused = admit(wants, under_way, {"": 100, "eu": 20, "us": 80}, LIMITS, now_ms=NOW)
    assert admitted == (name(2),)
    assert refused[name(1)] == "3 remedies are under way on eu, as many as may be"
    assert set(refused) == {name(1), name(3)}


def test_what_was_begun_in_the_window_counts_and_what_is_older_does_not() -> None:
    begun = [Spent(clusters=("eu",), at_ms=NOW - LIMITS.window_ms + 1, under_way=False)] * 9
    old = [Spent(clusters=("eu",), at_ms=NOW - LIMITS.window_ms, under_way=False)] * 50
    admitted, refused = admit([want(1), want(2)], [*begun, *old], {"": 9, "eu": 9}, LIMITS, now_ms=NOW)
    assert admitted == (name(1),)
    assert refused[name(2)] == "10 remedies were begun in the fleet in the last 10 minutes, as many as may be"


CLUSTERS = st.lists(st.sampled_from(["eu", "us", "asia"]), min_size=1, max_size=2, unique=True).map(tuple)


@given(
    st.lists(st.tuples(CLUSTERS, st.booleans(), st.integers(0, 3)), max_size=80),
    st.lists(st.builds(Spent, clusters=CLUSTERS, at_ms=st.integers(NOW - 900_000, NOW), under_way=st.booleans())),
    st.integers(0, 200),
    st.builds(Limits, at_once_least=st.integers(0, 5), window_least=st.integers(0, 9)),
)
def test_it_is_never_more_than_the_budget_whoever_wants(
    asked: list[tuple[tuple[str, ...], bool, int]], spent: list[Spent], agents: int, limits: Limits
) -> None:
    wants = [want(i, *clusters, critical=grave, since_ms=at) for i, (clusters, grave, at) in enumerate(asked)]
    sizes = {"": agents, "eu": agents // 2, "us": agents // 3}
    admitted, refused = admit(wants, spent, sizes, limits, now_ms=NOW)
    assert sorted([*admitted, *refused]) == sorted(item.agent for item in wants)
    assert admit(reversed(wants), spent, sizes, limits, now_ms=NOW) == (admitted, refused)
    begun = [item for item in wants if item.agent in admitted]
    for place in ("", "eu", "us", "asia"):
        here = [item for item in begun if not place or place in item.clusters]
        before = [item for item in spent if not place or place in item.clusters]
        going = sum(item.under_way for item in before)
        recent = sum(item.under_way or NOW - item.at_ms < limits.window_ms for item in before)
        assert not here or going + len(here) <= limits.at_once(sizes.get(place, 0))
        assert not here or recent + len(here) <= limits.in_window(sizes.get(place, 0))


def found(number: int, *, failures: int = 0, since_ms: int = NOW, explained: bool = False) -> Assessment:
    state = HealthState.UNHEALTHY if failures > 2 else HealthState.DEGRADED if failures else HealthState.HEALTHY
    check = CheckState(
        name="answers",
        dimension=Dimension.CONNECTIVITY,
        state=state,
        text="",
        failures=failures,
        successes=not failures,
        since_ms=since_ms,
    )
    return Assessment(
        agent=name(number),
        at_ms=NOW,
        state=state,
        is_healthy=state is not HealthState.UNHEALTHY,
        requires_recovery=state is HealthState.UNHEALTHY,
        critical=False,
        checks=(check,),
        upstream=(name(999),) if explained else (),
    )


def fleet(red: int, well: int, **more: int | bool) -> list[Assessment]:
    return [found(i, **({"failures": 3} | more)) for i in range(red)] + [found(i + red) for i in range(well)]  # type: ignore[arg-type]


def judged(assessments: list[Assessment], before: Suspicion | None = None) -> tuple[bool, bool]:
    suspicion = suspect(tally(assessments, now_ms=NOW), before=before)
    return suspicion.remedies_stop, suspicion.alarms


@pytest.mark.parametrize(
    ("red", "well", "suspected"),
    [(55, 45, False), (56, 44, True), (4, 0, False), (RED_LEAST, 0, True), (RED_LEAST, 5, False), (6, 4, True)],
)
def test_over_55_percent_red_and_enough_of_them_casts_doubt_on_the_observer(
    red: int, well: int, *, suspected: bool
) -> None:
    assert judged(fleet(red, well)) == (suspected, suspected)


def test_remedies_stop_at_the_first_bad_sweep_and_people_are_told_when_it_lasts() -> None:
    assert judged(fleet(9, 1, failures=1)) == (True, False)
    assert judged(fleet(9, 1, failures=3)) == (True, True)


def test_what_has_long_been_red_raises_no_doubt_and_keeps_one_that_stands() -> None:
    old = fleet(9, 1, since_ms=NOW - AT_ONCE_MS)
    assert judged(old) == (False, False)
    stands = suspect(tally(fleet(9, 1), now_ms=NOW), before=None)
    assert judged(old, stands) == (True, True)
    assert judged(fleet(5, 5), stands) == (False, False)


@pytest.mark.parametrize(
    ("apart_ms", "fresh"), [(0, 9), (AT_ONCE_MS // 9, 9), (AT_ONCE_MS // 4, 4), (AT_ONCE_MS - 1, 2), (AT_ONCE_MS, 1)]
)
def test_one_that_has_just_begun_to_look_takes_for_fallen_at_once_what_fell_together_long_ago(
    apart_ms: int, fresh: int
) -> None:
    long_ago = [found(i, failures=3, since_ms=NOW - 100 * AT_ONCE_MS + i * apart_ms) for i in range(9)]
    assert tally([*reversed(long_ago), found(9)], now_ms=NOW, young=True).fresh == fresh
    assert tally(long_ago, now_ms=NOW).fresh == 0
    assert tally([found(9)], now_ms=NOW, young=True).fresh == 0


def test_what_a_dependency_explains_says_nothing_of_the_observer() -> None:
    below = [found(i, failures=3, explained=True) for i in range(1, 20)]
    assert judged([found(0, failures=3), *below, *[found(i) for i in range(20, 24)]]) == (False, False)


def test_who_was_never_measured_counts_for_nothing() -> None:
    unmeasured = [
        structs.replace(each, checks=(structs.replace(each.checks[0], successes=0), *each.checks[1:]))
        for each in (found(i) for i in range(50))
    ]
    suspicion = suspect(tally([*unmeasured, *fleet(6, 1)], now_ms=NOW), before=None)
    assert (suspicion.seen.red, suspicion.seen.measured, suspicion.remedies_stop) == (6, 7, True)


def red(number: int, of: int) -> Tally:
    return Tally(measured=of, red=number, fresh=number, ill=number)


def test_of_several_observers_each_judges_the_fleet_by_what_all_of_them_see() -> None:
    few = [red(2, 3), red(2, 3), red(2, 3)]
    assert not suspect(few[0], before=None).remedies_stop, "of so few nothing can be told"
    assert suspect(few[0], few[1:], before=None) == Suspicion(remedies_stop=True, alarms=True, seen=red(6, 9))
    well = suspect(red(4, 10), [red(8, 10)], before=None)
    assert (well.remedies_stop, well.seen) == (True, red(12, 20)), "most of the fleet fails, though not of its own part"
    assert not suspect(red(4, 10), [red(7, 10)], before=None).remedies_stop


def test_an_observer_that_alone_sees_most_of_its_part_fail_suspects_itself() -> None:
    blind = suspect(red(10, 10), [red(0, 10), red(1, 10)], before=None)
    assert blind == Suspicion(remedies_stop=True, alarms=True, seen=red(10, 10), alone=True)
    assert not suspect(red(0, 10), [red(10, 10), red(1, 10)], before=None).remedies_stop
    assert suspect(red(6, 12), [red(0, 12)], before=blind) == Suspicion(
        remedies_stop=False, alarms=False, seen=red(6, 24)
    )


PARTS = st.lists(st.integers(0, 9).flatmap(lambda of: st.integers(0, of).map(lambda some: red(some, of))), min_size=1)


@given(PARTS)
def test_where_the_fleet_as_a_whole_is_suspect_every_observer_suspects_it(parts: list[Tally]) -> None:
    whole = suspect(sum(parts, Tally()), before=None)
    for number, own in enumerate(parts):
        judged = suspect(own, [*parts[:number], *parts[number + 1 :]], before=None)
        assert judged == whole or (judged.alone and not whole.remedies_stop)

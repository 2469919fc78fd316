"""Who is told what and when: once, together, again after a while, and that it is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.alerting.deciding import MAX_GROUPS, MAX_LISTED, MAX_NAMED, REST
from reconciler.model.alert import Alert, Covers, Severity
from tests.alerting.builders import HOUR, MIN, START_MS, S, Story, alert, keys, name, route, silence

A = alert("support/triage")
B = alert("support/knowledge")
C = alert("research/miner")


def test_an_alert_is_told_once_after_the_wait_and_again_after_the_repetition() -> None:
    story = Story()
    assert story.now(A) == ()
    assert story.last is not None
    assert story.last.due_ms == START_MS + 10 * S
    assert story.later(9 * S) == ()
    (told,) = story.later(1 * S)
    assert keys(told) == ([A.key], [])
    assert (told.route, told.severity, told.fleet) == ("on-call", Severity.CRITICAL, "acme")
    assert story.last.due_ms == story.now_ms + 4 * HOUR
    assert story.later(4 * HOUR - 1) == ()
    (again,) = story.later(1)
    assert keys(again) == ([A.key], [])
    assert again.id != told.id
    assert again.group == told.group


def test_what_begins_together_is_told_together_and_what_joins_is_told_after_the_interval() -> None:
    story = Story(routes=[route(group_by=("name",))])
    story.now(A)
    (told,) = story.now(A, B, after_ms=10 * S)
    assert keys(told) == ([B.key, A.key], [])
    assert story.now(A, B, C, after_ms=1 * S) == ()
    assert story.later(58 * S) == ()
    (more,) = story.later(1 * S)
    assert keys(more) == ([C.key, B.key, A.key], [])


def test_what_is_over_is_told_to_whoever_was_told_that_it_began() -> None:
    story = Story()
    story.now(A)
    story.later(10 * S)
    assert story.now(after_ms=30 * S) == ()
    (over,) = story.later(30 * S)
    assert keys(over) == ([], [A.key])
    assert over.over
    assert over.resolved[0].alert.resolved
    assert story.groups == {}
    assert story.last is not None
    assert story.last.due_ms is None


def test_what_is_over_before_it_was_told_is_told_never() -> None:
    story = Story()
    story.now(A)
    assert story.now(after_ms=9 * S) == ()
    assert story.later(HOUR) == ()
    assert story.groups == {}


def test_a_route_that_wants_no_ends_is_told_none() -> None:
    story = Story(routes=[route(tells_ends=False, group_by=())])
    story.now(A, B)
    story.later(10 * S)
    assert story.now(A, after_ms=MIN) == ()
    assert story.now(after_ms=MIN) == ()
    assert story.groups == {}
    assert len(story.told) == 1


def test_what_gets_worse_is_news_and_what_gets_better_is_none() -> None:
    story = Story()
    story.now(replace(A, severity=Severity.WARNING))
    story.later(10 * S)
    (worse,) = story.now(A, after_ms=MIN)
    assert worse.severity is Severity.CRITICAL
    assert [one.severity for one in worse.replaced] == [Severity.WARNING]
    assert story.now(replace(A, severity=Severity.WARNING), after_ms=MIN) == ()


def test_whom_an_alert_concerns_no_more_hears_that_it_is_over() -> None:
    story = Story(routes=[route(match={"severity": "critical"})])
    story.now(A)
    story.later(10 * S)
    (over,) = story.now(replace(A, severity=Severity.WARNING), after_ms=MIN)
    assert keys(over) == ([], [A.key])


def test_a_silence_keeps_quiet_until_it_ends_and_what_ends_meanwhile_is_told_as_over() -> None:
    story = Story(silences=[silence(until_ms=START_MS + HOUR, agent=name("support/triage"))])
    assert story.now(A) == ()
    assert story.later(30 * MIN) == ()
    assert story.last is not None
    assert story.last.due_ms == START_MS + HOUR
    assert story.last.held == {A.key: "silenced by ann: we know"}
    story.later(30 * MIN)
    (told,) = story.later(10 * S)
    assert keys(told) == ([A.key], [])
    story.silences = [silence(until_ms=story.now_ms + HOUR, since_ms=story.now_ms)]
    assert story.later(5 * HOUR // 10) == ()
    (over,) = story.now(after_ms=MIN)
    assert keys(over) == ([], [A.key])


def test_a_silence_does_not_tell_that_something_is_over() -> None:
    story = Story()
    story.now(A)
    story.later(10 * S)
    story.silences = [silence(until_ms=story.now_ms + HOUR, since_ms=story.now_ms, reason="")]
    assert story.later(30 * MIN) == ()
    assert story.last is not None
    assert story.last.held == {A.key: "silenced by ann"}
    assert [group.told for group in story.groups.values()] == [{A.key: A}]


def test_what_comes_from_elsewhere_is_held_back_and_named_with_its_cause() -> None:
    down = [alert(f"team/d{number:02}", cause="support/knowledge") for number in range(15)]
    story = Story(routes=[route(group_by=("namespace",))])
    story.now(B, *down)
    (told,) = story.later(10 * S)
    assert keys(told) == ([B.key], [])
    assert [str(one) for one in told.firing[0].stands_for] == [f"team/d{number:02}" for number in range(MAX_NAMED)]
    assert told.firing[0].more == 5
    assert "team/d00" in told.text
    assert story.last is not None
    assert story.last.held[down[0].key] == "it comes from support/knowledge"


def test_what_was_held_back_is_told_when_its_cause_is_over() -> None:
    dependent = alert("team/a", cause="support/knowledge")
    story = Story()
    story.now(B, dependent)
    story.later(10 * S)
    story.now(dependent, after_ms=MIN)
    (told,) = story.later(10 * S)
    assert keys(told) == ([dependent.key], [])


def test_it_is_not_held_back_from_whom_its_cause_is_not_told() -> None:
    dependent = alert("team/a", cause="support/knowledge")
    story = Story(routes=[route(), route("of-the-team", match={"namespace": "team"})])
    story.now(B, dependent)
    told = {one.name: keys(one) for one in story.later(10 * S)}
    assert told == {"on-call": ([B.key], []), "of-the-team": ([dependent.key], [])}


def test_in_a_flood_one_message_stands_for_the_rest_until_it_is_over() -> None:
    many = [alert(f"team/a{number:03}") for number in range(MAX_GROUPS + 100)]
    story = Story(routes=[route(group_by=("agent",))])
    story.now(*many)
    told = story.later(10 * S)
    assert len(told) == MAX_GROUPS + 1
    rest = next(one for one in told if one.key == REST)
    assert (len(rest.firing), rest.more_firing) == (MAX_LISTED, 100 - MAX_LISTED)
    assert "100" in rest.title or "99 more" in rest.title
    few = many[:5] + many[-1:]
    over = story.now(*few, after_ms=MIN)
    assert sorted(one.key == REST for one in over) == [False] * (MAX_GROUPS - 5) + [True]
    ended = story.now(after_ms=MIN)
    assert all(one.over for one in ended)
    assert story.groups == {}


def test_pagerduty_is_told_of_each_alert_by_itself_and_alertmanager_of_all_at_once() -> None:
    story = Story(routes=[route("pd", "pagerduty"), route("am", "alertmanager")])
    first = story.now(A, B)
    assert [(one.route, len(one.firing)) for one in first] == [("am", 2)]
    assert first[0].lasts_ms == 15 * MIN
    assert [one.key for one in story.later(10 * S)] == [B.key, A.key]
    again = story.later(5 * MIN - 10 * S)
    assert [one.route for one in again] == ["am"]


def incident(one: Alert, fleet: str = "acme", **said: Any) -> str:
    """By what PagerDuty knows the incident of an alert that one daemon tells of."""
    story = Story(routes=[route(receiver="pagerduty", **said)], fleet=fleet)
    story.now(one)
    (told,) = story.later(MIN)
    return told.group


@pytest.mark.parametrize("by", [None, (), ("name",), ("name", "namespace"), ("severity",)])
def test_daemons_of_a_divided_fleet_tell_of_themselves_each_by_itself_and_of_an_agent_as_one(
    by: tuple[str, ...] | None,
) -> None:
    first, second = (
        alert("", name="PassesFailing", key=f"PassesFailing {seat}", daemon=seat) for seat in ("0-of-2", "1-of-2")
    )
    keys = {incident(first, group_by=by), incident(second, group_by=by), incident(A, group_by=by)}
    assert len(keys) == 3
    assert incident(A, group_by=by) == incident(replace(A, at_ms=START_MS + 5), group_by=by)
    assert incident(first, group_by=by) != incident(first, "other", group_by=by)


def test_what_has_not_arrived_is_not_said_again() -> None:
    story = Story(routes=[route(repeat="5m")])
    story.now(A)
    story.later(10 * S)
    group = next(iter(story.groups))
    assert story.later(5 * MIN, unsent=[group]) == ()
    assert len(story.later(MIN)) == 1


def test_a_clock_that_is_set_back_holds_nothing_up_for_longer() -> None:
    story = Story()
    story.now(A)
    story.later(10 * S)
    story.later(-HOUR)
    assert len(story.later(4 * HOUR)) == 1


def test_groups_of_routes_that_are_gone_are_forgotten() -> None:
    story = Story(routes=[route("a"), route("b")])
    story.now(A)
    story.later(10 * S)
    story.routes = [route("a")]
    story.later(MIN)
    assert {key for key, _group in story.groups} == {"a"}


def test_one_alert_that_stands_for_all_agents_is_told_alone() -> None:
    suspect = alert("", name="ObserverSuspected", covers=Covers.AGENTS)
    story = Story(routes=[route(group_by=())])
    story.now(A, B, suspect)
    (told,) = story.later(10 * S)
    assert keys(told) == ([suspect.key], [])


def test_ids_are_those_of_what_is_told_and_when() -> None:
    one, other = Story(), Story()
    for story in (one, other):
        story.now(A)
        story.later(10 * S)
    assert [told.id for told in one.told] == [told.id for told in other.told]


AGENTS = [f"{space}/a{number}" for space in ("x", "y") for number in range(3)]
STEPS = st.lists(
    st.tuples(st.sets(st.sampled_from(AGENTS)), st.integers(min_value=0, max_value=3 * MIN)), min_size=1, max_size=25
)


@given(steps=STEPS, quiet=st.booleans())
@settings(max_examples=60, deadline=None)
def test_whoever_was_told_of_a_beginning_is_told_of_the_end_and_nobody_of_an_end_alone(
    steps: list[tuple[set[str], int]], quiet: bool
) -> None:
    """Whatever happens: when all is over and time went by, each receiver believes what is the case."""
    story = Story(silences=[silence(namespace="x")] if quiet else [])
    believed: set[str] = set()

    def hear(notifications: object) -> None:
        assert isinstance(notifications, tuple)
        for told in notifications:
            fires, over = keys(told)
            assert set(over) <= believed, "told of an end without a beginning"
            believed.difference_update(over)
            believed.update(fires)

    for agents, after in steps:
        hear(story.now(*(alert(one) for one in sorted(agents)), after_ms=after))
    hear(story.now(after_ms=MIN))
    hear(story.later(2 * MIN))
    assert believed == set()
    assert story.groups == {}


@given(steps=STEPS)
@settings(max_examples=40, deadline=None)
def test_when_nothing_changes_for_long_enough_what_is_active_has_been_told(steps: list[tuple[set[str], int]]) -> None:
    story = Story()
    now: list[Alert] = []
    for agents, after in steps:
        now = [alert(one) for one in sorted(agents)]
        story.now(*now, after_ms=after)
    story.later(MIN)
    story.later(MIN)
    told = {key for group in story.groups.values() for key in group.told}
    assert told == {one.key for one in now}

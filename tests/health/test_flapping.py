"""What counts as flapping, when it begins and ends, and that an assessment carries it from sweep to sweep."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.health import assess
from reconciler.health.flapping import HIGH_PERCENT, LOW_PERCENT, TURNS, WEIGHTS, flaps, percent, turned
from reconciler.model.agent import Dimension, HealthCheck
from reconciler.model.health import Assessment, Evidence, HealthState
from tests.health.test_assess import ANSWERS, FAST, NAME, bad, good, health, of, run

UP, DOWN = of(ANSWERS, good()), of(ANSWERS, bad())
LOOKS = st.lists(st.booleans(), max_size=80)


def remembered(looks: list[bool]) -> int:
    turns = 0
    for changed in looks:
        turns = turned(turns, changed=changed)
    return turns


def test_the_weights_are_those_of_nagios() -> None:
    assert (WEIGHTS[0], WEIGHTS[-1], len(WEIGHTS)) == (1.25, 0.75, 20)
    assert sum(WEIGHTS) == pytest.approx(TURNS)


def test_seven_changes_of_twenty_weigh_as_their_age_says() -> None:
    """Changes at looks 3, 4, 5, 9, 12, 16 and 19 of 20: unweighted 35 %."""
    looks = [look in {3, 4, 5, 9, 12, 16, 19} for look in range(1, 21)]
    assert percent(remembered(looks)) == pytest.approx(34.2, abs=0.1)


@given(LOOKS)
def test_what_never_changes_is_at_zero_and_what_always_does_at_a_hundred(looks) -> None:
    assert 0 <= percent(remembered(looks)) <= 100.0001
    assert percent(remembered([False] * 20 + [False for _ in looks])) == 0
    assert percent(remembered([True] * 20)) == pytest.approx(100)


@given(LOOKS)
def test_only_the_last_twenty_turns_count_and_little_is_remembered(looks) -> None:
    assert remembered(looks) == remembered(looks[-TURNS:])
    assert remembered(looks) < 1 << TURNS


@given(LOOKS, st.integers(0, TURNS - 2))
def test_a_change_weighs_less_the_older_it_is(looks, age) -> None:
    recent = percent(remembered([*looks, True, *[False] * age]))
    older = percent(remembered([*looks, True, *[False] * (age + 1)]))
    assert older <= recent


@given(LOOKS)
def test_it_begins_at_the_high_threshold_and_ends_below_the_low_one(looks) -> None:
    turns, now = 0, False
    for changed in looks:
        turns, before = turned(turns, changed=changed), now
        now = flaps(turns, before=before)
        if now and not before:
            assert percent(turns) >= HIGH_PERCENT
        if before and not now:
            assert percent(turns) < LOW_PERCENT
        if LOW_PERCENT <= percent(turns) < HIGH_PERCENT:
            assert now is before


def test_an_agent_that_goes_up_and_down_flaps_until_it_has_been_quiet_for_a_while() -> None:
    found = run(health(ANSWERS), UP, *[DOWN, UP] * 3, *[UP] * 20)
    assert [each.flapping for each in found[:7]] == [*[False] * 6, True], "the sixth change is enough"
    quiet = [each.flapping for each in found[7:]]
    assert quiet.count(True) > 5
    assert quiet == sorted(quiet, reverse=True)
    assert not quiet[-1]


def test_one_outage_is_no_flapping_and_neither_is_to_become_known() -> None:
    found = run(health(ANSWERS), Evidence(), UP, *[DOWN] * 5, *[UP] * 5)
    assert {each.flapping for each in found} == {False}
    assert found[1].turns == 0


def test_an_agent_that_stays_ill_does_not_flap_any_more() -> None:
    found = run(health(ANSWERS), UP, *[DOWN, UP] * 4, *[DOWN] * 25)
    assert found[8].flapping
    assert (found[-1].flapping, found[-1].state) == (False, HealthState.UNHEALTHY)


def test_flapping_changes_none_of_the_other_facts() -> None:
    """What acts may hold off; what it is told stays the same."""
    flapping = run(health(ANSWERS, failures=1), UP, *[DOWN, UP] * 4, DOWN)[-1]
    plain = run(health(ANSWERS, failures=1), UP, DOWN)[-1]
    assert (flapping.flapping, plain.flapping) == (True, False)

    def facts(one: Assessment) -> tuple[object, ...]:
        return one.state, one.is_healthy, one.requires_recovery, one.critical

    assert facts(flapping) == facts(plain)


@settings(deadline=None)
@given(st.lists(st.sampled_from("+-."), max_size=50))
def test_what_is_not_measured_is_no_look(history: list[str]) -> None:
    sweeps = {"+": UP, "-": DOWN, ".": Evidence()}
    with_gaps = run(health(ANSWERS), *(sweeps[each] for each in history))
    without = run(health(ANSWERS), *(sweeps[each] for each in history if each != "."))
    assert [each.measured for each in with_gaps] == [mark != "." for mark in history]
    measured = [each for each in with_gaps if each.measured]
    assert [(each.turns, each.flapping) for each in measured] == [(each.turns, each.flapping) for each in without]


def test_an_assessment_says_how_long_answers_took_of_calls_that_are_bounded_or_else_of_any() -> None:
    both = Evidence(samples={ANSWERS.name: (good(5), bad()), FAST.name: (good(7), good(9))})
    assert run(health(ANSWERS, FAST), both)[0].latencies_ms == (7, 9)
    assert run(health(ANSWERS), both)[0].latencies_ms == (5,)
    assert run(health(), both)[0].latencies_ms == ()


def test_a_check_knows_when_it_was_last_seen_well() -> None:
    found = run(health(ANSWERS), DOWN, UP, UP, DOWN, Evidence(), DOWN)
    assert [each.checks[0].well_ms for each in found] == [0, 1000, 2000, 2000, 2000, 2000]


def test_it_is_carried_whatever_checks_come_and_go() -> None:
    card = HealthCheck(name="card", dimension=Dimension.CARD)
    before = run(health(ANSWERS), UP, *[DOWN, UP] * 3)[-1]
    after = assess(NAME, health(ANSWERS, card), UP, previous=before, now_ms=99)
    assert after.flapping

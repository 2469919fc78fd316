"""Which assessments are worth keeping, and that one goes on from what was kept as if nothing had been between."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.health import assess
from reconciler.health.changes import MAX_TEXT, change_between, change_to, lapse, recalled
from reconciler.model.health import Assessment, Evidence, HealthState, PodFacts
from reconciler.model.series import UP, HealthChange
from tests.health.test_assess import ANSWERS, FAST, NAME, bad, good, health, of, run

H, D, U, X = HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY, HealthState.UNKNOWN
UP_, DOWN = of(ANSWERS, good()), of(ANSWERS, bad())


def kept(found: list[Assessment]) -> list[HealthChange]:
    pairs = zip([None, *found], found, strict=False)
    return [change for before, now in pairs if (change := change_between(before, now)) is not None]


def test_what_stays_as_it_is_is_not_kept() -> None:
    found = run(health(ANSWERS), Evidence(), UP_, UP_, *[DOWN] * 5, UP_, UP_)
    assert [(change.was, change.state) for change in kept(found)] == [(X, H), (H, D), (D, U), (U, H)]


def test_a_change_for_the_worse_says_what_was_seen_and_when_it_was_last_seen_well() -> None:
    changes = kept(run(health(ANSWERS), UP_, UP_, *[DOWN] * 3))
    assert changes[-1].text == "answers: 1 of 1 do not answer; p1: Connection refused"
    assert (changes[-1].well_ms, changes[-1].at_ms) == (1000, 4000)
    assert [change.well_ms for change in changes[:-1]] == [0, 0]


def test_what_was_never_seen_well_says_so() -> None:
    (change,) = kept(run(health(ANSWERS), *[DOWN] * 3))
    assert (change.was, change.state, change.well_ms) == (X, U, 0)


def test_another_cause_of_the_same_state_is_kept() -> None:
    crashing = Evidence(samples={ANSWERS.name: (bad(),)}, pods=PodFacts(wanted=1, ready=0))
    changes = kept(run(health(ANSWERS), UP_, *[DOWN] * 3, *[crashing] * 3))
    assert [(change.was, change.state) for change in changes[-2:]] == [(D, U), (U, U)]
    assert "0 of 1 pods ready" in changes[-1].text
    assert changes[-1].well_ms == 0, "it is no new outage"


def test_of_what_flaps_only_that_is_kept_which_goes_down_or_comes_back_and_the_end_of_it() -> None:
    found = run(health(ANSWERS), UP_, *[DOWN, UP_] * 10, *[DOWN] * 4, *[UP_] * 20)
    changes = kept(found)
    flapping = [change for change in changes if change.flapping]
    assert [(change.was in UP, change.state in UP) for change in flapping] == [
        (True, True),
        (True, False),
        (False, True),
    ]
    assert changes[-1] is kept(found)[-1] or not changes[-1].flapping
    assert len(changes) < len(found) / 3


def test_text_is_bounded() -> None:
    long = change_to(run(health(ANSWERS, failures=1), of(ANSWERS, bad("x" * 5000)))[0], H)
    assert len(long.text) == MAX_TEXT


def test_a_lapse_is_of_state_unknown() -> None:
    made = lapse(NAME, H, at_ms=5, text="nobody looked")
    assert (made.state, made.was, made.at_ms, made.checks) == (X, H, 5, ())


def test_of_what_nobody_looks_at_nothing_is_recalled() -> None:
    assert recalled([lapse(NAME, H, at_ms=5, text="")]) == {}


@settings(deadline=None)
@given(st.lists(st.sampled_from("+-."), max_size=30), st.lists(st.sampled_from("+-."), min_size=1, max_size=8))
def test_a_restart_is_not_seen_in_the_states_but_for_how_many_failures_were_counted(
    before: list[str], after: list[str]
) -> None:
    """A daemon that goes on from what is on record tells no change that one that never stopped would not tell, too."""
    rules, sweeps = health(ANSWERS, FAST, failures=1), {"+": UP_, "-": DOWN, ".": Evidence()}
    found = run(rules, *(sweeps[each] for each in before))
    changes = kept(found)
    one, other = (found[-1] if found else None), dict(recalled(changes[-1:])).get(NAME)
    if one is None or (one.flapping and one.state is not changes[-1].state):
        return
    for mark in after:
        one = assess(NAME, rules, sweeps[mark], previous=one, now_ms=99)
        other = assess(NAME, rules, sweeps[mark], previous=other, now_ms=99)
        assert (one.state, one.is_healthy) == (other.state, other.is_healthy)


def test_who_is_recalled_as_ill_needs_recovery_only_when_a_sweep_finds_it_so() -> None:
    (change,) = kept(run(health(ANSWERS, failures=1), UP_, DOWN))[1:]
    stood = recalled([change])[NAME]
    assert (stood.state, stood.is_healthy, stood.requires_recovery, stood.measured) == (U, False, False, False)
    assert assess(NAME, health(ANSWERS), DOWN, previous=stood, now_ms=9).requires_recovery
    assert not assess(NAME, health(ANSWERS), UP_, previous=stood, now_ms=9).requires_recovery


def test_flapping_is_recalled() -> None:
    last = run(health(ANSWERS), UP_, *[DOWN, UP_] * 4)[-1]
    stood = recalled([change_to(last, D)])[NAME]
    assert (stood.flapping, stood.turns) == (True, last.turns)
    assert replace(stood, checks=()) != replace(last, checks=())

"""The ladder: which remedy comes when, that its pauses reach their cap exactly, and that it always ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from reconciler.health.ladder import (
    A_DAY,
    DAY_MS,
    Case,
    Leave,
    Note,
    Noted,
    Rest,
    Take,
    Wait,
    because,
    ceiling_ms,
    decide,
    ended,
    ill_since_ms,
    next_remedy,
    pause_ms,
    sequence,
    spell_ms,
)
from reconciler.model.agent import Backoff, Dimension, Health, Recovery, Remedy
from reconciler.model.health import Assessment, CheckState, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.recovery import KEPT, Ended, RecoveryState, Taken
from reconciler.model.units import Duration

NAME = AgentName(namespace="support", name="triage")
OTHER = AgentName(namespace="support", name="knowledge")
REPROBE, RESTART, RESCHEDULE, ROLLBACK, QUARANTINE = Remedy
SPEC = "ab" * 32
BEGAN = 1_000_000_000


def ms(value: int) -> Duration:
    return Duration.parse(f"{value}ms")


def recovery(
    *ladder: Remedy, attempts: int = 5, initial: int = 10_000, factor: float = 2.0, most: int = 300_000
) -> Recovery:
    backoff = Backoff(initial=ms(initial), factor=factor, max=ms(most))
    return Recovery(ladder=ladder or (RESTART, ROLLBACK, QUARANTINE), backoff=backoff, attempts=attempts)


def health(failures: int = 3) -> Health:
    return Health(interval=Duration.parse("30s"), failure_threshold=failures)


def found(state: HealthState = HealthState.UNHEALTHY, **more: Any) -> Assessment:
    check = CheckState(
        name="answers", dimension=Dimension.CONNECTIVITY, state=state, text="1 of 1 do not answer", since_ms=BEGAN - 5
    )
    facts: dict[str, Any] = {
        "is_healthy": state is HealthState.HEALTHY,
        "requires_recovery": state is HealthState.UNHEALTHY,
        "critical": False,
        "checks": (check,),
    }
    return Assessment(agent=NAME, at_ms=BEGAN, state=state, **facts | more)


def case(state: RecoveryState | None = None, **more: Any) -> Case:
    facts: dict[str, Any] = {
        "recovery": recovery(),
        "health": health(),
        "assessment": found(),
        "spec_hash": SPEC,
        "settled": True,
        "quarantined": False,
        "looks": 3,
        "now_ms": BEGAN,
    }
    return Case(state=state, **facts | more)


def after(*remedies: Remedy, how: Ended = Ended.DONE, **more: Any) -> RecoveryState:
    """The state of an illness in which these were taken and have ended."""
    taken = tuple(
        Taken(remedy=remedy, at_ms=BEGAN - 60_000, because="x", ended=how, ended_ms=BEGAN - 50_000)
        for remedy in remedies
    )
    facts: dict[str, Any] = {"spec_hash": SPEC, "since_ms": BEGAN - 90_000, "step": len(remedies), "taken": taken}
    return RecoveryState(**facts | more)


class TestSequence:
    @pytest.mark.parametrize(
        ("ladder", "attempts", "wanted"),
        [
            ((RESTART, ROLLBACK, QUARANTINE), 5, (RESTART, RESTART, RESTART, ROLLBACK, QUARANTINE)),
            ((RESTART, ROLLBACK, QUARANTINE), 3, (RESTART, ROLLBACK, QUARANTINE)),
            ((RESTART, ROLLBACK, QUARANTINE), 2, (RESTART, ROLLBACK)),
            ((RESTART, ROLLBACK, QUARANTINE), 0, ()),
            ((REPROBE, RESTART, RESCHEDULE), 6, (REPROBE, RESTART, RESTART, RESTART, RESCHEDULE, RESCHEDULE)),
            ((ROLLBACK, QUARANTINE), 9, (ROLLBACK, QUARANTINE)),
            ((RESTART, ROLLBACK, RESTART, ROLLBACK), 4, (RESTART, RESTART, ROLLBACK, RESTART)),
            ((QUARANTINE, RESTART), 9, (QUARANTINE,)),
        ],
    )
    def test_remedies_come_along_the_ladder_and_fill_up_the_attempts(
        self, ladder: tuple[Remedy, ...], attempts: int, wanted: tuple[Remedy, ...]
    ) -> None:
        assert sequence(recovery(*ladder, attempts=attempts)) == wanted

    @given(st.lists(st.sampled_from(Remedy), min_size=1, max_size=5), st.integers(0, 40))
    def test_it_never_goes_back_down_repeats_nothing_that_comes_once_and_keeps_to_its_attempts(
        self, ladder: list[Remedy], attempts: int
    ) -> None:
        made = sequence(recovery(*ladder, attempts=attempts))
        assert len(made) <= attempts
        for once in (REPROBE, ROLLBACK, QUARANTINE):
            assert made.count(once) <= 1
        assert QUARANTINE not in made[:-1]
        places = iter(ladder)
        last: Remedy | None = None
        for remedy in made:  # each is the one before, or further along the ladder
            assert remedy is last or remedy in places
            last = remedy


class TestPauses:
    def test_the_ceiling_grows_and_is_the_cap_exactly_from_then_on(self) -> None:
        backoff = recovery().backoff
        assert [ceiling_ms(backoff, step) // 1000 for step in range(1, 9)] == [10, 20, 40, 80, 160, 300, 300, 300]

    def test_a_first_wait_over_the_longest_is_the_longest_and_a_factor_of_one_stays(self) -> None:
        assert ceiling_ms(recovery(initial=9000, most=4000).backoff, 1) == 4000
        assert ceiling_ms(recovery(factor=1.0).backoff, 1000) == 10_000

    @given(st.integers(1, 10**6), st.floats(1, 100), st.integers(1, 10**7), st.integers(1, 1000), st.floats(0, 1))
    def test_a_pause_is_any_part_of_a_ceiling_that_never_falls_nor_passes_the_cap(
        self, initial: int, factor: float, most: int, step: int, chance: float
    ) -> None:
        backoff = recovery(initial=initial, factor=factor, most=most).backoff
        assert (
            0 <= pause_ms(backoff, step, chance) <= ceiling_ms(backoff, step) <= ceiling_ms(backoff, step + 1) <= most
        )
        assert pause_ms(backoff, step, 1.0) == ceiling_ms(backoff, step)
        assert pause_ms(backoff, step, 0.0) == 0

    @given(st.integers(1, 10**4), st.floats(1.1, 100), st.integers(1, 10**6))
    def test_every_cap_is_reached(self, initial: int, factor: float, most: int) -> None:
        assert ceiling_ms(recovery(initial=initial, factor=factor, most=most).backoff, 200) == most


class TestWell:
    def test_of_an_agent_that_was_never_ill_nothing_is_written(self) -> None:
        assert decide(case(assessment=found(HealthState.HEALTHY))) == Rest()
        forgotten = RecoveryState(spec_hash=SPEC, taken=after(RESTART).taken)
        assert decide(case(forgotten, assessment=found(HealthState.HEALTHY))) == Rest()

    def test_getting_well_is_noted_once_and_forgotten_after_a_spell_exactly(self) -> None:
        rules, well = recovery(), found(HealthState.HEALTHY)
        first = decide(case(after(RESTART), assessment=well))
        assert isinstance(first, Note)
        assert (first.what, first.state.well_ms, first.state.step) == (Noted.WELL, BEGAN, 1)
        over = BEGAN + spell_ms(rules)
        assert spell_ms(rules) == 600_000
        assert decide(case(first.state, assessment=well, now_ms=over - 1)) == Rest()
        forgotten = decide(case(first.state, assessment=well, now_ms=over))
        assert isinstance(forgotten, Note)
        assert forgotten.what is Noted.FORGOTTEN
        assert (forgotten.state.step, forgotten.state.since_ms, forgotten.state.due_ms) == (0, 0, 0)
        assert forgotten.state.taken == after(RESTART).taken, "people still see it, and a day's count needs it"
        assert decide(case(forgotten.state, assessment=well, now_ms=over)) == Rest()

    def test_what_was_left_to_people_gets_well_too(self) -> None:
        note = decide(case(after(RESTART, left=True), assessment=found(HealthState.HEALTHY)))
        assert isinstance(note, Note)
        assert note.state.left

    def test_a_record_that_says_degraded_of_what_is_over_is_set_right_once_it_is_surely_well(self) -> None:
        well = found(HealthState.HEALTHY)
        mended = Note(what=Noted.MENDED, state=RecoveryState(spec_hash=SPEC), runs=True)
        assert decide(case(assessment=well, degraded=True)) == mended
        assert decide(case(assessment=well, degraded=True, looks=0)) == Rest(), "measured before it was written"
        assert decide(case(assessment=structs.replace(well, measured=False), degraded=True)) == Rest()
        failing = structs.replace(well, state=HealthState.DEGRADED)
        assert decide(case(assessment=failing, degraded=True)) == Rest(), "it fails, and not often enough yet"

    def test_it_is_set_right_with_the_end_of_an_illness_and_after_it(self) -> None:
        well = found(HealthState.HEALTHY)
        first = decide(case(after(RESTART), assessment=well, degraded=True))
        assert isinstance(first, Note)
        assert (first.what, first.runs) == (Noted.WELL, True)
        again = decide(case(first.state, assessment=well, degraded=True, now_ms=BEGAN + 1))
        assert again == Note(what=Noted.MENDED, state=first.state, runs=True)

    def test_a_spell_that_another_clock_began_begins_again(self) -> None:
        state = after(RESTART, well_ms=BEGAN + 10**9)
        note = decide(case(state, assessment=found(HealthState.HEALTHY)))
        assert note == Note(what=Noted.WELL, state=replace(state, well_ms=BEGAN))


class TestIll:
    def test_the_first_remedy_comes_at_once_and_says_why(self) -> None:
        step = decide(case())
        assert isinstance(step, Take)
        assert step.remedy is RESTART
        assert (step.state.step, step.state.since_ms, step.state.spec_hash) == (1, BEGAN - 5, SPEC)
        going = step.state.under_way
        assert going == Taken(remedy=RESTART, at_ms=BEGAN, because="answers: 1 of 1 do not answer")

    def test_after_a_remedy_it_is_watched_then_paused_and_then_the_next_comes(self) -> None:
        state = after(RESTART, due_ms=BEGAN + 10_000)
        watched = decide(case(state, looks=2))
        assert isinstance(watched, Wait)
        assert (watched.remedy, watched.until_ms) == (RESTART, 0)
        assert "whether the restart has helped" in watched.text
        paused = decide(case(state))
        assert isinstance(paused, Wait)
        assert paused.until_ms == BEGAN + 10_000
        assert isinstance(decide(case(state, now_ms=BEGAN + 10_000)), Take)

    def test_one_that_was_changed_a_moment_ago_is_watched_first(self) -> None:
        watched = decide(case(looks=2))
        assert isinstance(watched, Wait)
        assert watched.text == "it was changed, and is watched first"

    def test_a_pause_that_another_clock_set_is_not_waited_for(self) -> None:
        assert isinstance(decide(case(after(RESTART, due_ms=BEGAN + 10**9))), Take)

    def test_a_relapse_goes_on_where_it_was_and_is_noted_while_it_waits(self) -> None:
        state = after(RESTART, RESTART, well_ms=BEGAN - 1000, due_ms=BEGAN + 1000)
        note = decide(case(state))
        assert note == Note(what=Noted.RELAPSED, state=replace(state, well_ms=0))
        step = decide(case(state, now_ms=BEGAN + 1000))
        assert isinstance(step, Take)
        assert (step.state.step, step.state.well_ms) == (3, 0)

    def test_one_rollback_and_then_quarantine(self) -> None:
        three = after(RESTART, RESTART, RESTART)
        assert next_remedy(recovery(), three, quarantined=False) is ROLLBACK
        step = decide(case(three, quarantined=True))
        assert isinstance(step, Take)
        assert step.remedy is QUARANTINE, "what was rolled back is not rolled back further"

    def test_one_that_flaps_is_restarted_once_then_rolled_back_then_quarantined(self) -> None:
        flaps, state, now = found(flapping=True), None, BEGAN
        taken: dict[Remedy, int] = {}
        while not isinstance(
            step := decide(case(state, assessment=flaps, now_ms=now, quarantined=ROLLBACK in taken)), Rest
        ):
            if isinstance(step, Wait):
                now = step.until_ms
                continue
            assert isinstance(step, Take)
            taken[step.remedy] = now - BEGAN
            state = ended(step.state, recovery(), Ended.DONE, "", at_ms=now, chance=0.0)
        assert taken == {RESTART: 0, ROLLBACK: 70_000, QUARANTINE: 70_000}, "no sooner than after two more restarts"

    def test_what_is_passed_over_because_it_flaps_is_waited_for_no_longer_than_the_longest_pause(self) -> None:
        flaps, state = found(flapping=True), after(RESTART)
        paused = decide(case(state, assessment=flaps))
        assert isinstance(paused, Wait)
        assert (paused.remedy, paused.until_ms) == (ROLLBACK, state.taken[-1].ended_ms + 10_000 + 20_000 + 40_000)
        assert isinstance(decide(case(state, assessment=flaps, recovery=recovery(most=50_000))), Take)

    def test_where_only_more_restarts_are_left_one_that_flaps_waits_until_it_stays_one_way(self) -> None:
        rules, state = recovery(RESTART, RESCHEDULE), after(RESTART, RESTART, RESTART, RESCHEDULE)
        rest = decide(case(state, recovery=rules, assessment=found(flapping=True)))
        assert rest == Rest(text="it flaps: it was mended as its ladder says, and is left until it stays one way")
        step = decide(case(state, recovery=rules, assessment=found()))
        assert isinstance(step, Take)
        assert step.remedy is RESCHEDULE
        over = after(*sequence(rules))
        assert isinstance(decide(case(over, recovery=rules, assessment=found(flapping=True))), Leave)

    @pytest.mark.parametrize("state", [after(RESTART, RESTART, RESTART), after(*sequence(recovery())[:4])])
    def test_a_spec_is_not_judged_while_another_one_is_declared(self, state: RecoveryState) -> None:
        step = decide(case(state, settled=False))
        assert isinstance(step, Wait)
        assert step.remedy in {ROLLBACK, QUARANTINE}
        assert isinstance(decide(case(after(RESTART), settled=False)), Take)

    def test_an_agent_that_something_else_explains_is_not_touched(self) -> None:
        explained = found(is_healthy=False, requires_recovery=False, upstream=(OTHER,))
        for state in (None, after(RESTART)):
            assert decide(case(state, assessment=explained)) == Rest(
                text="explained by support/knowledge: nothing is done to it for that"
            )

    def test_neither_is_one_that_no_remedy_mends_or_that_was_not_measured(self) -> None:
        slow = structs.replace(found().checks[0], dimension=Dimension.PERFORMANCE)
        assert decide(case(assessment=found(requires_recovery=False, checks=(slow,)))) == Rest(
            text="no remedy mends what it has"
        )
        assert decide(case(assessment=found(requires_recovery=False))) == Rest(
            text="what it has could not be measured just now"
        )
        assert decide(case(assessment=found(HealthState.UNKNOWN))) == Rest()

    def test_when_nothing_is_left_people_are_told_once_and_after_the_last_was_watched(self) -> None:
        rules = recovery(RESTART, attempts=2)
        state = after(RESTART, RESTART)
        watched = decide(case(state, recovery=rules, looks=0))
        assert isinstance(watched, Wait)
        assert watched.remedy is None
        left = decide(case(state, recovery=rules))
        assert isinstance(left, Leave)
        assert "after 2 of 2 remedies" in left.text
        assert decide(case(left.state, recovery=rules)) == Rest(
            text="nothing is left of its ladder: it is left to people"
        )

    def test_a_ladder_without_attempts_only_tells(self) -> None:
        left = decide(case(recovery=recovery(attempts=0)))
        assert isinstance(left, Leave)
        assert left.text == "it is unhealthy, and its ladder has no remedies"

    def test_another_spec_begins_at_the_first_rung(self) -> None:
        step = decide(case(after(RESTART, RESTART, RESTART, left=True), spec_hash="other"))
        assert isinstance(step, Take)
        assert (step.remedy, step.state.step, step.state.spec_hash) == (RESTART, 1, "other")
        assert len(step.state.taken) == 1


class TestInterrupted:
    def test_a_remedy_that_nobody_is_at_any_more_counts_and_is_said_to_be_interrupted(self) -> None:
        going = replace(after(RESTART, how=Ended.UNDER_WAY), since_ms=BEGAN)
        note = decide(case(going))
        assert isinstance(note, Note)
        assert note.what is Noted.INTERRUPTED
        assert note.state.under_way is None
        assert note.state.taken[-1].ended is Ended.INTERRUPTED
        assert (note.state.step, note.state.due_ms) == (1, BEGAN + 10_000)

    def test_a_rollback_that_came_to_its_end_without_us_keeps_its_place(self) -> None:
        going = after(RESTART, ROLLBACK)
        going = replace(going, taken=(going.taken[0], replace(going.taken[1], ended=Ended.UNDER_WAY)))
        note = decide(case(going, spec_hash="the good one", quarantined=True))
        assert isinstance(note, Note)
        assert (note.state.spec_hash, note.state.step) == ("the good one", 2)
        gone = decide(case(replace(going, taken=going.taken[:1]), spec_hash="the good one"))
        assert isinstance(gone, Take)
        assert gone.state.step == 1, "with no rollback of ours it is another spec"


def test_a_quarantine_ends_the_ladder() -> None:
    rules = recovery()
    state = after(RESTART, QUARANTINE)
    state = replace(state, taken=(*state.taken[:-1], replace(state.taken[-1], ended=Ended.UNDER_WAY)))
    assert ended(state, rules, Ended.DONE, "", at_ms=BEGAN, chance=0).left
    assert not ended(state, rules, Ended.FAILED, "", at_ms=BEGAN, chance=0).left


def test_what_is_told_is_what_is_critical_and_bounded() -> None:
    checks = (
        CheckState(name="a", dimension=Dimension.CARD, state=HealthState.UNHEALTHY, text="x", critical=False),
        CheckState(name="b", dimension=Dimension.LIFECYCLE, state=HealthState.UNHEALTHY, text="y" * 900, since_ms=7),
        CheckState(name="c", dimension=Dimension.LIFECYCLE, state=HealthState.UNHEALTHY, text="z", since_ms=3),
    )
    told = found(checks=checks)
    assert because(told).startswith("b: yyy")
    assert len(because(told)) == 400
    assert ill_since_ms(told) == 3
    assert ill_since_ms(found(checks=())) == BEGAN


@dataclass
class Life:
    """One agent over time: what measurements say, and all remedies that are taken."""

    rules: Recovery
    chance: float = 1.0
    state: RecoveryState | None = None
    now_ms: int = BEGAN
    looks: int = 99
    took: list[tuple[int, Remedy]] = field(default_factory=list)
    written: int = 0
    left: int = 0
    quarantined: bool = False

    def sweep(self, state: HealthState, *, every_ms: int = 30_000) -> None:
        self.now_ms += every_ms
        self.looks += 1
        match decide(
            case(
                self.state,
                recovery=self.rules,
                assessment=found(state),
                looks=self.looks,
                now_ms=self.now_ms,
                quarantined=self.quarantined,
            )
        ):
            case Take(remedy=remedy, state=begun):
                self.took.append((self.now_ms, remedy))
                self.state = ended(begun, self.rules, Ended.DONE, "", at_ms=self.now_ms, chance=self.chance)
                self.quarantined |= remedy in {ROLLBACK, QUARANTINE}
                self.looks, self.written = 0, self.written + 1
            case Note(state=noted):
                self.state, self.written = noted, self.written + 1
            case Leave(state=given_up):
                self.state, self.left, self.written = given_up, self.left + 1, self.written + 1
            case _:
                pass


SWEEPS = st.lists(st.sampled_from([HealthState.HEALTHY, HealthState.UNHEALTHY, HealthState.UNKNOWN]), max_size=400)
RULES = st.builds(
    recovery,
    st.sampled_from(Remedy),
    st.sampled_from(Remedy),
    st.sampled_from(Remedy),
    attempts=st.integers(0, 8),
    initial=st.integers(1, 60_000),
    most=st.integers(1, 600_000),
)


@given(RULES, SWEEPS, st.floats(0, 1))
def test_whatever_is_measured_a_life_is_the_same_again_and_never_over_its_budget(
    rules: Recovery, sweeps: list[HealthState], chance: float
) -> None:
    lives = [Life(rules=rules, chance=chance), Life(rules=rules, chance=chance)]
    for life in lives:
        for state in sweeps:
            life.sweep(state)
    first, second = lives
    assert (first.took, first.state, first.written) == (second.took, second.state, second.written)
    acts = [at for at, remedy in first.took if remedy in {RESTART, RESCHEDULE, ROLLBACK}]
    assert len([at for at in acts if first.now_ms - at < DAY_MS]) <= A_DAY * rules.attempts
    kept = first.state.taken if first.state else ()
    assert len(kept) <= KEPT
    assert first.written <= len(first.took) + sum(a is not b for a, b in zip(sweeps, [None, *sweeps], strict=False)) + 2


@given(RULES, st.integers(30, 200))
def test_who_stays_ill_goes_up_the_ladder_once_and_is_left_to_people_once(rules: Recovery, sweeps: int) -> None:
    life = Life(rules=rules, chance=0.0)
    for _ in range(sweeps):
        life.sweep(HealthState.UNHEALTHY)
    wanted = [remedy for remedy in sequence(rules) if remedy is not ROLLBACK or not life.quarantined]
    assert [remedy for _, remedy in life.took if remedy is not ROLLBACK] == [r for r in wanted if r is not ROLLBACK]
    assert life.left == (QUARANTINE not in wanted)
    before = life.written
    for _ in range(50):
        life.sweep(HealthState.UNHEALTHY)
    assert life.written == before


def test_pauses_between_remedies_are_those_of_the_back_off() -> None:
    life = Life(rules=recovery(RESTART, attempts=9, initial=100_000, most=1_000_000))
    for _ in range(12_000):
        life.sweep(HealthState.UNHEALTHY, every_ms=1000)
    times = [at for at, _ in life.took]
    assert [b - a for a, b in pairwise(times)] == [
        100_000, 200_000, 400_000, 800_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000,
    ]  # fmt: skip


def test_one_that_flaps_faster_than_a_spell_goes_up_the_ladder_and_ends_in_quarantine() -> None:
    life = Life(rules=recovery())
    for turn in range(400):
        life.sweep(HealthState.UNHEALTHY if turn % 8 < 4 else HealthState.HEALTHY)
    assert [remedy for _, remedy in life.took] == [RESTART, RESTART, RESTART, ROLLBACK, QUARANTINE]


def test_one_that_falls_ill_after_each_spell_is_not_restarted_for_ever() -> None:
    life = Life(rules=recovery())
    for _ in range(100):
        for state in (*[HealthState.UNHEALTHY] * 4, *[HealthState.HEALTHY] * 25):
            life.sweep(state)
    remedies = [remedy for _, remedy in life.took]
    assert remedies == [RESTART] * (A_DAY * 5) + [QUARANTINE]


@pytest.mark.parametrize(("attempts", "most"), [(12, 2 * 12), (20, KEPT)])
def test_probes_in_between_do_not_make_what_it_had_in_a_day_forgotten(attempts: int, most: int) -> None:
    life = Life(rules=recovery(REPROBE, RESTART, attempts=attempts))
    for _ in range(60):
        for state in (*[HealthState.UNHEALTHY] * 4, *[HealthState.HEALTHY] * 25):
            life.sweep(state)
            kept = life.state.taken if life.state else ()
            assert len(kept) <= KEPT
            assert list(kept) == sorted(kept, key=lambda item: item.at_ms)
    assert life.now_ms - BEGAN < DAY_MS
    assert [remedy for _, remedy in life.took].count(RESTART) == most


def test_of_remedies_that_are_kept_the_oldest_probe_goes_first_and_never_the_one_that_is_taken() -> None:
    spread = [RESTART, REPROBE, *[RESTART] * (KEPT - 3), REPROBE]
    step = decide(case(after(*spread, since_ms=0, step=0), recovery=recovery(REPROBE, attempts=40)))
    assert isinstance(step, Take)
    assert [item.remedy for item in step.state.taken] == [*[RESTART] * (KEPT - 2), REPROBE, REPROBE]
    acts = replace(after(*[RESTART] * KEPT), since_ms=0, step=0)
    old = replace(acts, taken=tuple(replace(item, at_ms=BEGAN - DAY_MS) for item in acts.taken))
    step = decide(case(old, recovery=recovery(REPROBE, attempts=40)))
    assert isinstance(step, Take)
    assert [item.remedy for item in step.state.taken] == [*[RESTART] * (KEPT - 1), REPROBE]


def test_without_a_quarantine_it_is_left_to_people_until_the_day_is_over() -> None:
    life = Life(rules=recovery(RESTART, attempts=1))
    for _ in range(10):
        for state in (*[HealthState.UNHEALTHY] * 4, *[HealthState.HEALTHY] * 25):
            life.sweep(state)
    assert len(life.took) == A_DAY
    life.sweep(HealthState.HEALTHY, every_ms=DAY_MS)
    life.sweep(HealthState.UNHEALTHY)
    assert len(life.took) == A_DAY + 1

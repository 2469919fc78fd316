"""What is an alert: what begins one, what ends it, and what does neither."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from reconciler.alerting import raising as made
from reconciler.alerting.masking import masked
from reconciler.alerting.raising import Known, of_clusters, of_end, of_health, of_plan, of_state
from reconciler.model.agent import Dimension, Remedy
from reconciler.model.alert import Alert, Covers, Severity
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.health import Assessment, CheckState, HealthState
from reconciler.model.plan import Action, Completeness, Hold, HoldCode, Plan
from reconciler.model.recovery import RecoveryState, Taken
from reconciler.model.registry import AgentState, Quarantine
from reconciler.model.source import Diagnostic, Position
from reconciler.model.source import Severity as Weight
from tests.alerting.builders import MIN, START_MS, alert, name
from tests.daemon.test_wakes import change
from tests.daemon.test_wakes import plan as empty_plan
from tests.placement.builders import agent, record

TRIAGE = name("support/triage")
DECLARED = replace(
    agent("support/triage", labels={"team": "a"}),
    document={"env": [{"name": "TOKEN", "value": "hunter2hunter2"}, {"name": "X", "value": "plain"}]},
    sensitive=(("env", "[TOKEN]", "value"),),
)


def known(state: AgentState = AgentState.RUNNING, **where: int) -> Known:
    return Known(agents={TRIAGE: DECLARED}, records={TRIAGE: record(DECLARED, where or {"eu": 2}, state=state)})


def assessed(
    state: HealthState, *, critical: bool = False, upstream: Iterable[str] = (), text: str = "", flapping: bool = False
) -> Assessment:
    check = CheckState(name="answers", dimension=Dimension.CONNECTIVITY, state=state, text=text)
    return Assessment(
        agent=TRIAGE, at_ms=START_MS, state=state, is_healthy=state is HealthState.HEALTHY,
        requires_recovery=False, critical=critical, checks=(check,), upstream=tuple(map(name, upstream)),
        flapping=flapping,
    )  # fmt: skip


def active(*alerts: Alert) -> dict[str, Alert]:
    return {one.key: one for one in alerts}


def test_an_agent_that_is_unhealthy_is_an_alert_with_what_is_known_of_it() -> None:
    found = {
        TRIAGE: assessed(HealthState.UNHEALTHY, critical=True, upstream=["x/b", "x/a"], text="no TOKEN hunter2hunter2")
    }
    (one,) = of_health(found, known(), {}, START_MS)
    assert (one.key, one.name, one.severity) == ("AgentUnhealthy support/triage", "AgentUnhealthy", Severity.CRITICAL)
    assert (one.agent, one.cause, one.labels, one.cluster) == (TRIAGE, name("x/b"), {"team": "a"}, "eu")
    assert "answers" in one.text
    assert "hunter2" not in one.text
    assert of_health(found, known(), active(one), START_MS + MIN) == ()


def test_in_two_clusters_it_is_of_none() -> None:
    (one,) = of_health({TRIAGE: assessed(HealthState.UNHEALTHY)}, known(eu=1, us=1), {}, START_MS)
    assert (one.cluster, one.severity) == ("", Severity.WARNING)


def test_of_an_agent_that_nothing_is_known_of_it_is_an_alert_all_the_same() -> None:
    (one,) = of_health({TRIAGE: assessed(HealthState.UNHEALTHY)}, Known(agents={}, records={}), {}, START_MS)
    assert (one.agent, one.labels, one.cluster) == (TRIAGE, {}, "")
    (labelled,) = of_health(
        {TRIAGE: assessed(HealthState.UNHEALTHY)}, Known(agents={}, records=known().records), {}, START_MS
    )
    assert labelled.labels == {"team": "a"}


def test_while_it_is_changed_nothing_begins_and_what_began_before_goes_on() -> None:
    found = {TRIAGE: assessed(HealthState.UNHEALTHY, critical=True)}
    assert of_health(found, known(AgentState.DEPLOYING), {}, START_MS) == ()
    before = replace(alert(severity="warning"), labels={"team": "a"}, cluster="eu")
    (worse,) = of_health(found, known(AgentState.DEPLOYING), active(before), START_MS + MIN)
    assert (worse.severity, worse.at_ms) == (Severity.CRITICAL, START_MS)


@pytest.mark.parametrize("state", [HealthState.HEALTHY, HealthState.DEGRADED])
def test_one_that_is_not_unhealthy_any_more_is_over(state: HealthState) -> None:
    (over,) = of_health({TRIAGE: assessed(state)}, known(), active(alert()), START_MS)
    assert over.resolved
    assert of_health({TRIAGE: assessed(state)}, known(), {}, START_MS) == ()


def test_what_is_not_known_neither_begins_nor_ends_anything() -> None:
    found = {TRIAGE: assessed(HealthState.UNKNOWN)}
    assert of_health(found, known(), {}, START_MS) == ()
    assert of_health(found, known(), active(alert()), START_MS) == ()


@pytest.mark.parametrize("state", [HealthState.HEALTHY, HealthState.UNHEALTHY])
def test_what_is_only_remembered_after_a_restart_neither_begins_nor_changes_nor_ends_anything(
    state: HealthState,
) -> None:
    """It does not say what it comes from: what was held back for its cause would be told."""
    found = {TRIAGE: structs.replace(assessed(state), measured=False)}
    assert of_health(found, known(), {}, START_MS) == ()
    assert of_health(found, known(), active(alert(cause="x/b")), START_MS) == ()
    looked_at = assessed(HealthState.UNHEALTHY)
    looked_at = structs.replace(looked_at, checks=(structs.replace(looked_at.checks[0], failures=4),), measured=False)
    assert len(of_health({TRIAGE: looked_at}, known(), {}, START_MS)) == 1, "that it cannot be measured now is no end"


@pytest.mark.parametrize("how", ["by hand", "in its file", "off the record"])
def test_one_that_is_not_looked_at_any_more_is_over(how: str) -> None:
    there = known()
    match how:
        case "by hand":
            there = replace(there, records={TRIAGE: replace(there.records[TRIAGE], suspended=True)})
        case "in its file":
            there = replace(there, agents={TRIAGE: replace(DECLARED, spec=replace(DECLARED.spec, suspend=True))})
        case _:
            there = replace(there, records={})
    (over,) = of_health({}, there, active(alert(), alert(name="ChangeFailed")), START_MS)
    assert (over.key, over.resolved) == ("AgentUnhealthy support/triage", True)


def test_one_that_nobody_has_looked_at_yet_since_a_restart_is_not_over() -> None:
    """It hangs: the first sweep tells of those that answer, and of it a moment later."""
    assert of_health({}, known(), active(alert()), START_MS) == ()


@pytest.mark.parametrize(("where", "over"), [({"eu": 1}, False), ({"eu": 0}, True)])
def test_one_that_runs_and_whose_file_is_broken_is_not_over(where: dict[str, int], *, over: bool) -> None:
    """After a restart nobody knows how to look at it; before, it is looked at on."""
    hidden = replace(known(AgentState.RUNNING, **where), agents={})
    assert bool(of_health({}, hidden, active(alert()), START_MS)) is over
    by_hand = {TRIAGE: replace(hidden.records[TRIAGE], suspended=True)}
    assert len(of_health({}, replace(hidden, records=by_hand), active(alert()), START_MS)) == 1
    assert len(of_health({}, replace(hidden, records={}), active(alert()), START_MS)) == 1


def test_one_that_flaps_is_one_alert_until_it_stays_one_way() -> None:
    now: dict[str, Alert] = {}
    told: list[tuple[str, bool]] = []

    def sweep(state: HealthState, *, flapping: bool = False) -> None:
        for one in of_health({TRIAGE: assessed(state, flapping=flapping)}, known(), now, START_MS):
            told.append((one.name, one.resolved))
            if one.resolved:
                del now[one.key]
            else:
                now[one.key] = one

    sweep(HealthState.UNHEALTHY)
    sweep(HealthState.UNHEALTHY, flapping=True)
    assert told == [("AgentUnhealthy", False)], "what has begun goes on as it began"
    sweep(HealthState.HEALTHY, flapping=True)
    told.clear()
    for _ in range(3):
        sweep(HealthState.UNHEALTHY, flapping=True)
        sweep(HealthState.HEALTHY, flapping=True)
    assert told == [("AgentFlapping", False)]
    sweep(HealthState.HEALTHY)
    assert told == [("AgentFlapping", False), ("AgentFlapping", True)]
    assert now == {}


def test_one_that_flaps_is_as_bad_as_it_was_at_its_worst_and_is_told_of_as_ill_once_it_stays_ill() -> None:
    ill = HealthState.UNHEALTHY
    (first,) = of_health({TRIAGE: assessed(ill, flapping=True, text="503")}, known(), {}, START_MS)
    assert (first.key, first.severity) == ("AgentFlapping support/triage", Severity.WARNING)
    assert first.text == "it falls ill and is well again, over and over; it is unhealthy; answers: 503"
    (worse,) = of_health({TRIAGE: assessed(ill, flapping=True, critical=True)}, known(), active(first), START_MS)
    assert (worse.severity, worse.at_ms) == (Severity.CRITICAL, START_MS)
    assert of_health({TRIAGE: assessed(ill, flapping=True)}, known(), active(worse), START_MS) == ()
    over, stays = of_health({TRIAGE: assessed(ill)}, known(), active(worse), START_MS + MIN)
    assert (over.key, over.resolved) == (worse.key, True)
    assert (stays.key, stays.resolved, stays.at_ms) == ("AgentUnhealthy support/triage", False, START_MS + MIN)
    (gone,) = of_health({}, replace(known(), records={}), active(worse), START_MS)
    assert (gone.key, gone.resolved) == (worse.key, True)
    assert of_health({TRIAGE: assessed(ill, flapping=True)}, known(AgentState.DEPLOYING), {}, START_MS) == ()


def end(outcome: Outcome, reason: str = "") -> ChangeFinished:
    return ChangeFinished(
        agent=TRIAGE, action=Action.UPDATE, outcome=outcome, text="went wrong", ready=0, wanted=1, duration_ms=1,
        reason=reason,
    )  # fmt: skip


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.UNDONE])
def test_a_change_that_fails_is_an_alert_without_secrets(outcome: Outcome) -> None:
    one = of_end(end(outcome, "it printed hunter2hunter2 and api_key=abcdef"), known(), {}, START_MS)
    assert one is not None
    assert (one.key, one.severity, one.details["outcome"]) == (
        "ChangeFailed support/triage", Severity.WARNING, outcome.value,
    )  # fmt: skip
    assert "hunter2" not in one.text
    assert "abcdef" not in one.text
    said = of_end(end(outcome, "exit 3; went wrong"), known(), {}, START_MS)
    assert said is not None
    assert said.text == f"update {outcome.value}; exit 3; went wrong"
    again = of_end(end(outcome), known(), active(one), START_MS + MIN)
    assert again is not None
    assert again.at_ms == START_MS


def test_a_change_that_works_ends_it_and_others_do_nothing() -> None:
    failed = alert(name="ChangeFailed")
    over = of_end(end(Outcome.APPLIED), known(), active(failed), START_MS)
    assert over is not None
    assert over.resolved
    assert of_end(end(Outcome.APPLIED), known(), {}, START_MS) is None
    assert of_end(end(Outcome.SKIPPED), known(), active(failed), START_MS) is None
    assert of_end(end(Outcome.SUPERSEDED), known(), active(failed), START_MS) is None


def hold(code: HoldCode, *agents: str) -> Hold:
    return Hold(code=code, agents=tuple(map(name, agents)), action=Action.DELETE, text="too many", lift="raise it")


def planned(*holds: Hold, **more: Any) -> Plan:
    return replace(empty_plan(), holds=holds, **more)


def test_what_is_held_until_people_do_something_is_one_alert_a_kind_and_over_when_it_is_not_held() -> None:
    many = hold(HoldCode.DELETION_BUDGET, *(f"x/a{number:02}" for number in range(15)))
    (one,) = of_plan(
        planned(many, hold(HoldCode.DELETION_BUDGET, "y/b"), hold(HoldCode.SUSPENDED, "x/a")), known(), {}, 0
    )
    assert one.key == "ChangesHeld deletion-budget"
    assert "and 6 more" in one.text, "of all that are held for it"
    assert "raise it" in one.text
    (fewer,) = of_plan(planned(many), known(), active(one), MIN)
    assert (fewer.key, "and 5 more" in fewer.text) == (one.key, True)
    assert of_plan(planned(many), known(), active(fewer), MIN) == ()
    secret = replace(many, text="password: hunter2")
    (masked_once,) = of_plan(planned(secret), known(), {}, MIN)
    taken_in = replace(masked_once, text=masked(masked_once.text))
    assert of_plan(planned(secret), known(), active(taken_in), MIN) == ()
    unread = Completeness(source="eu", problem="away")
    assert of_plan(planned(completeness=(unread,)), known(), active(one), MIN) == ()
    (over,) = of_plan(planned(), known(), active(one), MIN)
    assert over.resolved


def test_a_file_that_cannot_be_used_is_an_alert_though_it_holds_back_nobody_that_is_known() -> None:
    """What is wrong with a new file holds back no agent: none was ever made of it, and people wait for theirs."""
    place = Position(path="agents/support/new.yaml", line=4, column=5)
    broken = Diagnostic(severity=Weight.ERROR, code="bad-yaml", message="did not find '}'", position=place)
    doubtful = replace(broken, severity=Weight.WARNING)
    assert of_plan(planned(diagnostics=(doubtful,)), known(), {}, 0) == ()
    (one,) = of_plan(planned(diagnostics=(doubtful, broken)), known(), {}, 0)
    assert one.key == "ChangesHeld invalid"
    assert one.text.startswith("held back: files that cannot be used: agents/support/new.yaml:4:5: did not find '}'; ")
    (again,) = of_plan(planned(diagnostics=(broken, broken)), known(), active(one), MIN)
    assert "and 1 more" in again.text
    (both,) = of_plan(planned(hold(HoldCode.INVALID, "x/a"), diagnostics=(broken,)), known(), {}, 0)
    assert "(x/a)" in both.text
    (over,) = of_plan(planned(), known(), active(one), MIN)
    assert over.resolved


def test_a_quarantine_that_nobody_told_of_is_an_alert_and_over_when_it_is_lifted() -> None:
    held = planned(hold(HoldCode.QUARANTINED, "support/triage"))
    there = known()
    failed = replace(there.records[TRIAGE], quarantine=Quarantine(spec_hash="x", since_ms=0, reason="why"))
    there = replace(there, records={TRIAGE: failed})
    (one,) = of_plan(held, there, {}, START_MS)
    assert (one.key, one.details) == ("ChangeFailed support/triage", {"quarantined": "yes"})
    assert of_plan(held, there, active(one), START_MS) == ()
    given_up = RecoveryState(spec_hash="x", taken=(Taken(remedy=Remedy.QUARANTINE, at_ms=0, because="ill"),))
    by_remedy = replace(there, records={TRIAGE: replace(failed, recovery=given_up)})
    assert of_plan(held, by_remedy, {}, START_MS) == ()
    assert of_plan(held, Known(agents={}, records={}), {}, START_MS) == ()
    (over,) = of_plan(planned(), known(), active(one), START_MS)
    assert over.resolved


def test_a_change_that_failed_and_is_still_wanted_or_under_way_is_not_over() -> None:
    failed = active(alert(name="ChangeFailed"))
    assert of_plan(planned(changes=(change(TRIAGE),)), known(), failed, 0) == ()
    assert of_plan(planned(), known(), failed, 0, busy=[TRIAGE]) == ()
    assert len(of_plan(planned(), known(), failed, 0)) == 1


def test_a_cluster_is_unwell_after_a_while_and_well_again_at_once() -> None:
    since = {"eu": (START_MS, "no route to host")}
    assert of_clusters(since, {}, START_MS + made.UNWELL_AFTER_MS - 1) == ()
    (one,) = of_clusters(since, {}, START_MS + made.UNWELL_AFTER_MS)
    assert (one.key, one.cluster, one.covers, one.at_ms) == ("ClusterUnwell eu", "eu", Covers.CLUSTER, START_MS)
    assert of_clusters(since, active(one), START_MS + MIN * 9) == ()
    (over,) = of_clusters({}, active(one, alert()), START_MS + MIN * 9)
    assert (over.key, over.resolved) == ("ClusterUnwell eu", True)


def test_a_state_of_the_daemon_is_an_alert_when_it_lasts() -> None:
    assert of_state(made.PASSES, "why", START_MS, MIN, {}, START_MS + MIN - 1) == ()
    (one,) = of_state(made.PASSES, "why " * 500, START_MS, MIN, {}, START_MS + MIN)
    assert (one.key, one.at_ms, one.severity) == (made.PASSES, START_MS, Severity.CRITICAL)
    assert len(one.text) == made.MAX_TEXT
    assert of_state(made.PASSES, "why", START_MS, MIN, active(one), START_MS + 2 * MIN) == ()
    (over,) = of_state(made.PASSES, "", 0, MIN, active(one), START_MS + 2 * MIN)
    assert over.resolved
    assert of_state(made.PASSES, "", 0, MIN, {}, START_MS) == ()


def test_a_state_of_one_of_several_daemons_says_whose_it_is() -> None:
    (one,) = of_state(made.PASSES, "why", START_MS, MIN, {}, START_MS + MIN, daemon="1-of-4")
    assert (one.key, one.daemon, one.text) == ("PassesFailing 1-of-4", "1-of-4", "daemon 1-of-4: why")
    (over,) = of_state(made.PASSES, "", 0, MIN, active(one), START_MS + 2 * MIN, daemon="1-of-4")
    assert (over.key, over.resolved) == (one.key, True)


def test_a_state_that_was_told_before_the_fleet_was_divided_ends_as_it_was_told() -> None:
    (one,) = of_state(made.PASSES, "why", START_MS, MIN, {}, START_MS + MIN)
    assert of_state(made.PASSES, "why", START_MS, MIN, active(one), START_MS + 2 * MIN, daemon="0-of-2") == ()
    (over,) = of_state(made.PASSES, "", 0, MIN, active(one), START_MS + 2 * MIN, daemon="0-of-2")
    assert (over.key, over.resolved) == (one.key, True)

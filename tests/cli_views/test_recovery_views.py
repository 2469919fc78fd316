"""The ladder of an agent as people see it: what was done, and what is to come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.cli.views.recovery import ladder_rows, recovery_json, standing
from reconciler.model.agent import Backoff, Recovery, Remedy
from reconciler.model.recovery import Ended, RecoveryState, Taken
from reconciler.model.registry import Record
from reconciler.model.units import Duration
from tests.contracts.values import record

RULES = Recovery(
    ladder=(Remedy.RESTART, Remedy.ROLLBACK, Remedy.QUARANTINE),
    backoff=Backoff(initial=Duration.parse("10s"), factor=2, max=Duration.parse("5m")),
    attempts=4,
)
SPEC = record().spec_hash
BEFORE = Taken(
    remedy=Remedy.RESTART, at_ms=1_000, because="old", ended=Ended.DONE, ended_ms=2_000, text="1 pod started anew"
)
FIRST = replace(BEFORE, at_ms=60_000, ended_ms=61_000, because="answers: 500", ended=Ended.FAILED, text="refused")
GOING = Taken(remedy=Remedy.RESTART, at_ms=90_000, because="answers: 500")


def of(**more: Any) -> Record:
    facts: dict[str, Any] = {"spec_hash": SPEC, "since_ms": 50_000, "step": 1, "taken": (BEFORE, FIRST)}
    return replace(record(), quarantine=None, recovery=RecoveryState(**facts | more))


def test_of_an_agent_that_was_never_ill_or_is_another_now_nothing_is_told() -> None:
    for each in (replace(record(), recovery=None), of(spec_hash="other")):
        assert each.present_recovery is None
        assert standing(each, RULES) == ""
        assert ladder_rows(each, RULES) == []
        assert recovery_json(each, RULES) is None


def test_what_was_done_before_what_is_done_now_and_what_is_to_come() -> None:
    ill = of(due_ms=120_000)
    assert ladder_rows(ill, RULES) == [
        ("before", "restart", "1970-01-01T00:00:01Z", "done", "1 pod started anew"),
        ("1", "restart", "1970-01-01T00:01:00Z", "failed", "refused"),
        ("2", "restart", "not before 1970-01-01T00:02:00Z", "to come", "-"),
        ("3", "rollback", "-", "to come", "-"),
        ("4", "quarantine", "-", "to come", "-"),
    ]
    assert standing(ill, RULES) == (
        "unhealthy since 1970-01-01T00:00:50Z; next, if it stays so: restart, not before 1970-01-01T00:02:00Z"
    )
    told = recovery_json(ill, RULES)
    assert told is not None
    assert (told["step"], told["of"], told["leftToPeople"]) == (1, 4, False)
    assert told["next"] == {"remedy": "restart", "notBefore": "1970-01-01T00:02:00Z"}
    assert told["taken"][1]["outcome"] == "failed"


def test_one_that_was_rolled_back_has_no_rollback_to_come() -> None:
    back = replace(of(step=2), quarantine=record().quarantine)
    assert [row[1] for row in ladder_rows(back, RULES)[2:]] == ["quarantine"]
    assert standing(back, RULES).endswith("next, if it stays so: quarantine")


def test_a_remedy_under_way_is_told_by_why_it_was_begun() -> None:
    going = of(step=2, taken=(FIRST, GOING))
    assert ladder_rows(going, RULES)[1] == ("2", "restart", "1970-01-01T00:01:30Z", "under-way", "answers: 500")
    assert standing(going, RULES) == "unhealthy since 1970-01-01T00:00:50Z; restart is under way"


def test_how_an_illness_stands_in_one_line() -> None:
    assert standing(of(since_ms=0, step=0), RULES) == "healthy; 2 remedies before"
    assert standing(of(well_ms=99_000), RULES) == "healthy again since 1970-01-01T00:01:39Z, after 1 remedy"
    assert standing(of(left=True), RULES) == "unhealthy since 1970-01-01T00:00:50Z, and left to people after 1 remedy"
    assert standing(of(step=4), RULES).endswith("nothing is left of its ladder")
    assert standing(of(), None).endswith("nothing is left of its ladder")
    assert len(ladder_rows(of(left=True), RULES)) == 2

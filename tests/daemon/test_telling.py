"""The lines of a daemon: one a decision, for people or machines, and what repeats is told once."""

from __future__ import annotations

import dataclasses
import json
import logging

from reconciler.daemon.telling import MAX_NAMES, MAX_TEXT, Logged, Teller
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.plan import Hold, HoldCode
from reconciler.model.source import Diagnostic, Position, Severity
from tests.daemon.test_wakes import change, plan
from tests.doubles.clock import FakeClock


def teller(level: str = "info", *, as_json: bool = True) -> tuple[Teller, list[str]]:
    lines: list[str] = []
    return Teller(clock=FakeClock(), write=lines.append, as_json=as_json, level=level), lines


def test_a_line_for_machines_is_one_json_object_whatever_is_in_it() -> None:
    tell, lines = teller()
    tell.say("info", "health", agent="support/triage", reason='a "quote"\nand a line', nothing="", none=None)
    assert "\n" not in lines[0]
    assert json.loads(lines[0]) == {
        "at_ms": 1_800_000_000_000, "level": "info", "event": "health", "agent": "support/triage",
        "reason": 'a "quote"\nand a line',
    }  # fmt: skip


def test_a_line_for_people_cannot_be_broken_or_forged_by_what_is_in_it() -> None:
    tell, lines = teller(as_json=False)
    tell.say("warning", "change-ended", reason="x\n2027-01-15T08:00:00.000Z info forged", agent="support/triage")
    head, rest = lines[0].split(" reason=")
    assert head == "2027-01-15T08:00:00.000Z warning change-ended"
    assert rest == '"x\\n2027-01-15T08:00:00.000Z info forged" agent=support/triage'


def test_the_same_plan_is_told_once_and_again_when_it_changed() -> None:
    tell, lines = teller()
    for made in (plan(change()), plan(change()), plan(), plan(change())):
        tell.planned(made, ("tick",), ())
    assert [json.loads(line)["changes"] for line in lines] == [{"update": 1}, {}, {"update": 1}]


def test_what_is_held_names_each_agent_once() -> None:
    tell, lines = teller()
    one, two = (AgentName(namespace="support", name=name) for name in ("triage", "reports"))
    alone = Hold(code=HoldCode.INVALID, agents=(one,), action=None, text=f"{one} stays as it is", lift="correct it")
    both = Hold(code=HoldCode.DELETION_BUDGET, agents=(two, one), action=None, text="2 deletes", lift="approve it")
    tell.planned(dataclasses.replace(plan(), holds=(alone, both)), ("tick",), ())
    assert json.loads(lines[0])["held"] == [
        "support/triage stays as it is",
        "support/reports, support/triage: 2 deletes",
    ]


def test_what_is_wrong_with_files_is_named_by_its_place() -> None:
    tell, lines = teller()
    place = Position(path="agents/support/new.yaml", line=4, column=5)
    broken = Diagnostic(severity=Severity.ERROR, code="bad-yaml", message="did not find '}'", position=place)
    tell.planned(dataclasses.replace(plan(), diagnostics=(broken,)), ("tick",), ())
    assert json.loads(lines[0])["found"] == ["agents/support/new.yaml:4:5: did not find '}'"]


def test_the_same_failure_is_told_once() -> None:
    tell, lines = teller()
    for message in ("the disk is full", "the disk is full", "it is away"):
        tell.failed(RegistryError(message, hint="free some space"), 5.04)
    assert [(json.loads(line)["error"], json.loads(line)["again_in_s"]) for line in lines] == [
        ("the disk is full", 5.0),
        ("it is away", 5.0),
    ]


def test_a_failure_that_comes_again_after_a_good_pass_is_told_again() -> None:
    tell, lines = teller()
    tell.failed(RegistryError("it is away"), 5)
    tell.well()
    tell.failed(RegistryError("it is away"), 5)
    assert len(lines) == 2


def test_who_has_the_lock_is_told_once_while_it_counts_down() -> None:
    tell, lines = teller()
    tell.waits("held by ann for another 29 s")
    tell.waits("held by ann for another 27 s")
    assert len(lines) == 1
    tell.locks()
    tell.waits("held by ann for another 30 s")
    assert len(lines) == 2


def test_where_nothing_else_tells_of_changes_the_first_agents_are_named() -> None:
    tell, lines = teller()
    names = [AgentName.parse(f"support/a{number:02}") for number in range(MAX_NAMES + 2)]
    tell.planned(plan(*map(change, names)), ("tick",), (), alone=True)
    would = json.loads(lines[0])["would"]
    assert would[0] == "update support/a00"
    assert would[MAX_NAMES:] == ["2 more"]


def test_text_is_bounded_and_a_broken_pipe_stops_nothing() -> None:
    tell, lines = teller()
    tell.say("error", "x", reason="r" * (MAX_TEXT * 2))
    assert len(json.loads(lines[0])["reason"]) == MAX_TEXT

    def gone(_line: str) -> None:
        raise BrokenPipeError

    Teller(clock=FakeClock(), write=gone).say("error", "x")


def test_levels_below_what_is_asked_for_are_not_told() -> None:
    tell, lines = teller("warning")
    tell.say("info", "x")
    tell.say("debug", "x")
    tell.say("error", "y")
    assert [json.loads(line)["event"] for line in lines] == ["y"]


def test_what_libraries_log_is_a_line_like_all_others() -> None:
    tell, lines = teller()
    heard = Logged(tell)
    heard.emit(logging.LogRecord("asyncio", logging.WARNING, "", 0, "Unknown child %d", (7,), None))
    heard.emit(logging.LogRecord("apscheduler", logging.CRITICAL, "", 0, "it broke", (), None))
    told = [json.loads(line) for line in lines]
    assert [(line["level"], line["by"], line["text"]) for line in told] == [
        ("warning", "asyncio", "Unknown child 7"),
        ("error", "apscheduler", "it broke"),
    ]

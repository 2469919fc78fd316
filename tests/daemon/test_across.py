"""The order of changes across shards: whom one waits for, and for how long."""

from __future__ import annotations

from dataclasses import replace

from reconciler.daemon.across import PATIENCE_S, Across
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Change, Reason, ReasonCode
from tests.daemon.test_wakes import change

OURS, THEIRS = AgentName.parse("x/ours"), AgentName.parse("x/theirs")
UNFINISHED = (Reason(code=ReasonCode.UNFINISHED, text=""),)


def across() -> Across:
    return Across(mine=lambda name: name == OURS)


def ours(wave: int = 1, action: Action = Action.UPDATE) -> Change:
    return replace(change(OURS, action), wave=wave)


def theirs(wave: int = 0, version: int = 3, **other: object) -> Change:
    return replace(change(THEIRS), wave=wave, record_version=version, **other)  # type: ignore[arg-type]


def test_what_is_others_is_left_to_them_and_a_later_wave_waits_for_it() -> None:
    assert across().waiting([theirs(), ours(wave=1)], 0.0) == {THEIRS, OURS}
    assert across().waiting([theirs(), ours(wave=0)], 0.0) == {THEIRS}
    assert across().waiting([theirs(wave=2), ours(wave=1)], 0.0) == {THEIRS}
    assert across().waiting([ours(wave=5)], 0.0) == frozenset()


def test_deletions_wait_for_all_that_is_not_one() -> None:
    assert OURS in across().waiting([theirs(wave=9), ours(wave=1, action=Action.DELETE)], 0.0)


def test_one_that_others_tried_and_failed_at_holds_up_no_wave() -> None:
    knows = across()
    assert OURS in knows.waiting([theirs(), ours()], 0.0)
    assert OURS in knows.waiting([theirs(version=5, reasons=UNFINISHED), ours()], 1.0), "it is under way"
    assert OURS not in knows.waiting([theirs(version=6), ours()], 2.0), "it has ended, and not well"


def test_one_that_nobody_begins_holds_up_a_wave_for_a_while_only() -> None:
    knows = across()
    assert OURS in knows.waiting([theirs(), ours()], 0.0)
    assert OURS in knows.waiting([theirs(), ours()], PATIENCE_S - 1)
    assert OURS not in knows.waiting([theirs(), ours()], PATIENCE_S)
    assert OURS in knows.waiting([theirs(action=Action.SCALE), ours()], PATIENCE_S), "another change of it"

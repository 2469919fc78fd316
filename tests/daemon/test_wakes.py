"""When the loop looks again, and when it leaves alone what failed."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from reconciler.daemon.wakes import FREE, MOST_REASONS, Backlog, Pace, Wakes
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Change, Plan
from reconciler.model.source import Revision

NAME = AgentName.parse("support/triage")


def change(name: AgentName = NAME, action: Action = Action.UPDATE) -> Change:
    return Change(
        name=name, action=action, wave=0, after=(), reasons=(), attributes=(), hidden=0, drift=(), objects=(),
        risks=(), replicas=(None, None), replicas_text="", fingerprint="", record_version=0,
    )  # fmt: skip


def plan(*changes: Change) -> Plan:
    return Plan(
        fleet="acme", revision=Revision(commit="c1"), completeness=(), changes=changes, holds=(), blast_radius=(),
        diagnostics=(),
    )  # fmt: skip


def backlog(jitter: float = 1.0) -> Backlog:
    return Backlog(Pace(jitter=lambda: jitter, first_s=5, most_s=300))


async def test_many_wakes_are_one_pass_that_knows_why() -> None:
    wakes = Wakes()
    for reason in ("commit a", "drift", "commit a"):
        wakes.wake(reason)
    assert await wakes.wait() == ("commit a", "drift")
    waiting = asyncio.create_task(wakes.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    wakes.wake("again")
    assert await waiting == ("again",)


async def test_a_storm_of_reasons_is_counted_and_not_kept() -> None:
    wakes = Wakes()
    for number in range(10_000):
        wakes.wake(f"object {number}")
    reasons = await wakes.wait()
    assert len(reasons) == MOST_REASONS + 1
    assert reasons[-1] == f"{10_000 - MOST_REASONS} more"


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_pause_grows_to_its_cap_and_is_never_none(failures: int, jitter: float) -> None:
    pause = Pace(jitter=lambda: jitter, first_s=5, most_s=300).pause(failures)
    bound = min(300, 5 * 2 ** min(failures - 1, 30))
    assert bound / 2 <= pause <= bound


def test_what_failed_waits_longer_each_time_up_to_the_cap() -> None:
    kept, now, pauses = backlog(), 0.0, []
    for _ in range(9):
        pauses.append(kept.failed(change(), now))
        assert kept.holds(change(), now + pauses[-1] - 0.1)
        assert not kept.holds(change(), now + pauses[-1])
        now += pauses[-1]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_what_worked_starts_anew() -> None:
    kept = backlog()
    kept.failed(change(), 0)
    kept.failed(change(), 5)
    kept.worked(NAME)
    assert not kept.holds(change(), 5)
    assert kept.failed(change(), 6) == 5


def test_drift_that_comes_back_each_time_is_undone_less_and_less_often() -> None:
    kept, now = backlog(), 0.0
    for _ in range(FREE):
        assert kept.undone(change(action=Action.RECOVER), now) == 0
        assert not kept.holds(change(action=Action.RECOVER), now)
    pauses = []
    for _ in range(8):
        pauses.append(kept.undone(change(action=Action.RECOVER), now))
        assert kept.holds(change(action=Action.RECOVER), now)
        assert not kept.holds(change(), now), "what Git says does not wait for it"
        now += pauses[-1]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]
    assert kept.next_due(now) is None
    assert kept.undone(change(action=Action.RECOVER), now + 601) == 0


def test_another_aim_does_not_wait_for_the_one_that_failed() -> None:
    kept = backlog()
    kept.failed(change(), 0)
    assert not kept.holds(change(action=Action.DELETE), 1)
    assert kept.failed(change(action=Action.DELETE), 1) == 5


def test_the_next_try_is_the_earliest_of_those_that_rest() -> None:
    kept, other = backlog(), change(AgentName.parse("support/other"))
    kept.failed(change(), 0)
    kept.failed(other, 3)
    assert kept.next_due(4) == 1
    assert kept.resting(4) == {NAME, other.name}
    assert kept.next_due(6) == 2
    assert kept.resting(6) == {other.name}
    assert kept.next_due(8) is None


def test_what_fails_again_after_plans_without_it_waits_longer_and_is_forgotten_in_the_end() -> None:
    kept = backlog()
    kept.failed(change(), 0)
    assert kept.next_due(100) is None
    assert kept.failed(change(), 100) == 10
    assert kept.next_due(100 + 10 + 300) is None
    assert kept.failed(change(), 500) == 5


def test_a_way_back_that_fails_waits_and_a_change_of_its_agent_does_not_wait_for_it() -> None:
    kept = backlog()
    assert kept.failed_back(NAME, 0) == 5
    assert kept.failed_back(NAME, 5) == 10
    assert kept.resting(14) == {NAME}
    assert not kept.holds(change(), 14)

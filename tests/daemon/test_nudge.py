"""Asking for now what would be done later: once, however often, and not more often than it may be done."""

from __future__ import annotations

from reconciler.daemon.nudge import Nudge
from tests.daemon.waiting import until


async def test_the_first_that_asks_is_heard_at_once_and_many_more_once_at_the_end_of_a_while() -> None:
    nudge = Nudge(least_s=0.2)
    nudge.now()
    assert nudge.asked.is_set()
    nudge.asked.clear()
    for _ in range(100):
        nudge.now()
    assert not nudge.asked.is_set()
    await until(nudge.asked.is_set)
    nudge.asked.clear()
    await until(lambda: _heard(nudge))


def _heard(nudge: Nudge) -> bool:
    nudge.now()
    return nudge.asked.is_set()

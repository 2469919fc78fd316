"""Asking for now what would be done later: once, however often, and not more often than it may be done."""

from __future__ import annotations

import asyncio

from reconciler.daemon.nudge import Nudge
from reconciler.daemon.triggers import LEAST_FETCH_S, follow_source
from reconciler.daemon.wakes import Wakes
from tests.daemon.waiting import until
from tests.doubles.clock import FakeClock
from tests.doubles.source import MemorySource


class Slow(FakeClock):
    """Long waits last until they are cancelled; short ones take no time."""

    async def sleep(self, seconds: float) -> None:
        if seconds > LEAST_FETCH_S:
            await asyncio.Event().wait()
        await super().sleep(seconds)


class Counted(MemorySource):
    fetches = 0

    async def fetch(self) -> None:
        self.fetches += 1


async def test_a_pause_ends_by_itself() -> None:
    clock = FakeClock()
    assert not await Nudge().pause(clock, 10.0, least_s=2.0)
    assert clock.monotonic() == 10.0


async def test_many_that_ask_are_one_turn_and_not_before_the_least_time() -> None:
    clock, nudge = Slow(), Nudge()
    for _ in range(5):
        nudge.now()
    assert await nudge.pause(clock, 10.0, least_s=2.0)
    assert clock.slept[0] == 2.0
    later = asyncio.create_task(nudge.pause(clock, 10.0, least_s=2.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not later.done()
    nudge.now()
    assert await later


async def test_a_pause_that_is_shorter_than_the_least_is_as_long_as_it_is() -> None:
    clock = FakeClock()
    await Nudge().pause(clock, 0.5, least_s=2.0)
    assert clock.monotonic() == 0.5


async def test_git_is_asked_at_once_when_somebody_says_that_it_changed() -> None:
    source, nudge, wakes = Counted(), Nudge(), Wakes()
    source.commit({"fleet.yaml": "a"})
    task = asyncio.create_task(follow_source(source, "", wakes, Slow(), lambda: 3600.0, nudge))
    await until(lambda: source.fetches == 1)
    await wakes.wait()
    new = source.commit({"fleet.yaml": "b"})
    nudge.now()
    assert await asyncio.wait_for(wakes.wait(), 30) == (f"commit {new[:7]}",)
    assert source.fetches == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

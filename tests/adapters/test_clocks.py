"""The machine's clock, and the one that tests move."""

from __future__ import annotations

import asyncio
import time

from reconciler.adapters.clock import SystemClock
from reconciler.ports import Clock
from tests.doubles.clock import START_MS, FakeClock


async def test_the_machines_clock_is_the_machines() -> None:
    clock: Clock = SystemClock()
    before, started = time.time_ns() // 1_000_000, time.monotonic()
    assert before <= clock.now_ms() <= time.time_ns() // 1_000_000
    await clock.sleep(0.01)
    assert started + 0.01 <= clock.monotonic() <= time.monotonic()


async def test_a_fake_clock_sleeps_in_no_time_and_lets_others_run() -> None:
    clock = FakeClock()
    ran: list[float] = []

    async def other() -> None:
        ran.append(clock.monotonic())

    task = asyncio.ensure_future(other())
    await clock.sleep(3600.5)
    assert ran == [3600.5]
    assert (clock.now_ms() - START_MS, clock.monotonic(), clock.slept) == (3_600_500, 3600.5, [3600.5])
    await task


def test_a_jump_moves_wall_time_alone() -> None:
    clock = FakeClock(now_ms=10_000)
    clock.jump(-5)
    clock.advance(1)
    assert (clock.now_ms(), clock.monotonic()) == (6000, 1.0)

"""The simulated loop itself: time that passes when nobody works, and processes that are stopped and killed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.doubles.simulated_time import NothingWillHappen, Process, SimulatedClock, SimulatedLoop, outside


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    made = SimulatedLoop()
    yield made
    made.close()


def run(loop: SimulatedLoop, work: Callable[[], Awaitable[None]]) -> None:
    loop.run_until_complete(work())


def test_a_month_takes_no_time_and_time_outs_go_by_it(loop: SimulatedLoop) -> None:
    async def work() -> None:
        clock = SimulatedClock(loop)
        before = clock.now_ms()
        await clock.sleep(30 * 86_400)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        assert clock.monotonic() == pytest.approx(30 * 86_400 + 5)
        assert clock.now_ms() - before == (30 * 86_400 + 5) * 1000

    run(loop, work)


def test_who_waits_for_what_never_comes_is_told(loop: SimulatedLoop) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingWillHappen):
        run(loop, work)


async def tick(ticks: list[float]) -> None:
    while True:
        await asyncio.sleep(1)
        ticks.append(asyncio.get_running_loop().time())


def test_a_stopped_process_does_nothing_and_goes_on_where_it_was(loop: SimulatedLoop) -> None:
    async def work() -> None:
        ticks: list[float] = []
        process = Process("one")
        task = process.start(tick(ticks))
        await asyncio.sleep(3.5)
        process.stop()
        await asyncio.sleep(10)
        assert ticks == pytest.approx([1, 2, 3])
        process.resume()
        await asyncio.sleep(1.2)
        assert ticks == pytest.approx([1, 2, 3, 13.5, 14.5])
        task.cancel()

    run(loop, work)


def test_what_is_sent_arrives_also_where_who_sent_it_is_stopped(loop: SimulatedLoop) -> None:
    async def work() -> None:
        arrived: list[float] = []

        async def travels() -> int:
            await asyncio.sleep(1)
            arrived.append(asyncio.get_running_loop().time())
            return 3

        async def sends() -> int:
            return await outside(travels())

        process = Process("one")
        task = process.start(sends())
        await asyncio.sleep(0.5)
        process.stop()
        await asyncio.sleep(10)
        assert arrived == [1.0]
        assert not task.done()
        process.resume()
        assert await task == 3

    run(loop, work)


def test_what_a_process_starts_belongs_to_it(loop: SimulatedLoop) -> None:
    async def work() -> None:
        ticks: list[float] = []

        async def main() -> None:
            child = asyncio.create_task(tick(ticks))
            await child

        process = Process("one")
        task = process.start(main())
        await asyncio.sleep(1.5)
        assert len(process.alive) == 2
        process.stop()
        await asyncio.sleep(10)
        assert len(ticks) == 1
        process.resume()
        task.cancel()
        await asyncio.wait({task})
        assert process.alive == []

    run(loop, work)


def test_calls_of_other_threads_are_made_in_place(loop: SimulatedLoop) -> None:
    async def work() -> None:
        assert await asyncio.to_thread(lambda: 3) == 3
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)

    run(loop, work)


def test_the_wall_clock_can_be_set_and_waits_do_not_care(loop: SimulatedLoop) -> None:
    async def work() -> None:
        clock = SimulatedClock(loop)
        before, since = clock.now_ms(), clock.monotonic()
        clock.jump(-60)
        await clock.sleep(1)
        assert clock.now_ms() - before == -59_000
        assert clock.monotonic() - since == pytest.approx(1)

    run(loop, work)

"""Housekeeping by the calendar: it is run again whatever became of it, and writes only where something is to go."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reconciler.adapters.clock import SystemClock
from reconciler.daemon.jobs import Jobs, Pruning
from reconciler.daemon.telling import Teller
from reconciler.model.errors import RegistryError
from tests.contracts.values import record, write
from tests.daemon.waiting import until
from tests.doubles.clock import ShiftedClock
from tests.doubles.world import open_registry


async def test_a_job_that_fails_or_hangs_is_told_and_run_again() -> None:
    lines: list[str] = []
    jobs = Jobs(tell=Teller(clock=SystemClock(), write=lines.append))
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        match runs:
            case 1:
                raise RegistryError("it is away")
            case 2:
                raise ZeroDivisionError("by zero")
            case 3:
                await asyncio.Event().wait()

    jobs.every(0.02, "work", work, within_s=0.05)
    jobs.start()
    await until(lambda: runs > 4)
    jobs.close()
    told = "\n".join(lines)
    for text in ("it is away", "ZeroDivisionError: by zero", "it took longer than 0.05 s"):
        assert text in told
    ended = runs
    await asyncio.sleep(0.1)
    assert runs == ended


async def test_a_job_that_takes_longer_than_its_interval_is_never_run_beside_itself() -> None:
    jobs = Jobs(tell=Teller(clock=SystemClock(), write=lambda _line: None))
    running = most = runs = 0

    async def work() -> None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    jobs.every(0.01, "work", work, within_s=5)
    jobs.start()
    await until(lambda: runs > 3)
    jobs.close()
    assert most == 1


async def test_old_history_goes_and_where_there_is_none_nothing_is_written(tmp_path: Path) -> None:
    clock, lines = ShiftedClock(), list[str]()
    registry = await open_registry(tmp_path, clock)
    for version in (1, 2):
        await registry.commit(write(record(version=version), op_id=registry.new_id()))
    pruning = Pruning(
        registry=registry,
        clock=clock,
        actor="daemon",
        tell=Teller(clock=clock, write=lines.append),
        keep_s=3600,
    )
    before = (await registry.verify_audit()).count
    clock.advance(40 * 365 * 86_400)
    await pruning.once()
    assert "pruned" in lines[0]
    assert (await registry.verify_audit()).count == before + 1
    await pruning.once()
    assert len(lines) <= 2
    await registry.close()

"""Who acts for a fleet comes to an end: no work and no lock is left behind, whenever that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.daemon.acting import Acting
from reconciler.daemon.measures import Measures
from reconciler.daemon.telling import Teller
from reconciler.daemon.wakes import Backlog, Pace, Wakes
from reconciler.engine.locks import APPLY_LEASE
from reconciler.engine.reconcile import PlanningCache
from reconciler.engine.run import Run
from reconciler.engine.world import Stores
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action
from reconciler.model.registry import Lease
from tests.doubles.clock import FakeClock
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld, open_registry
from tests.engine.fleets import OPTIONS

NAME = AgentName(namespace="support", name="one")


class Gate:
    """Calls of the registry wait here, where a test says so."""

    def __init__(self) -> None:
        self.open, self.reached = asyncio.Event(), asyncio.Event()

    async def passed(self) -> None:
        self.reached.set()
        await self.open.wait()


class Work:
    """Done until it is told to stop."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), False

    async def __call__(self, run: Run) -> ChangeFinished:
        self.begun.set()
        await run.stop.wait()
        self.ended = True
        return ChangeFinished(
            agent=NAME, action=Action.RECOVER, outcome=Outcome.SKIPPED, text="", ready=0, wanted=0, duration_ms=0
        )


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[SqliteRegistry]:
    opened = await open_registry(tmp_path, FakeClock())
    yield opened
    await opened.close()


def made(registry: SqliteRegistry) -> tuple[Acting, Stores]:
    stores, clock = Stores(registry=registry, clusters={}), FakeClock()
    acting = Acting(
        world=GivenWorld(MemorySource(), clock, stores), options=OPTIONS, cache=PlanningCache(), wakes=Wakes(),
        backlog=Backlog(Pace(jitter=lambda: 0.5)), tell=Teller(clock=clock, write=lambda _: None), measures=Measures(),
        timer=lambda *_: None,
    )  # fmt: skip
    return acting, stores


async def holder(registry: SqliteRegistry) -> str:
    return "".join(lease.holder for lease in await registry.leases(APPLY_LEASE))


async def test_work_that_begins_while_it_ends_is_ended_too_and_its_lock_given_up(
    registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real, work = Gate(), registry.acquire, Work()

    async def acquire(lease: str, *, holder: str, ttl_ms: int, now_ms: int, says: str = "") -> Lease:
        await gate.passed()
        return await real(lease, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms, says=says)

    monkeypatch.setattr(registry, "acquire", acquire)
    acting, stores = made(registry)
    begins = asyncio.create_task(acting.beside(stores, "acme", NAME, "hash", work))
    await gate.reached.wait()
    ends = asyncio.create_task(acting.close())
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(begins, ends)
    assert (acting.busy, await holder(registry)) == (frozenset(), "")
    assert work.ended or not work.begun.is_set()


async def test_nothing_begins_after_it_has_ended_without_its_lock(registry: SqliteRegistry) -> None:
    acting, stores = made(registry)
    work = Work()
    assert await acting.beside(stores, "acme", NAME, "hash", work)
    await work.begun.wait()
    acting._lose()
    await acting.close()
    assert not await acting.beside(stores, "acme", NAME, "hash", Work())
    assert await holder(registry) == ""

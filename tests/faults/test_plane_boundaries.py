"""One fault at one request to a real API server, for every request of an apply: it converges, and nothing is doubled.

A reference run names the requests (see Boundaries). Each write is then replayed with each of six faults, each read with
one of three in turn; with RECONCILER_ALL_FAULTS set each read with all three, and where it comes again and again while
pods start, each of its first times.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter, deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.fault_proxy import Fault
from tests.faults.ledger import Key
from tests.faults.plane_world import (
    At,
    Boundaries,
    Boundary,
    Files,
    Harness,
    PlaneWorld,
    agent_yaml,
    plane_world,
    shape,
)

PARTS = 2
"""Shares of the work, each a test, so that workers divide it."""
WORLDS = 4
"""Side by side in each: while one waits for pods, another is served."""
ALL = bool(os.environ.get("RECONCILER_ALL_FAULTS"))
REPEATS = 3 if ALL else 1
WRITE_FAULTS = (
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.TORN,
    Fault.ERROR_AFTER,
    Fault.BUSY,
    Fault.LATENCY,
)
READ_FAULTS = (Fault.RESET_BEFORE, Fault.TORN, Fault.ERROR)
TWICE = 2
"""What is idempotent is sent once more by itself when its connection is reset, before anybody is told."""
SCALED_BUDGET = ("PodDisruptionBudget", "scaled")
"""It is there while two pods are wanted."""
NONE: Boundary = ("", "", 0)
Task = tuple[Boundary, Fault]


def states(namespace: str) -> tuple[Files, Files]:
    """Two commits. From one to the other an agent comes, one goes, one is updated and one is scaled."""

    def agent(name: str, **options: Any) -> str:
        return agent_yaml(namespace, name, **options)

    one: Files = {"updated": agent("updated"), "scaled": agent("scaled"), "odd": agent("odd"), "even": None}
    two: Files = {
        "updated": agent("updated", tag="2"),
        "scaled": agent("scaled", replicas=2),
        "odd": None,
        "even": agent("even"),
    }
    return one, two


def comes_and_goes(key: Key) -> bool:
    """Whether a commit makes and deletes an object."""
    return key[1] in ("odd", "even") or key == SCALED_BUDGET


@dataclass(frozen=True, slots=True)
class Way:
    """One of the two ways between the states: what it asks, and what is there at its end."""

    boundaries: tuple[Boundary, ...]
    end: Any


class Shuttle:
    """A world that goes there and back, and whose ends are compared with those of its first, faultless journey."""

    def __init__(self, world: PlaneWorld) -> None:
        self.world = world
        self.states = states(world.namespace)
        self.at = 0
        self.standing: dict[Key, str] = {}
        self.ways: tuple[Way, Way]
        self.runs = 0

    async def begin(self) -> None:
        """Create what stands, and go there and back without faults."""
        self.world.commit({name: text for name, text in self.states[0].items() if text})
        await self.world.passes_until_quiet()
        self.standing = uids_of_survivors(await self.world.objects())
        self.ways = await self._reference(), await self._reference()

    async def _reference(self) -> Way:
        proxy = self.world.proxy
        first = len(proxy.seen)
        self._turn()
        async with self.world.process() as process:
            await self.world.applied(process)
        names = self._names()
        boundaries = tuple(names.name(exchange) for exchange in proxy.seen[first:])
        assert await self.world.passes_until_quiet() == 0
        return Way(boundaries, shape(await self.world.objects()))

    def _names(self) -> Boundaries:
        comer, goer = ("even", "odd") if self.at else ("odd", "even")
        return Boundaries(self.world.namespace, {comer: "COMER", goer: "GOER"})

    def _turn(self) -> None:
        self.at = 1 - self.at
        before, after = self.states[1 - self.at], self.states[self.at]
        self.world.commit({name: text for name, text in after.items() if text != before[name]})

    async def replay(self, boundary: Boundary, fault: Fault) -> bool:
        """Go on with one fault; whether it was met at all. Fails where the end is not that of the reference."""
        where = f"{fault} at {' '.join(map(str, boundary))} on the way from state {self.at}"
        way = self.ways[self.at]
        self._turn()
        script = At(self._names(), boundary, fault, times=1 if boundary[0] == "PATCH" else TWICE)
        self.world.proxy.script = script
        await self.world.pass_with_faults()
        self.world.proxy.be_well()
        passes = await self.world.passes_until_quiet()
        assert passes <= 2, where
        await self.world.judge()
        objects = await self.world.objects()
        assert shape(objects) == way.end, where
        assert uids_of_survivors(objects) == self.standing, where
        self.runs += 1
        return script.played > 0

    async def settle(self) -> None:
        """What the server itself has seen: nothing was deleted but what went by commit, nothing was made twice."""
        ledger, namespace = self.world.harness.ledger, self.world.namespace
        await ledger.settle(namespace)
        assert not {key for key in ledger.gone(namespace) if not comes_and_goes(key)}
        coming = Counter({"odd": 1 + (self.runs + 2) // 2, "even": (self.runs + 3) // 2})
        for key, uids in ledger.made(namespace).items():
            times = coming["even" if key == SCALED_BUDGET else key[1]] if comes_and_goes(key) else 1
            assert len(uids) == times, (key, uids)
        counts = await self.world.replica_sets()
        assert counts["updated"] == 2
        assert all(count == 1 for name, count in counts.items() if name != "updated")


def uids_of_survivors(objects: dict[Key, Any]) -> dict[Key, str]:
    return {key: one["metadata"]["uid"] for key, one in objects.items() if not comes_and_goes(key)}


def tasks_of(way: Way) -> list[Task]:
    """Each request with the faults that befit it."""
    writes = [boundary for boundary in way.boundaries if boundary[0] != "GET"]
    reads = sorted({boundary for boundary in way.boundaries if boundary[0] == "GET" and boundary[2] < REPEATS})
    found = [(one, fault) for one in writes for fault in WRITE_FAULTS]
    for number, one in enumerate(reads):
        found += [(one, fault) for fault in (READ_FAULTS if ALL else (READ_FAULTS[number % len(READ_FAULTS)],))]
    return found


class Work:
    """What is still to be played: both ways where both meet it, else the one that does."""

    def __init__(self, ways: tuple[Way, Way], part: int) -> None:
        there, back = (dict.fromkeys(tasks_of(way)) for way in ways)
        shares = [list(there.keys() & back.keys()), list(there.keys() - back.keys()), list(back.keys() - there.keys())]
        self.either, *only = (deque(sorted(share)[part::PARTS]) for share in shares)
        self._only = only

    def __bool__(self) -> bool:
        return bool(self.either) or any(self._only)

    def next(self, state: int) -> Task:
        """What to play on the way from a state; nothing where the rest is for the other way."""
        for queue in (self._only[state], self.either):
            if queue:
                return queue.popleft()
        return NONE, Fault.LATENCY


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_fault_at_every_request_converges(shared: Harness, part: int, record_property):
    memory = Path("/dev/shm")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None))
        names = [f"faults-{Path(folder).name.lower().replace('_', '-')}-{number}" for number in range(WORLDS)]
        worlds = [
            await stack.enter_async_context(plane_world(shared, one, Path(folder, one), tls=False)) for one in names
        ]
        shuttles = [Shuttle(world) for world in worlds]
        await asyncio.gather(*(shuttle.begin() for shuttle in shuttles))
        work = Work(shuttles[0].ways, part)
        met: Counter[str] = Counter()

        async def drive(shuttle: Shuttle) -> None:
            while work:
                boundary, fault = work.next(shuttle.at)
                if await shuttle.replay(boundary, fault):
                    met["read" if boundary[0] == "GET" else "write"] += 1
                elif boundary != NONE and boundary[2] == 0:
                    pytest.fail(f"{boundary} did not come again")
            await shuttle.settle()

        await asyncio.gather(*map(drive, shuttles))
    for kind, count in met.items():
        record_property(f"plane_{kind}s", count)

"""One measurement in a process of its own: `python -m benchmarks.stages NAME FLEET_DIR` prints one JSON object.

`fill` applies the whole fleet on a cluster that runs nothing, so that the others have something to compare with.
`cold` measures each stage of a no-op plan from nothing. `warm` keeps one process that follows a mirror of the
repository, as whoever waits for commits does, and measures what it does when nothing changed, and after a commit that
changes one agent, adds one, or changes a template. `checkout` measures the same of one agent's commit where the source
is a checkout: there each file is looked at, to say which are not committed. Times are wall seconds, memory is the
process's peak in MB.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks import fleets
from reconciler.adapters.git import Mirror
from reconciler.bootstrap import Session, find_fleet, open_fleet
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.observe import observe
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import PlanningCache, compute_plan
from reconciler.model.events import ApplyFinished, ChangeFinished
from reconciler.model.objects import Found, Scope
from reconciler.model.plan import Plan, Policy
from reconciler.placement import PlacementRequest, place
from reconciler.plan import PlanInput, make_plan
from reconciler.render import render
from reconciler.spec import read_fleet

ROUNDS = 15


def peak_mb() -> float:
    """The peak resident memory of this process."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


async def fill(session: Session) -> dict[str, Any]:
    """Apply everything."""
    cache = PlanningCache()
    started = time.perf_counter()
    plan = await compute_plan(session, policy=Policy(), cache=cache)
    planned = time.perf_counter()
    options = ApplyOptions(actor="bench", holder="bench", parallelism=16)
    failed = done = 0
    async for event in apply_plan(session, plan, options=options, stop=asyncio.Event(), cache=cache):
        if isinstance(event, ApplyFinished):
            failed = event.failed + event.skipped
        if isinstance(event, ChangeFinished):
            done += 1
            if done % max(1, len(plan.changes) // 10) == 0:
                print(f"  {done} of {len(plan.changes)} agents", file=sys.stderr, flush=True)
    return {
        "plan_of_creates_s": planned - started,
        "apply_s": time.perf_counter() - planned,
        "agents": len(plan.changes),
        "failed": failed,
    }


async def cold(session: Session) -> dict[str, Any]:
    """Each stage of a no-op plan, nothing cached; the collector is paused as the program itself pauses it."""
    gc.disable()
    laps: dict[str, float] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        laps[name] = now - last
        last = now

    revision = await session.source.revision("")
    blobs = await session.source.blobs(revision)
    lap("git")
    declaration = read_fleet(revision, blobs)
    fleet = declaration.fleet
    if fleet is None:
        raise SystemExit("the fleet to measure is not valid")
    lap("read and resolve")
    observed = await observe(await session.stores(fleet), Scope())
    lap("observe clusters and registry")
    records = observed.registry.value.records if isinstance(observed.registry, Found) else {}
    placed = place(
        PlacementRequest(
            agents=declaration.agents, clusters=fleet.clusters, capacities=observed.capacities, records=records
        )
    )
    lap("place")
    desired = {
        name: render(agent, placed.placed[name], fleet=fleet.name)
        for name, agent in declaration.agents.items()
        if name in placed.placed
    }
    lap("render")
    plan = make_plan(
        PlanInput(
            declaration=declaration,
            placed=placed.placed,
            reservations=placed.reservations,
            placement_holds=placed.holds,
            desired=desired,
            observations=observed.live,
            identities=observed.identities,
            registry=observed.registry,
        )
    )
    lap("plan")
    return {"stages": laps, "total_s": sum(laps.values()), "changes": len(plan.changes), "peak_mb": peak_mb()}


class Kept:
    """A process that stays: one session, one memory, and how long each plan took."""

    def __init__(self, session: Session) -> None:
        self.session, self.cache = session, PlanningCache()

    async def begin(self) -> None:
        """The first plan, which is as cold as any; after it the collector leaves alone what was made."""
        await self.plan()
        gc.collect()
        gc.freeze()

    async def plan(self) -> Plan:
        return await compute_plan(self.session, policy=Policy(), cache=self.cache)

    async def timed(self, rounds: int, before: Callable[[int], Awaitable[None]]) -> tuple[float, int]:
        """The median of some plans, each after `before`, and how many changes the last one has."""
        times, changes = [], 0
        for number in range(rounds):
            await before(number)
            started = time.perf_counter()
            changes = len((await self.plan()).changes)
            times.append(time.perf_counter() - started)
        return statistics.median(times), changes


async def warm(session: Session, root: Path) -> dict[str, Any]:
    """What a process that follows the repository costs: medians over commits."""
    with tempfile.TemporaryDirectory(prefix="reconciler-mirror-") as folder:
        source = Mirror(str(root), Path(folder))
        await source.fetch()
        async with Session(session.location, source, session.clock) as following:
            return await _warm(Kept(following), source, root)


async def _warm(kept: Kept, source: Mirror, root: Path) -> dict[str, Any]:
    fetches: list[float] = []

    async def fetched() -> None:
        started = time.perf_counter()
        await source.fetch()
        fetches.append(time.perf_counter() - started)

    async def nothing(_: int) -> None:
        pass

    async def one(number: int) -> None:
        fleets.change_one(root, 1, 2 + number % 2)
        await fetched()

    async def another(number: int) -> None:
        fleets.add_one(root, number)
        await fetched()

    async def template(number: int) -> None:
        fleets.change_template(root, "rare", f"{600 + number}Mi")
        await fetched()

    await kept.begin()
    results: dict[str, Any] = {"nothing_s": (await kept.timed(ROUNDS, nothing))[0]}
    for name, rounds, before in (("one_commit", ROUNDS, one), ("added", ROUNDS, another), ("template", 5, template)):
        results[f"{name}_s"], results[f"{name}_changes"] = await kept.timed(rounds, before)
    return {**results, "fetch_s": statistics.median(fetches), "peak_mb": peak_mb()}


async def checkout(session: Session, root: Path) -> dict[str, Any]:
    """One agent's commit in a checkout."""
    kept = Kept(session)

    async def one(number: int) -> None:
        fleets.change_one(root, 2, 2 + number % 2)

    await kept.begin()
    seconds, changes = await kept.timed(ROUNDS, one)
    return {"one_commit_s": seconds, "one_commit_changes": changes}


async def main(name: str, root: Path) -> None:
    """Run one measurement and print it."""
    work: dict[str, Callable[[Session], Awaitable[dict[str, Any]]]] = {
        "fill": fill,
        "cold": cold,
        "warm": lambda session: warm(session, root),
        "checkout": lambda session: checkout(session, root),
    }
    async with await open_fleet(find_fleet(root)) as session:
        print(json.dumps(await work[name](session)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))

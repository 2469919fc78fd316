"""One measurement in a process of its own: `python -m benchmarks.stages NAME FLEET_DIR` prints one JSON object.

`fill` applies the whole fleet on a cluster that runs nothing, so that the others have something to compare with.
`cold` measures each stage of a no-op plan from nothing. `warm` keeps one process and measures what a daemon would do:
nothing changed, one agent's commit, one template's commit. Times are wall seconds, memory is the process's peak in MB.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks import fleets
from reconciler.bootstrap import Session, find_fleet, open_fleet
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.observe import observe
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import PlanningCache, compute_plan
from reconciler.model.events import ApplyFinished
from reconciler.model.objects import Found, Scope
from reconciler.model.plan import Policy
from reconciler.placement import PlacementRequest, place
from reconciler.plan import PlanInput, make_plan
from reconciler.render import render
from reconciler.spec import read_fleet

ROUNDS = 7


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
    failed = 0
    async for event in apply_plan(session, plan, options=options, stop=asyncio.Event(), cache=cache):
        if isinstance(event, ApplyFinished):
            failed = event.failed + event.skipped
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


async def warm(session: Session, root: Path) -> dict[str, Any]:
    """What a process that stays costs: medians over commits."""
    cache = PlanningCache()
    await compute_plan(session, policy=Policy(), cache=cache)
    gc.collect()
    gc.freeze()

    async def timed(before: Callable[[int], None]) -> tuple[float, int]:
        times, changes = [], 0
        for number in range(ROUNDS):
            before(number)
            started = time.perf_counter()
            changes = len((await compute_plan(session, policy=Policy(), cache=cache)).changes)
            times.append(time.perf_counter() - started)
        return statistics.median(times), changes

    nothing, _ = await timed(lambda _: None)
    one, one_changes = await timed(lambda number: fleets.change_one(root, 1, 2 + number % 2))
    template, template_changes = await timed(lambda number: fleets.change_template(root, "rare", f"{600 + number}Mi"))
    return {
        "nothing_s": nothing,
        "one_commit_s": one,
        "one_commit_changes": one_changes,
        "template_s": template,
        "template_changes": template_changes,
        "peak_mb": peak_mb(),
    }


async def main(name: str, root: Path) -> None:
    """Run one measurement and print it."""
    work: dict[str, Callable[[Session], Awaitable[dict[str, Any]]]] = {
        "fill": fill,
        "cold": cold,
        "warm": lambda session: warm(session, root),
    }
    async with await open_fleet(find_fleet(root)) as session:
        print(json.dumps(await work[name](session)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))

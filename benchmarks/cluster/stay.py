"""A process that stays, as a daemon would: `python -m benchmarks.cluster.stay FLEET_DIR` plans again and again, first
by lists and then out of its watches, and then keeps the fleet: whatever changes on the cluster is planned and undone.

It is led line by line: each line of standard input is answered with one line of JSON. `plans` measures plans without
watches, `watch` starts listening and measures plans with watches, `steady SECONDS` counts requests while nothing
happens, `keep` lets it undo from then on, `passes` tells of what it did since.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from reconciler.adapters.kubernetes.cluster import KubernetesCluster
from reconciler.bootstrap import Session, find_fleet, open_fleet
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import PlanningCache, compute_plan, declare
from reconciler.model.events import ApplyFinished
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import Scope
from reconciler.model.plan import Policy

ROUNDS = 7
PODS = Scope(kinds=(("", "v1", "Pod"),))
HEARD_WITHIN_S = 120.0


class Stay:
    """One process's session, its memory and its loop."""

    def __init__(self, session: Session, cluster: KubernetesCluster) -> None:
        self._session = session
        self._cluster = cluster
        self._cache = PlanningCache()
        self._look = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._passes: list[dict[str, Any]] = []

    async def plans(self) -> dict[str, Any]:
        """The median of some plans that find nothing to do, and how many requests each makes."""
        await compute_plan(self._session, policy=Policy(), cache=self._cache)
        gc.collect()
        gc.freeze()
        times, before, changes = [], self._cluster.requests, 0
        for _ in range(ROUNDS):
            started = time.perf_counter()
            changes = len((await compute_plan(self._session, policy=Policy(), cache=self._cache)).changes)
            times.append(time.perf_counter() - started)
        requests = (self._cluster.requests - before) / ROUNDS
        return {"plan_s": statistics.median(times), "requests": requests, "changes": changes, "rounds": ROUNDS}

    async def watch(self) -> dict[str, Any]:
        """Listen to all that we render, and to pods, whose copy tells what room there is; then plan out of that."""
        woken, dropped = self._cluster.changes(Scope()), self._cluster.changes(PODS)
        self._tasks = [
            asyncio.create_task(_each(woken, self._look.set)),
            asyncio.create_task(_each(dropped, lambda: None)),
        ]
        until = time.monotonic() + HEARD_WITHIN_S
        while time.monotonic() < until:
            before = self._cluster.requests
            await self._cluster.observe(Scope(kinds=(*Scope().kinds, *PODS.kinds)))
            if self._cluster.requests == before:
                return await self.plans()
            await asyncio.sleep(0.2)
        raise SystemExit("the watches did not come up")

    async def steady(self, seconds: float) -> dict[str, Any]:
        """Requests while nothing happens."""
        before = self._cluster.requests
        await asyncio.sleep(seconds)
        return {"requests": self._cluster.requests - before, "seconds": seconds}

    async def keep(self) -> dict[str, Any]:
        """Start to undo."""
        self._look.clear()
        self._tasks.append(asyncio.create_task(self._keeping()))
        return {}

    async def passes(self) -> dict[str, Any]:
        """What the loop did."""
        done, self._passes = self._passes, []
        return {"passes": done}

    async def _keeping(self) -> None:
        options = ApplyOptions(actor="bench", holder="bench", retry=self._session.retry)
        while True:
            await self._look.wait()
            self._look.clear()
            started, before = time.perf_counter(), self._cluster.requests
            plan = await compute_plan(self._session, policy=Policy(), cache=self._cache)
            planned = time.perf_counter()
            failed = 0
            if plan.changes:
                events = apply_plan(self._session, plan, options=options, stop=asyncio.Event(), cache=self._cache)
                async for event in events:
                    if isinstance(event, ApplyFinished):
                        failed = event.failed + event.skipped
            self._passes.append(
                {
                    "plan_s": planned - started,
                    "apply_s": time.perf_counter() - planned,
                    "changes": len(plan.changes),
                    "failed": failed,
                    "requests": self._cluster.requests - before,
                }
            )

    async def close(self) -> None:
        """End the loop. What it died of is raised here."""
        for task in self._tasks:
            if not task.done():
                task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def _each(events: AsyncIterator[ObjectRef], act: Callable[[], object]) -> None:
    async for _ in events:
        act()


async def main(root: Path) -> None:
    """Do what the lines say."""
    async with await open_fleet(find_fleet(root)) as session:
        declared = await declare(session, await session.source.revision(""), PlanningCache())
        if declared.fleet is None:
            raise SystemExit("the fleet to measure is not valid")
        cluster = next(iter((await session.stores(declared.fleet)).clusters.values()))
        if not isinstance(cluster, KubernetesCluster):
            raise SystemExit(f"the fleet's cluster cannot be measured: {cluster}")
        stay = Stay(session, cluster)
        try:
            while line := await asyncio.to_thread(sys.stdin.readline):
                name, *values = line.split()
                print(json.dumps(await getattr(stay, name)(*map(float, values))), flush=True)
        finally:
            await stay.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

"""Copies of a registry, and the change feed: what a cache saves, and how late its news are.

May live here: measurements of adapters/cache and of `Registry.changes`. Used by `python -m benchmarks.registry`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from reconciler.adapters.cache import CachedRegistry
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.registry import AuditFact, Record, Write
from reconciler.ports import Registry
from reconciler.query.checking import read_query

COMMITS = 200
HOT = 500
"""Agents that are asked for again and again."""
Timed = Callable[[Callable[[], Awaitable[object]]], Awaitable[dict[str, float]]]


async def cached_reads(inner: Registry, names: list[AgentName], timed: Timed, *, now_ms: int, page: int) -> Any:
    """The same questions through the cache of this process: nothing is told that was not true when it was asked."""
    cache = CachedRegistry(inner, SystemClock())
    chance = random.Random(5)
    query = read_query("labels.team = team-7", now_ms=now_ms)

    async def point() -> None:
        assert isinstance(await cache.get(chance.choice(names[:HOT])), Found)

    results = {
        "one agent by its name": await timed(point),
        "label: `labels.team = team-7`": await timed(lambda: cache.find(query, limit=page)),
        "count by state": await timed(lambda: cache.count(read_query("", now_ms=now_ms), by="state")),
    }
    uses = cache.uses
    return {"times": results, "records_rate": uses.records.rate, "answers_rate": uses.answers.rate}


@dataclass(slots=True)
class _Seen:
    at: dict[int, float]
    changed: asyncio.Event


async def feed_lag(path: Path, held: list[Record], *, now_ms: int) -> dict[str, float]:
    """From the end of a commit to its line in the feed of another connection that looks all the time, in seconds."""
    writer = await SqliteRegistry.open(path, SystemClock())
    reader = await SqliteRegistry.open(path, SystemClock())
    seen = _Seen(at={}, changed=asyncio.Event())
    since = 0
    async for seq, _name in reader.changes(0):
        since = seq
    following = asyncio.create_task(_follow(reader, since, seen))
    lags = []
    try:
        for number in range(COMMITS):
            record = held[number % len(held)]
            new = replace(record, version=record.version + 1, last_seen_ms=now_ms + number)
            held[number % len(held)] = new
            fact = AuditFact(actor="bench", action="update", agent=new.name)
            write = Write(op_id=f"lag-{number}", at_ms=now_ms, records=(new,), audit=(fact,))
            seq = await writer.commit(write)
            ended = perf_counter()
            while seq not in seen.at:
                seen.changed.clear()
                await seen.changed.wait()
            lags.append(seen.at[seq] - ended)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await reader.close()
        await writer.close()
    lags = sorted(max(0.0, lag) for lag in lags)
    return {"p50": lags[len(lags) // 2], "p99": lags[len(lags) * 99 // 100], "runs": len(lags)}


async def _follow(reader: Registry, since: int, seen: _Seen) -> None:
    while True:
        async for seq, _name in reader.changes(since):
            since = seq
            seen.at[seq] = perf_counter()
            seen.changed.set()
        await asyncio.sleep(0.0005)

"""A registry over the network: ours on ArangoDB, beside python-arango used as its first page shows it.

The server is the double of the tests, a SIMULATION of ArangoDB in a process of its own: its time is no measure of a
real server's, so it is told apart (CPU seconds of that process), and what is compared is what remains on our side.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from arango.client import ArangoClient

from reconciler.adapters.arango import Access, ArangoRegistry
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.stored import codec
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.registry import AgentState, Record, Write
from reconciler.query.checking import read_query
from tests.doubles.arango.process import ArangoProcess

RUNS = 200
GROUP = 50
TICKS = os.sysconf("SC_CLK_TCK")


def measure(records: Iterable[Record], *, now_ms: int, page: int) -> dict[str, Any]:
    """Milliseconds a call by title: `wall`, our own CPU (`own`), and that of the double (`double`)."""
    kept = [replace(record, state=AgentState.REGISTERED) for record in records]  # as all begin
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
        double = ArangoProcess(Path(folder) / "double.db")
        with double:
            ours = asyncio.run(_ours(double, kept, now_ms=now_ms, page=page))
            return {"agents": len(kept), "ours": ours, "naive": _naive(double, kept, page=page)}


async def _ours(double: ArangoProcess, kept: list[Record], *, now_ms: int, page: int) -> dict[str, dict[str, float]]:
    access = Access(urls=(double.url,), database="bench", username="root", password="")
    registry = await ArangoRegistry.open(access, SystemClock())
    chance = random.Random(9)
    label = read_query("labels.team = team-7", now_ms=now_ms)
    words = read_query("words 'refund candidate'", now_ms=now_ms)

    async def fill() -> None:
        for start in range(0, len(kept), GROUP):
            await registry.commit(
                Write(op_id=f"fill-{start}", at_ms=now_ms, records=tuple(kept[start : start + GROUP]))
            )

    async def point() -> None:
        assert isinstance(await registry.get(chance.choice(kept).name), Found)

    try:
        meter = _Meter(double)
        results = {"writing them, a group of 50": await meter.awaited(fill, calls=len(kept) // GROUP)}
        results["one agent by its name"] = await meter.awaited(_times(point), calls=RUNS)
        results["label, a page of 50"] = await meter.awaited(
            _times(lambda: registry.find(label, limit=page)), calls=RUNS
        )
        results["words, a page of 50"] = await meter.awaited(
            _times(lambda: registry.find(words, limit=page)), calls=RUNS
        )
        return results
    finally:
        await registry.close()


def _times(one: Callable[[], Any]) -> Callable[[], Any]:
    async def many() -> None:
        for _ in range(RUNS):
            await one()

    return many


def _naive(double: ArangoProcess, kept: list[Record], *, page: int) -> dict[str, dict[str, float]]:
    """One document an agent as JSON, AQL with values as binds, decoded with the standard library; no transactions."""
    client = ArangoClient(hosts=double.url)
    client.db("_system", username="root", password="").create_database("naive")
    db: Any = client.db("naive", username="root", password="")
    agents: Any = db.create_collection("agents")
    documents = [{**_plain(record), "_key": _key(record.name)} for record in kept]
    chance = random.Random(9)
    by_label = "FOR d IN agents FILTER d.labels.team == @team SORT d._key LIMIT @page RETURN d"

    def fill() -> None:
        for start in range(0, len(documents), GROUP):
            agents.insert_many(documents[start : start + GROUP])

    def point() -> None:
        assert agents.get(_key(chance.choice(kept).name)) is not None

    def page_by_label() -> None:
        assert len(list(db.aql.execute(by_label, bind_vars={"team": "team-7", "page": page}))) > 0

    meter = _Meter(double)
    results = {"writing them, a group of 50": meter.called(fill, calls=len(kept) // GROUP)}
    results["one agent by its name"] = meter.called(point, calls=1, runs=RUNS)
    results["label, a page of 50"] = meter.called(page_by_label, calls=1, runs=RUNS // 10)
    client.close()
    return results


def _plain(record: Record) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(codec.encode(record))
    return value


def _key(name: AgentName) -> str:
    return f"{name.namespace}:{name.name}"


class _Meter:
    """Milliseconds of one call: on the clock, of this process, and of the double."""

    def __init__(self, double: ArangoProcess) -> None:
        self._pid = double.pid

    async def awaited(self, work: Callable[[], Any], *, calls: int) -> dict[str, float]:
        began = self._now()
        await work()
        return self._since(began, calls)

    def called(self, work: Callable[[], None], *, calls: int, runs: int = 1) -> dict[str, float]:
        began = self._now()
        for _ in range(runs):
            work()
        return self._since(began, calls * runs)

    def _now(self) -> tuple[float, float, float]:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return perf_counter(), process_time(), (int(fields[11]) + int(fields[12])) / TICKS

    def _since(self, began: tuple[float, float, float], calls: int) -> dict[str, float]:
        wall, own, double = (1000 * (now - then) / calls for now, then in zip(self._now(), began, strict=True))
        return {"wall": wall, "own": own, "double": double}


def report(result: dict[str, Any]) -> list[str]:
    """Lines of Markdown."""
    lines = [
        "",
        f"On ArangoDB, {result['agents']:,} agents; the server is the double of the tests, which SIMULATES one.",
        "Milliseconds a call: on the clock / our own CPU / the double's CPU.",
        "",
        "| | ours | python-arango, one document an agent |",
        "|---|---:|---:|",
    ]
    for title, ours in result["ours"].items():
        naive = result["naive"].get(title)
        cell = _cell(naive) if naive else "no words, no index of them"
        lines.append(f"| {title} | {_cell(ours)} | {cell} |")
    return lines


def _cell(times: dict[str, float]) -> str:
    return " / ".join(f"{times[name]:.1f}" for name in ("wall", "own", "double"))

"""The registry: `python -m benchmarks.registry [--sizes 1000,10000,100000] [--write docs/performance.md]`.

Beside our queries, in the same run and on the same records: SQLite's own JSON functions over a plain table, as one
would write it by hand. Times are what a caller waits for: finding, reading and decoding a page of 50 agents. Each
figure is printed as soon as it is known, and the document written after each size.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import copies, far
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.adapters.stored import codec
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.query import Query
from reconciler.model.registry import AgentState, AuditFact, PlacedReplicas, Record, Write
from reconciler.query.checking import read_query

START = "<!-- registry figures: written by benchmarks/registry.py -->"
END = "<!-- end of registry figures -->"
NOW = 1_764_115_200_000
PAGE = 50
clock: Callable[[], float] = time.perf_counter
"""What measures; `--cpu` takes the process's own time, on a machine where others work too."""
BUDGET_S = 3.0
"""What one measurement may take; slow ones are run fewer times, but five times at least."""
RUNS = 300
GOAL_P50_MS, BOUND_P99_MS = 5, 50
"""What queries should take, and what none of them may."""
FAR = 1000
"""Agents on the double, which is no server to measure large fleets on."""
TEAMS = 40
NOUNS = ("refund", "invoice", "ticket", "report", "contract", "order", "parcel", "meeting", "candidate", "forecast")
VERBS = ("answers", "sorts", "checks", "writes", "translates", "forwards", "summarises", "plans", "files", "rates")

QUERIES: dict[str, str] = {
    "page of 50, by name": "",
    "page, `order by updated desc`": "order by updated desc",
    "label: `labels.team = team-7`": "labels.team = team-7",
    "label of one agent": "labels.serial = s123",
    "complex: `state = degraded and labels.team in (...) and replicas > 2 order by updated desc`": (
        "state = degraded and labels.team in (team-1, team-2) and replicas > 2 order by updated desc"
    ),
    "complex, all of it common": (
        "state = running and replicas > 2 and resources.limits.memory >= 256Mi order by updated desc"
    ),
    "complex, common, and none is like that": "state = running and labels.tier = gold and labels.shift = night",
    "text: `words 'refund candidate'`": "words 'refund candidate'",
    "text, rare: `words 'note123*'`": "words 'note123*'",
    "text, in nearly all: `words agent`": "words agent",
    "`name like 'agent-0012%'`": "name like 'agent-0012%'",
    "`spec.description contains 'note 123 '`": "spec.description contains 'note 123 '",
    "`not exists labels.serial`": "not exists labels.serial",
    "`order by labels.team` (no index)": "order by labels.team",
}
BY_HAND: dict[str, str] = {
    "page of 50, by name": "1",
    "label: `labels.team = team-7`": "json ->> '$.labels.team' = 'team-7'",
    "complex: `state = degraded and labels.team in (...) and replicas > 2 order by updated desc`": (
        "json ->> '$.state' = 'degraded' AND json ->> '$.labels.team' IN ('team-1', 'team-2') "
        "AND (json ->> '$.placement[0].replicas') > 2"
    ),
    "text: `words 'refund candidate'`": (
        "(json ->> '$.document.systemMessage') LIKE '%refund%' "
        "AND (json ->> '$.document.systemMessage') LIKE '%candidate%'"
    ),
}


def records(number: int) -> Iterator[Record]:
    """A fleet: teams, tiers and templates shared, names, descriptions and times of their own."""
    chance = random.Random(7)
    for serial in range(number):
        state = chance.choices(
            (AgentState.RUNNING, AgentState.DEGRADED, AgentState.SUSPENDED, AgentState.QUARANTINED), (92, 4, 2, 2)
        )[0]
        team = f"team-{chance.randrange(TEAMS)}"
        gold = chance.random() < 0.3
        labels = {"team": team, "tier": "gold" if gold else "plain", "shift": "day" if gold else "night"}
        if serial % 2:
            labels["serial"] = f"s{serial}"
        yield Record(
            id=f"a{serial:010x}",
            name=AgentName(namespace=team, name=f"agent-{serial:06}"),
            version=1,
            state=state,
            labels=labels,
            document=document(serial, chance),
            spec_hash=f"{serial:064x}",
            lineage=("base", f"service-{serial % 20}"),
            source_path=f"agents/{team}/agent-{serial:06}.yaml",
            commit=f"{serial % 300:040x}",
            revision=chance.randrange(1, 9),
            placement=(PlacedReplicas(cluster=f"cluster-{serial % 5}", replicas=chance.randrange(1, 6)),),
            reservations=(),
            inventory=(),
            created_ms=NOW - chance.randrange(10**10),
            updated_ms=NOW - chance.randrange(10**9),
            last_seen_ms=NOW - chance.randrange(10**7),
        )


def document(serial: int, chance: random.Random) -> dict[str, Any]:
    """A resolved spec: about seventy values, most of them as its template has them."""
    nouns, verbs = chance.sample(NOUNS, 2), chance.sample(VERBS, 2)
    probe = {"http": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "period": "10s", "timeout": "1s",
             "initialDelay": "0s", "failureThreshold": 3, "successThreshold": 1}  # fmt: skip
    return {
        "description": f"{verbs[0]} each {nouns[0]}, note {serial} of the team",
        "image": f"ghcr.io/acme/service-{serial % 20}:1.{serial % 7}.0",
        "command": ["python3", "-m", "service"],
        "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "SHARD", "value": str(serial % 64)}],
        "replicas": serial % 5 + 1,
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "500m", "memory": chance.choice(("128Mi", "256Mi", "512Mi"))},
        },
        "modelConfig": {"provider": "anthropic", "model": "large", "parameters": {"temperature": 0.2}},
        "systemMessage": f"You are an agent that {verbs[0]} every {nouns[0]} and {verbs[1]} the {nouns[1]}. "
        f"note{serial}",
        "tools": [{"mcpServer": {"name": f"server-{serial % 9}", "toolNames": ["search", nouns[0]]}}],
        "skills": [
            {"id": nouns[0], "name": nouns[0].title(), "description": f"{verbs[1]} a {nouns[0]}", "tags": [nouns[1]]}
        ],
        "config": {"queue": f"q-{serial % 50}", "limit": serial % 100, "flags": {"beta": serial % 10 == 0}},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "probes": {"readiness": probe, "liveness": probe},
        "health": {"interval": "30s", "failureThreshold": 3, "successThreshold": 1,
                   "checks": [{"name": "up", "connectivity": {"tcp": {"port": "http"}, "timeout": "2s"}}]},
        "recovery": {"ladder": ["reprobe", "restart", "rollback"], "attempts": 5,
                     "backoff": {"initial": "10s", "factor": 2.0, "max": "5m"}},
        "rollout": {"maxSurge": 1, "maxUnavailable": 0, "timeout": "2m", "settle": "2s", "terminationGrace": "30s",
                    "onFailure": "rollback"},
        "placement": {"clusters": {"names": [f"cluster-{serial % 5}"]}, "policy": "spread", "failoverAfter": "5m",
                      "failbackAfter": "10m"},
        "dependsOn": [], "wave": 0, "suspend": False, "protect": False, "adopt": False,
    }  # fmt: skip


async def fill(path: Path, number: int) -> float:
    """Make a registry as an earlier version left it: records, and nothing to search. Answers how long opening takes."""
    await (await SqliteRegistry.open(path, SystemClock())).close()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE by_hand (namespace TEXT, name TEXT, json TEXT, PRIMARY KEY (namespace, name))")
    for seq, record in enumerate(records(number), start=1):
        one = codec.record_columns(record)
        row = (record.name.namespace, record.name.name, record.id, 1, record.state.value, seq, record.updated_ms,
               one.body, one.document, one.manifests, one.shared)  # fmt: skip
        connection.execute(f"INSERT INTO records VALUES ({', '.join('?' * 11)})", row)  # noqa: S608 - question marks
        plain = codec.encode(record).decode()
        connection.execute("INSERT INTO by_hand VALUES (?, ?, ?)", (record.name.namespace, record.name.name, plain))
        if not seq % 20_000:
            doing(number, f"{seq:,} are there")
    connection.execute("UPDATE head SET seq = ?", (number,))
    connection.execute("UPDATE projection SET version = 0")
    connection.commit()
    connection.close()
    doing(number, "making them searchable")
    started = clock()
    await (await SqliteRegistry.open(path, SystemClock())).close()
    return clock() - started


async def timed(work: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Seconds at the median and the 99th percentile."""
    await work()
    spent: list[float] = []
    end = clock() + BUDGET_S
    while len(spent) < 5 or (len(spent) < RUNS and clock() < end):
        started = clock()
        await work()
        spent.append(clock() - started)
    spent.sort()
    return {
        "p50": spent[len(spent) // 2],
        "p99": spent[min(len(spent) - 1, len(spent) * 99 // 100)],
        "runs": len(spent),
    }


def is_slow(times: dict[str, float]) -> bool:
    return times["p50"] * 1000 >= GOAL_P50_MS


def is_late(times: dict[str, float]) -> bool:
    return times["p99"] * 1000 >= BOUND_P99_MS


def told(number: int, title: str, times: dict[str, float]) -> dict[str, float]:
    """Print a figure now: whoever waits sees how far it is, and what was measured stands where it is broken off."""
    late = f"  over {BOUND_P99_MS} ms at p99" if is_late(times) else ""
    slow = f"  over {GOAL_P50_MS} ms at the median" if is_slow(times) else ""
    print(f"{number:>7,} agents  {ms(times['p50']):>6} / {ms(times['p99']):>6} ms  {title}{slow}{late}", flush=True)
    return times


def doing(number: int, what: str) -> None:
    print(f"{number:>7,} agents: {what}", file=sys.stderr, flush=True)


async def measure(number: int) -> dict[str, Any]:
    """Everything at one size."""
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
        path = Path(folder) / "registry.db"
        doing(number, "filling")
        result: dict[str, Any] = {"agents": number, "upgrade_s": await fill(path, number)}
        started = clock()
        registry = await SqliteRegistry.open(path, SystemClock())
        result["open_s"] = clock() - started
        try:
            result["queries"] = await queries(registry, number)
            names = [record.name for record in records(min(number, 1000))]
            result["cached"] = await copies.cached_reads(registry, names, timed, now_ms=NOW, page=PAGE)
            for title, times in result["cached"]["times"].items():
                told(number, f"through the cache: {title}", times)
            result["writes"] = await writes(registry, number)
            plans = {title: await registry.explain(read_query(text, now_ms=NOW), limit=PAGE)
                     for title, text in QUERIES.items()}  # fmt: skip
            result["scans"] = [title for title, plan in plans.items() if plan.scans]
        finally:
            await registry.close()
        result["lag"] = told(number, "the feed", await copies.feed_lag(path, await running(path), now_ms=NOW))
        doing(number, "the same by hand")
        result["by_hand"] = by_hand(path)
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE by_hand")
        connection.execute("VACUUM")
        connection.close()
        result["mb"] = path.stat().st_size / 1e6
        result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return result


async def queries(registry: SqliteRegistry, number: int) -> dict[str, Any]:
    chance = random.Random(3)
    names = [AgentName(namespace=r.name.namespace, name=r.name.name) for r in records(min(number, 1000))]

    async def point() -> None:
        found = await registry.get(chance.choice(names))
        assert isinstance(found, Found)

    results: dict[str, Any] = {"one agent by its name": told(number, "one agent by its name", await timed(point))}
    for title, text in QUERIES.items():
        query = read_query(text, now_ms=NOW)
        times = await timed(lambda query=query: registry.find(query, limit=PAGE))  # type: ignore[misc]
        results[title] = told(number, title, times)
    middle = await registry.find(read_query("order by updated desc", now_ms=NOW), limit=min(10_000, number // 2))
    query = read_query("order by updated desc", now_ms=NOW)
    title = "page far into `order by updated desc`"
    results[title] = told(number, title, await timed(lambda: registry.find(query, limit=PAGE, after=middle.next)))
    for by in ("state", "labels.team"):
        times = await timed(lambda by=by: registry.count(Query(), by=by))  # type: ignore[misc]
        results[f"count by {by}"] = told(number, f"count by {by}", times)
    return results


async def writes(registry: SqliteRegistry, number: int) -> dict[str, float]:
    """Agents written a second: their state, as a sweep writes it; one a transaction, and a hundred."""
    doing(number, "writing")
    held = list(records(min(number, 1000)))
    held = [record for record in held if record.state is AgentState.RUNNING]
    results: dict[str, float] = {}
    for title, size in (("one a transaction", 1), ("a hundred a transaction", 100)):
        done, started = 0, clock()
        while clock() - started < BUDGET_S:
            at = done % (len(held) - size)
            some = held[at : at + size]
            new = [replace(r, version=r.version + 1, updated_ms=NOW + done, last_seen_ms=NOW + done) for r in some]
            held[at : at + size] = new
            facts = tuple(AuditFact(actor="bench", action="update", agent=r.name) for r in new)
            await registry.commit(Write(op_id=f"{title}-{done}", at_ms=NOW, records=tuple(new), audit=facts))
            done += size
        results[title] = done / (clock() - started)
    done, started = 0, clock()
    fresh = (replace(r, state=AgentState.REGISTERED, name=AgentName(namespace="new", name=r.name.name), id=f"n{r.id}")
             for r in records(100_000))  # fmt: skip
    while clock() - started < BUDGET_S:
        some = [next(fresh) for _ in range(100)]
        await registry.commit(Write(op_id=f"new-{done}", at_ms=NOW, records=tuple(some)))
        done += 100
    results["new agents, a hundred a transaction"] = done / (clock() - started)
    return results


async def running(path: Path) -> list[Record]:
    """Some agents as they are on record now."""
    registry = await SqliteRegistry.open(path, SystemClock())
    page = await registry.find(read_query("state = running", now_ms=NOW), limit=PAGE)
    await registry.close()
    return list(page.records)


def by_hand(path: Path) -> dict[str, float]:
    """Median seconds of a scan over JSON, its page decoded with the standard library."""
    connection = sqlite3.connect(path)
    results: dict[str, float] = {}
    for title, where in BY_HAND.items():
        order = "json ->> '$.updated_ms' DESC" if "updated" in title else "namespace, name"
        statement = f"SELECT json FROM by_hand WHERE {where} ORDER BY {order} LIMIT {PAGE}"  # noqa: S608 - of our own
        spent = []
        for _ in range(5):
            started = clock()
            for (text,) in connection.execute(statement).fetchall():
                json.loads(text)
            spent.append(clock() - started)
        results[title] = sorted(spent)[2]
    connection.close()
    return results


def missed(result: dict[str, Any]) -> list[str]:
    """What of the goals was met at the largest size."""
    times = result["queries"]
    slow = [title for title, each in times.items() if is_slow(each)]
    late = [title for title, each in times.items() if is_late(each)]
    return [
        f"Of {len(times)} queries at {result['agents']:,} agents {len(times) - len(slow)} take less than "
        f"{GOAL_P50_MS} ms at the median, and {len(times) - len(late)} less than {BOUND_P99_MS} ms at p99."
        + (f" Slower at the median: {'; '.join(slow)}." if slow else "")
        + (f" Late at p99: {'; '.join(late)}." if late else ""),
    ]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}" if seconds < 0.01 else f"{seconds * 1000:.0f}"


def report(results: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    sizes = [f"{result['agents']:,} agents" for result in results]
    rule = "|---|" + "---:|" * len(results)
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    lines = [
        f"{versions}, {platform.system()} {platform.machine()}, one run. Milliseconds at the median / at p99.",
        "",
        "| Query, a page of 50 | " + " | ".join(sizes) + " |",
        rule,
    ]
    for title in results[-1]["queries"]:
        cells = [f"{ms(r['queries'][title]['p50'])} / {ms(r['queries'][title]['p99'])}" for r in results]
        said = title + (" (scans)" if title in results[-1]["scans"] else "")
        lines.append(f"| {said} | " + " | ".join(cells) + " |")
    lines += [
        "",
        *missed(results[-1]),
        *[
            "",
            "| The same over a plain table of JSON, median (theirs / ours) | " + " | ".join(sizes) + " |",
            rule,
        ],
    ]
    for title in BY_HAND:
        cells = [f"{ms(r['by_hand'][title])} ({r['by_hand'][title] / r['queries'][title]['p50']:.1f})" for r in results]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "| Writes, agents a second | " + " | ".join(sizes) + " |", rule]
    for title in results[-1]["writes"]:
        lines.append(f"| {title} | " + " | ".join(f"{r['writes'][title]:.0f}" for r in results) + " |")
    lines += [
        "",
        "| | " + " | ".join(sizes) + " |",
        rule,
        "| opening the file | " + " | ".join(f"{r['open_s']:.2f} s" for r in results) + " |",
        "| making an older file searchable, once | " + " | ".join(f"{r['upgrade_s']:.1f} s" for r in results) + " |",
        "| file | " + " | ".join(f"{r['mb']:.0f} MB" for r in results) + " |",
        "| memory of the process at its peak, filling included | "
        + " | ".join(f"{r['peak_mb']:.0f} MB" for r in results)
        + " |",
        "| the feed: from a commit to its news on another connection, ms | "
        + " | ".join(f"{ms(r['lag']['p50'])} / {ms(r['lag']['p99'])}" for r in results)
        + " |",
    ]
    lines += ["", "| Through the cache of the process | " + " | ".join(sizes) + " |", rule]
    for title in results[-1]["cached"]["times"]:
        times = [r["cached"]["times"][title] for r in results]
        lines.append(f"| {title} | " + " | ".join(f"{ms(t['p50'])} / {ms(t['p99'])}" for t in times) + " |")
    for title, name in (("records", "records_rate"), ("answers", "answers_rate")):
        lines.append(f"| hits, {title} | " + " | ".join(f"{r['cached'][name]:.0%}" for r in results) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write into the document if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for one measurement")
    parser.add_argument("--cpu", action="store_true", help="measure CPU time: for a machine that others use too")
    options = parser.parse_args()
    globals()["BUDGET_S"] = options.budget
    if options.cpu:
        globals()["clock"] = time.process_time
    doing(FAR, "on the double of ArangoDB")
    apart = far.report(far.measure(records(FAR), now_ms=NOW, page=PAGE))
    results: list[dict[str, Any]] = []
    for size in sorted(map(int, options.sizes.split(","))):
        results.append(asyncio.run(measure(size)))
        text = "\n".join((report(results), *apart))
        if options.write is not None:
            write_into(options.write, text)
    print(text)


def write_into(document: Path, text: str) -> None:
    """Put the figures where they stand."""
    before, _, rest = document.read_text().partition(START)
    document.write_text(f"{before}{START}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()

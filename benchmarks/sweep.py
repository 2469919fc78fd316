"""The health sweep: `python -m benchmarks.sweep [--sizes 1000,10000] [--write docs/performance.md]`.

Agents are HTTP endpoints on loopback, in processes of their own whose CPU time is told apart. What is measured is a
whole sweep as the daemon does it: pods and usage out of a cluster that is remembered as watches keep one, a probe of
each agent, its assessment. Beside it, in the same run: a plain loop with aiohttp, which only asks and judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from benchmarks.endpoints import CPU
from benchmarks.run import row, tell
from benchmarks.sweepparts import parts, parts_table
from benchmarks.sweptfleet import RememberedCluster, agents_of
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.probes import HttpProber
from reconciler.daemon.collecting import collect_seldom
from reconciler.engine.seen import Memory
from reconciler.engine.sweep import sweep
from reconciler.engine.world import Stores
from reconciler.model.agent import Agent
from reconciler.model.health import Assessment, HttpProbe, ProbeRequest, Sample
from reconciler.model.identity import AgentName

Result = dict[str, Any]
START = "<!-- sweep figures: written by `make bench-health` -->"
END = "<!-- end of sweep figures -->"
ROUNDS = 5
FEWER = 3
"""Rounds of the ways that are only compared with."""
TIMEOUT_S = 2.0
HANGING = 10
"""One of so many hangs."""
SERVERS = 2
PARTS_MOST = 2000
"""Of so many endpoints it is looked into where the time goes."""


# What is measured: the two ways of asking a fleet's pods. In a process of its own.


@dataclass(slots=True)
class Noted:
    """A prober whose samples are kept, with when they came."""

    inner: HttpProber
    samples: list[tuple[int, float, Sample]]

    async def probe(self, request: ProbeRequest) -> Sample:
        sample = await self.inner.probe(request)
        assert isinstance(request, HttpProbe)
        self.samples.append((request.port, time.perf_counter(), sample))
        return sample

    async def close(self) -> None:
        await self.inner.close()


Times = tuple[dict[int, float], list[float]]
"""When each port had answered, in seconds from the start of the sweep, and latencies in ms."""


class Ours:
    """The sweep of the daemon, kept connections and earlier assessments included."""

    def __init__(self, agents: Mapping[AgentName, Agent]) -> None:
        self.agents = agents
        self.prober = HttpProber(clock=SystemClock())
        self.memory = Memory(clock=SystemClock())
        self.before: Mapping[AgentName, Assessment] = {}

    def prepare(self, ports: Sequence[int]) -> Stores:
        """The fleet with its pods at these ports."""
        cluster: Any = RememberedCluster(dict(zip(self.agents, ports, strict=True)))
        unused: Any = None
        return Stores(registry=unused, clusters={"local": cluster})

    async def sweep(self, stores: Stores) -> Times:
        noted = Noted(self.prober, [])
        began = time.perf_counter()
        found = await sweep(stores, self.agents, noted, SystemClock(), previous=self.before, memory=self.memory)
        self.before = found.assessments
        assert len(found.assessed) == len(self.agents)
        well = [(port, at - began, sample.latency_ms) for port, at, sample in noted.samples if sample.ok]
        return {port: at for port, at, _ in well}, [latency for _, _, latency in well]

    async def forget(self) -> None:
        """Close all connections."""
        await self.prober.close()

    async def close(self) -> None:
        await self.prober.close()


class Plain:
    """A loop as one would write it: aiohttp, gather, a deadline for each. `limit`: of connections, 100 by default."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.session = self._opened()

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=self.limit)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    def prepare(self, ports: Sequence[int]) -> Sequence[int]:
        return ports

    async def sweep(self, ports: Sequence[int]) -> Times:
        began = time.perf_counter()
        ends: dict[int, float] = {}
        latencies: list[float] = []

        async def one(port: int) -> None:
            asked = time.perf_counter()
            try:
                async with self.session.get(f"http://127.0.0.1:{port}/healthz", allow_redirects=False) as answer:
                    await answer.read()
            except (TimeoutError, aiohttp.ClientError):
                return
            now = time.perf_counter()
            ends[port] = now - began
            latencies.append((now - asked) * 1000)

        await asyncio.gather(*(one(port) for port in ports))
        return ends, latencies

    async def forget(self) -> None:
        """Close all connections."""
        await self.session.close()
        self.session = self._opened()

    async def close(self) -> None:
        await self.session.close()


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, int(-(-len(ordered) * percent // 100)) - 1)] if ordered else 0.0


def used_by(servers: Sequence[int]) -> float:
    """CPU seconds that the processes of endpoints have used until now, each asked at one of its ports."""
    found = 0.0
    for port in servers:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{CPU}", timeout=60) as answer:
            found += float(answer.read())
    return found


async def one_sweep(work: Callable[[], Awaitable[Times]], servers: Sequence[int], healthy: frozenset[int]) -> Result:
    """One sweep, measured: of those that were well throughout, when they had answered."""
    theirs = used_by(servers)
    wall, cpu = time.perf_counter(), time.process_time()
    ends, latencies = await work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "servers_cpu_s": used_by(servers) - theirs,
        "well": len(ends),
        "latency_ms": {str(one): percentile(latencies, one) for one in (50, 95, 99)},
        "healthy_s": percentile([at for port, at in ends.items() if port in healthy], 99),
    }


async def measure(who: str, given: Mapping[str, list[int]]) -> Result:
    """Sweeps of endpoints that are all well, by turns with every tenth hanging; then of all over new connections."""
    well, servers = given["well"], given["servers"]
    way: Any = Ours(agents_of(len(well))) if who == "ours" else Plain(100 if who == "plain" else 0)
    mixed = list(well)
    mixed[::HANGING] = given["hanging"]
    healthy = frozenset(well) - frozenset(well[::HANGING])
    all_well, some_hang = way.prepare(well), way.prepare(mixed)
    collect_seldom()  # as a daemon does, and for all alike
    gc.collect()
    gc.freeze()  # what lasts is frozen, as a daemon's plan leaves it

    async def swept(asked: Any) -> Result:
        return await one_sweep(lambda: way.sweep(asked), servers, healthy)

    result: Result = {"first": await swept(all_well), "well": [], "hang": [], "new": []}
    rounds = ROUNDS if who == "ours" else FEWER
    for number in range(rounds):
        tell(f"{len(well)} endpoints, {who}: {number + 1} of {rounds}")
        result["well"].append(await swept(all_well))
        result["hang"].append(await swept(some_hang))
    for _ in range(FEWER):
        await way.forget()
        result["new"].append(await swept(all_well))
    if who == "ours":
        result["single"] = await single(way, well[0])
    await way.close()
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


async def single(way: Ours, port: int) -> Result:
    """One agent alone, from looking at its cluster to its assessment."""
    name = next(iter(way.agents))
    alone = Ours({name: way.agents[name]})
    stores = alone.prepare([port])
    times = []
    for _ in range(200):
        began = time.perf_counter()
        await alone.sweep(stores)
        times.append((time.perf_counter() - began) * 1000)
    await alone.close()
    return {str(one): percentile(times, one) for one in (50, 99)}


# The run: endpoints in processes of their own, each way of asking them in another.


class Endpoints:
    """Running endpoints, `well` and `hanging`; `servers` are one of each process, to be asked what that has used."""

    def __init__(self, stack: ExitStack, well: int) -> None:
        hanging = well // HANGING
        command = [sys.executable, "-m", "benchmarks.endpoints", str(well // SERVERS), str(hanging // SERVERS)]
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(SERVERS)
        ]
        lines = [[self._line(process), self._line(process)] for process in processes]
        self.well = [port for both in lines for port in both[0]]
        self.hanging = [port for both in lines for port in both[1]]
        self.servers = [both[0][0] for both in lines]

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> list[int]:
        assert process.stdout is not None
        return [int(port) for port in process.stdout.readline().split()]


def measured(who: str, endpoints: Endpoints) -> Any:
    """One way of asking, in a process of its own."""
    given = json.dumps({"well": endpoints.well, "hanging": endpoints.hanging, "servers": endpoints.servers})
    command = [sys.executable, "-m", "benchmarks.sweep", "--measure", who]
    done = subprocess.run(command, check=True, input=given, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


WAYS = {"ours": "`reconciler`", "plain": "aiohttp, gather", "unlimited": "the same, no limit"}


def run(size: int) -> Result:
    """All ways at one size."""
    with ExitStack() as stack:
        tell(f"{size} endpoints: starting them")
        endpoints = Endpoints(stack, size)
        load = os.getloadavg()[0]
        result = {who: measured(who, endpoints) for who in WAYS}
        found = {"size": size, "ways": result, "load": max(load, os.getloadavg()[0])}
        if size <= PARTS_MOST:
            tell(f"{size} endpoints: where the time goes")
            found["parts"] = measured("parts", endpoints)
        return found


def middle(sweeps: Sequence[Result], *path: str) -> float:
    """The median over sweeps of one of their figures."""

    def value(one: Any) -> float:
        for key in path:
            one = one[key]
        return float(one)

    return median(value(one) for one in sweeps)


def report(results: Sequence[Result]) -> str:
    """The figures as Markdown."""
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    load = max(result["load"] for result in results)
    lines = [
        f"{machine}, {os.cpu_count()} processors that endpoints and sweep share, one run; medians of {ROUNDS} sweeps,",
        f"of {FEWER} where all connections are new and of the plain loops.",
        f"The machine's load was {load:.0f} at most, the work of others on it included: compare CPU times and ratios.",
    ]
    for result in results:
        ways: Mapping[str, Result] = result["ways"]
        lines += ["", row(f"{result['size']:,} endpoints", *WAYS.values()), row("---", *("---:" for _ in WAYS))]
        lines += [row(title, *(cell(ways[who]) for who in WAYS)) for title, cell in ROWS]
    lines += [line for result in results if "parts" in result for line in ("", *parts_table(result["parts"]))]
    ours = [result["ways"]["ours"]["single"] for result in results]
    lines += ["", f"One agent alone, look, probe and assessment: {ours[-1]['50']:.1f} ms, p99 {ours[-1]['99']:.1f} ms."]
    return "\n".join(lines)


def _later(one: Result) -> str:
    pairs = zip(one["well"], one["hang"], strict=True)
    ratios = [hang["healthy_s"] / well["healthy_s"] - 1 for well, hang in pairs]
    return f"{100 * median(ratios):+.0f} %"


def _share(one: Result) -> float:
    theirs, ours = middle(one["well"], "servers_cpu_s"), middle(one["well"], "cpu_s")
    return 100 * theirs / (theirs + ours)


ROWS: Sequence[tuple[str, Callable[[Result], str]]] = (
    ("first sweep, all connections new", lambda one: f"{one['first']['wall_s']:.2f} s"),
    ("its CPU", lambda one: f"{one['first']['cpu_s']:.2f} s"),
    ("later sweeps", lambda one: f"{middle(one['well'], 'wall_s'):.2f} s"),
    ("their CPU", lambda one: f"{middle(one['well'], 'cpu_s'):.2f} s"),
    ("their CPU, an agent", lambda one: f"{1e6 * middle(one['well'], 'cpu_s') / one['well'][0]['well']:.0f} µs"),
    ("CPU of the endpoints meanwhile", lambda one: f"{middle(one['well'], 'servers_cpu_s'):.2f} s"),
    ("their share of both", lambda one: f"{_share(one):.0f} %"),
    *(
        (f"latency p{percent} of a probe", lambda one, at=percent: f"{middle(one['well'], 'latency_ms', at):.1f} ms")
        for percent in ("50", "95", "99")
    ),
    ("99 % of the healthy have answered", lambda one: f"{middle(one['well'], 'healthy_s'):.2f} s"),
    ("the same when 10 % hang", lambda one: f"{middle(one['hang'], 'healthy_s'):.2f} s"),
    ("so much later", _later),
    ("latency p99 of the others, when 10 % hang", lambda one: f"{middle(one['hang'], 'latency_ms', '99'):.1f} ms"),
    ("all connections new, later", lambda one: f"{middle(one['new'], 'wall_s'):.2f} s"),
    ("its CPU", lambda one: f"{middle(one['new'], 'cpu_s'):.2f} s"),
    ("CPU of a sweep in which 10 % hang", lambda one: f"{middle(one['hang'], 'cpu_s'):.2f} s"),
    ("peak memory", lambda one: f"{one['peak_mb']:.0f} MB"),
)  # fmt: skip


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--measure", choices=(*WAYS, "parts"))
    given = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if given.measure:
        ports = json.load(sys.stdin)
        work = parts(ports["well"]) if given.measure == "parts" else measure(given.measure, ports)
        print(json.dumps(asyncio.run(work)))
        return
    text = report([run(int(size)) for size in given.sizes.split(",")])
    print(text)
    if given.write:
        before, rest = given.write.read_text().split(START)
        given.write.write_text(f"{before}{START}\n{text}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()

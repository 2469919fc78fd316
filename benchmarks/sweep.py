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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from benchmarks import fleets
from benchmarks.run import row, tell
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.kubernetes.copies import Copy
from reconciler.adapters.kubernetes.listing import live_object
from reconciler.adapters.kubernetes.resources import Resource
from reconciler.adapters.probes import HttpProber
from reconciler.engine.seen import Memory
from reconciler.engine.sweep import sweep
from reconciler.engine.world import Stores
from reconciler.model.agent import Agent
from reconciler.model.health import Assessment, HttpProbe, ProbeRequest, Sample
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    AGENT_LABEL,
    PORTS_ANNOTATION,
    Capacity,
    ClusterIdentity,
    Found,
    LiveObject,
    LiveSet,
    Observation,
    PodUsage,
    Scope,
    Usage,
)
from reconciler.model.source import Blob, Revision
from reconciler.spec import read_fleet

Result = dict[str, Any]
START = "<!-- sweep figures: written by `make bench-health` -->"
END = "<!-- end of sweep figures -->"
ROUNDS = 7
TIMEOUT_S = 2.0
HANGING = 10
"""One of so many hangs."""
SERVERS = 2


# What is measured: a fleet, its pods, and the two ways of asking them. In a process of its own.


def agents_of(number: int) -> dict[AgentName, Agent]:
    """The fleet of the other benchmarks, read; every agent has a connectivity check and one of its memory."""
    texts = {"fleet.yaml": fleets.FLEET}
    for name, text in (("base", fleets.BASE), ("chat", fleets.CHAT), ("rare", fleets.RARE)):
        texts[f"templates/{name}.yaml"] = text
    for one in range(number):
        texts[f"agents/space-{one % 50:02d}/agent-{one:05d}.yaml"] = fleets.agent(one)
    blobs = {path: Blob(id=f"{at:040x}", data=text.encode()) for at, (path, text) in enumerate(texts.items())}
    return dict(read_fleet(Revision(commit="c" * 40), blobs).agents)


POD = Resource(group="", version="v1", kind="Pod", plural="pods")
DEPLOYMENT = Resource(group="apps", version="v1", kind="Deployment", plural="deployments")


def pod(name: AgentName, port: int) -> LiveObject:
    """The one pod of an agent, as an API server shows it, listening at a port of loopback."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name.name}-7c9d", "namespace": name.namespace, "uid": f"pod-{name}", "resourceVersion": "1",
            "labels": {AGENT_LABEL: name.name, "app.kubernetes.io/managed-by": "reconciler"},
            "annotations": {PORTS_ANNOTATION: json.dumps({"8080": port})},
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {"f:phase": {}}}}],
        },
        "spec": {
            "containers": [
                {
                    "name": "agent", "image": "ghcr.io/acme/agent:1.0.0", "ports": [{"containerPort": 8080}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                }
            ]
        },
        "status": {
            "phase": "Running", "podIP": "127.0.0.1",
            "conditions": [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "Ready")],
            "containerStatuses": [{"name": "agent", "ready": True, "restartCount": 0, "state": {"running": {}}}],
        },
    }  # fmt: skip
    return live_object(json.dumps(body).encode(), POD)


def deployment(name: AgentName) -> LiveObject:
    """An agent's Deployment, as far as a sweep looks at it."""
    metadata = {
        "name": name.name, "namespace": name.namespace, "uid": f"deployment-{name}", "resourceVersion": "1",
        "labels": {AGENT_LABEL: name.name},
    }  # fmt: skip
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1}}
    return live_object(json.dumps(body).encode(), DEPLOYMENT)


class RememberedCluster:
    """Stands in for a cluster that is watched: lists are answered out of copies in memory, as then they are."""

    name = "local"
    reaches_pods = True

    def __init__(self, ports: Mapping[AgentName, int]) -> None:
        self.copies = {"Pod": Copy(), "Deployment": Copy()}
        for name, port in ports.items():
            self.copies["Pod"].put(pod(name, port))
            self.copies["Deployment"].put(deployment(name))

    async def identity(self) -> Observation[ClusterIdentity]:
        return Found(ClusterIdentity(uid="u", version="v1.36.3"))

    async def capacity(self) -> Observation[Capacity]:
        return Found(Capacity(nodes=()))

    async def observe(self, scope: Scope) -> Observation[LiveSet]:
        objects: dict[ObjectRef, LiveObject] = {}
        for _group, _version, kind in scope.kinds:
            for namespace in sorted(scope.namespaces or ()):
                objects.update(self.copies[kind].selected(namespace, {}))
        return Found(LiveSet(objects=objects))

    async def usage(self, _scope: Scope) -> Observation[Usage]:
        used = PodUsage(cpu=0.01, memory=64 << 20)
        return Found(Usage(pods=dict.fromkeys(self.copies["Pod"].objects(), used)))

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)


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

    async def close(self) -> None:
        await self.prober.close()


class Plain:
    """A loop as one would write it: aiohttp, gather, a deadline for each. `limit`: of connections, 100 by default."""

    def __init__(self, limit: int) -> None:
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit), timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
        )

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

    async def close(self) -> None:
        await self.session.close()


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, int(-(-len(ordered) * percent // 100)) - 1)] if ordered else 0.0


async def one_sweep(work: Callable[[], Awaitable[Times]], healthy: frozenset[int]) -> Result:
    """One sweep, measured: of those that were well throughout, when they had answered."""
    wall, cpu = time.perf_counter(), time.process_time()
    ends, latencies = await work()
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "well": len(ends),
        "latency_ms": {str(one): percentile(latencies, one) for one in (50, 95, 99)},
        "healthy_s": percentile([at for port, at in ends.items() if port in healthy], 99),
    }


async def measure(who: str, well: Sequence[int], hanging: Sequence[int]) -> Result:
    """Sweeps of endpoints that are all well, and by turns of the same with every tenth hanging."""
    way: Any = Ours(agents_of(len(well))) if who == "ours" else Plain(100 if who == "plain" else 0)
    mixed = list(well)
    mixed[::HANGING] = hanging
    healthy = frozenset(well) - frozenset(well[::HANGING])
    all_well, some_hang = way.prepare(well), way.prepare(mixed)
    gc.collect()
    gc.freeze()  # what lasts is frozen, as a daemon's plan leaves it
    result: Result = {"first": await one_sweep(lambda: way.sweep(all_well), healthy), "well": [], "hang": []}
    for number in range(ROUNDS):
        tell(f"{len(well)} endpoints, {who}: {number + 1} of {ROUNDS}")
        result["well"].append(await one_sweep(lambda: way.sweep(all_well), healthy))
        result["hang"].append(await one_sweep(lambda: way.sweep(some_hang), healthy))
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
    """Running endpoints, and what they have used of the processor."""

    def __init__(self, stack: ExitStack, well: int) -> None:
        hanging = well // HANGING
        command = [sys.executable, "-m", "benchmarks.endpoints", str(well // SERVERS), str(hanging // SERVERS)]
        self.processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(SERVERS)
        ]
        lines = [[self._line(process), self._line(process)] for process in self.processes]
        self.well = [int(port) for both in lines for port in both[0].split()]
        self.hanging = [int(port) for both in lines for port in both[1].split()]

    def cpu_s(self) -> float:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return sum(float(self._line(process)) for process in self.processes)

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()


def measured(who: str, endpoints: Endpoints) -> Result:
    """One way of asking, in a process of its own."""
    before = endpoints.cpu_s()
    given = json.dumps({"well": endpoints.well, "hanging": endpoints.hanging})
    command = [sys.executable, "-m", "benchmarks.sweep", "--measure", who]
    done = subprocess.run(command, check=True, input=given, stdout=subprocess.PIPE, text=True)
    result: Result = json.loads(done.stdout)
    sweeps = 1 + 2 * ROUNDS
    return {**result, "servers_cpu_s": (endpoints.cpu_s() - before) / sweeps}


WAYS = {"ours": "`reconciler`", "plain": "aiohttp, gather", "unlimited": "the same, no limit"}


def run(size: int) -> Result:
    """All ways at one size."""
    with ExitStack() as stack:
        tell(f"{size} endpoints: starting them")
        endpoints = Endpoints(stack, size)
        load = os.getloadavg()[0]
        result = {who: measured(who, endpoints) for who in WAYS}
        return {"size": size, "ways": result, "load": max(load, os.getloadavg()[0])}


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
        f"{machine}, {os.cpu_count()} processors that endpoints and sweep share, one run; medians of {ROUNDS} sweeps.",
        f"The machine's load was {load:.0f} at most, the work of others on it included: compare CPU times and ratios.",
    ]
    for result in results:
        ways: Mapping[str, Result] = result["ways"]
        lines += ["", row(f"{result['size']:,} endpoints", *WAYS.values()), row("---", *("---:" for _ in WAYS))]
        lines += [row(title, *(cell(ways[who]) for who in WAYS)) for title, cell in ROWS]
    ours = [result["ways"]["ours"]["single"] for result in results]
    lines += ["", f"One agent alone, look, probe and assessment: {ours[-1]['50']:.1f} ms, p99 {ours[-1]['99']:.1f} ms."]
    return "\n".join(lines)


def _later(one: Result) -> str:
    pairs = zip(one["well"], one["hang"], strict=True)
    ratios = [hang["healthy_s"] / well["healthy_s"] - 1 for well, hang in pairs]
    return f"{100 * median(ratios):+.0f} %"


ROWS: Sequence[tuple[str, Callable[[Result], str]]] = (
    ("first sweep, all connections new", lambda one: f"{one['first']['wall_s']:.2f} s"),
    ("its CPU", lambda one: f"{one['first']['cpu_s']:.2f} s"),
    ("later sweeps", lambda one: f"{middle(one['well'], 'wall_s'):.2f} s"),
    ("their CPU", lambda one: f"{middle(one['well'], 'cpu_s'):.2f} s"),
    ("CPU of the endpoints, a sweep", lambda one: f"{one['servers_cpu_s']:.2f} s"),
    *(
        (f"latency p{percent} of a probe", lambda one, at=percent: f"{middle(one['well'], 'latency_ms', at):.1f} ms")
        for percent in ("50", "95", "99")
    ),
    ("99 % of the healthy have answered", lambda one: f"{middle(one['well'], 'healthy_s'):.2f} s"),
    ("the same when 10 % hang", lambda one: f"{middle(one['hang'], 'healthy_s'):.2f} s"),
    ("so much later", _later),
    ("latency p99 of the others, when 10 % hang", lambda one: f"{middle(one['hang'], 'latency_ms', '99'):.1f} ms"),
    ("CPU of a sweep in which 10 % hang", lambda one: f"{middle(one['hang'], 'cpu_s'):.2f} s"),
    ("peak memory", lambda one: f"{one['peak_mb']:.0f} MB"),
)  # fmt: skip


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--measure", choices=tuple(WAYS))
    given = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if given.measure:
        ports = json.load(sys.stdin)
        print(json.dumps(asyncio.run(measure(given.measure, ports["well"], ports["hanging"]))))
        return
    text = report([run(int(size)) for size in given.sizes.split(",")])
    print(text)
    if given.write:
        before, rest = given.write.read_text().split(START)
        given.write.write_text(f"{before}{START}\n{text}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()

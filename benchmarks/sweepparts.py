"""Where the CPU time of a health sweep goes, and what our own code on that way saves: for `python -m benchmarks.sweep`.

May live here: each part of a sweep by itself, beside the same made of what libraries offer.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.run import row
from benchmarks.sweptfleet import RememberedCluster, agents_of
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.probes import HttpProber
from reconciler.adapters.probes.answers import Answer, Hearing
from reconciler.adapters.probes.connections import Connections, Place
from reconciler.daemon.collecting import collect_seldom
from reconciler.engine.seen import Memory, look
from reconciler.engine.sweep import sweep
from reconciler.engine.world import Stores
from reconciler.health import assess
from reconciler.model.agent import Dimension
from reconciler.model.health import CheckState, Evidence, HealthState, HttpProbe, ProbeRequest, Sample

TIMES = 7
AT_ONCE = 64
WELL = Sample(ok=True, at_ms=1, latency_ms=1.0, status=200)
QUESTION = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Unasked:
    """Stands in for a prober: all are well, and nobody is asked."""

    async def probe(self, _request: ProbeRequest) -> Sample:
        return WELL

    async def close(self) -> None:
        return None


class Transported(asyncio.Protocol):
    """The same question over what asyncio offers: a transport, and `asyncio.timeout`."""

    def __init__(self) -> None:
        self.hearing = Hearing()
        self.answer: asyncio.Future[Answer] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        found = self.hearing.feed(data)
        if found is not None and self.answer is not None:
            self.answer.set_result(found)

    async def ask(self) -> Answer:
        assert self.transport is not None
        self.hearing = Hearing()
        self.answer = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(2):
            self.transport.write(QUESTION)
            return await self.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What a check's state would be as a dataclass."""

    name: str
    dimension: Dimension
    state: HealthState
    text: str
    critical: bool = True
    failures: int = 0
    successes: int = 0
    since_ms: int = 0
    well_ms: int = 0
    latencies: tuple[float, ...] = ()
    outcomes: tuple[bool, ...] = ()
    restarts: int | None = None
    pods: tuple[str, ...] = ()


async def parts(ports: Sequence[int]) -> dict[str, float]:
    """Microseconds of CPU an agent of each part; the least of several times, for others work on the same machine."""
    agents = agents_of(len(ports))
    cluster: Any = RememberedCluster(dict(zip(agents, ports, strict=True)))
    unused: Any = None
    stores = Stores(registry=unused, clusters={"local": cluster})
    clock = SystemClock()
    memory = Memory(clock=clock)
    collect_seldom()
    gc.collect()
    gc.freeze()

    async def least(work: Callable[[], Awaitable[object]]) -> float:
        times = []
        for _ in range(TIMES):
            began = time.process_time()
            await work()
            times.append(time.process_time() - began)
        return min(times) / len(ports) * 1e6

    seen = (await look(stores, agents, memory)).seen
    found = {
        name: Evidence(
            samples={check: (WELL,) for check, _pod, _request in seen[name].asked(agent)},
            resources=seen[name].resources(),
            pods=seen[name].facts(),
        )
        for name, agent in agents.items()
    }
    before = {name: assess(name, agents[name].spec.health, one, previous=None, now_ms=1) for name, one in found.items()}

    async def judge() -> None:
        for name, agent in agents.items():
            assess(name, agent.spec.health, found[name], previous=before[name], now_ms=2)

    async def round_of(how: Callable[..., Any]) -> None:
        for _ in ports:
            how(
                name="answers", dimension=Dimension.CONNECTIVITY, state=HealthState.HEALTHY, text="well", successes=3,
                since_ms=1, well_ms=2, latencies=(), outcomes=(), restarts=None, pods=(),
            )  # fmt: skip

    return {
        "look": await least(lambda: look(stores, agents, memory)),
        "look anew": await least(lambda: look(stores, agents, Memory(clock=clock))),
        "judge": await least(judge),
        "round": await least(lambda: sweep(stores, agents, Unasked(), clock, previous=before, memory=memory)),
        "struct": await least(lambda: round_of(CheckState)),
        "dataclass": await least(lambda: round_of(Frozen)),
        **await asking(ports, least),
    }


async def asking(
    ports: Sequence[int], least: Callable[[Callable[[], Awaitable[object]]], Awaitable[float]]
) -> dict[str, float]:
    """Probes by themselves, ours and over transports, as many at once."""
    prober = HttpProber(clock=SystemClock())
    requests = [HttpProbe(host="127.0.0.1", port=port, path="/healthz") for port in ports]
    loop = asyncio.get_running_loop()

    async def probe(*, anew: bool) -> None:
        if anew:
            await prober.close()
        assert all(sample.ok for sample in await asyncio.gather(*(prober.probe(request) for request in requests)))

    connections = Connections(len(ports))

    async def bare(*, anew: bool) -> None:
        room = asyncio.Semaphore(AT_ONCE)
        if anew:
            connections.close()

        async def one(port: int) -> None:
            async with room:
                await connections.ask(Place("127.0.0.1", port), QUESTION, loop.time() + 2)

        await asyncio.gather(*(one(port) for port in ports))

    async def ask(held: Sequence[Transported]) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(at: int) -> None:
            async with room:
                if held:
                    await held[at].ask()
                    return
                _, made = await loop.create_connection(Transported, "127.0.0.1", ports[at])
                await made.ask()
                assert made.transport is not None
                made.transport.abort()

        await asyncio.gather(*(one(at) for at in range(len(ports))))

    held = [(await loop.create_connection(Transported, "127.0.0.1", port))[1] for port in ports]
    await probe(anew=True)
    await bare(anew=True)
    result = {
        "kept": await least(lambda: probe(anew=False)),
        "new": await least(lambda: probe(anew=True)),
        "bare kept": await least(lambda: bare(anew=False)),
        "bare new": await least(lambda: bare(anew=True)),
        "transports kept": await least(lambda: ask(held)),
        "transports new": await least(lambda: ask(())),
    }
    for made in held:
        assert made.transport is not None
        made.transport.abort()
    connections.close()
    await prober.close()
    return result


_TITLES: Mapping[str, str] = {
    "round": "a whole round, but for asking",
    "look": "- of that, looking at pods that have not changed",
    "judge": "- of that, judging",
    "kept": "asking over a kept connection: turn, guard, deadline, sample",
    "new": "asking over a new one",
    "bare kept": "- of that, a bare question over a kept connection",
    "bare new": "- of that, over a new one",
    "transports kept": "a bare question over a transport of asyncio, kept",
    "transports new": "the same, new",
    "look anew": "looking at pods that all have changed",
    "struct": "making the state of a check, a struct of msgspec",
    "dataclass": "the same as a frozen dataclass",
}


def parts_table(found: Mapping[str, float]) -> list[str]:
    """The parts as Markdown."""
    lines = [row("Where the CPU time goes", "an agent"), row("---", "---:")]
    return [*lines, *(row(title, f"{found[key]:.1f} µs") for key, title in _TITLES.items())]

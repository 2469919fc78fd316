"""One simulated daemon: the real Service, as a process that can be stopped, killed and started again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.daemon.history import History
from reconciler.daemon.loop import Mode
from reconciler.daemon.measures import Measures
from reconciler.daemon.service import Service, Settings
from reconciler.daemon.telling import Teller
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.world import Retry, Stores
from reconciler.model.alert import Alert
from reconciler.model.fleet import FleetSpec
from reconciler.model.health import PluginProbe, ProbeRequest, Sample
from reconciler.model.registry import Record, Write
from reconciler.model.series import Retention
from reconciler.ports import Cluster
from tests.doubles.simulated_cluster import SimulatedCluster
from tests.doubles.simulated_git import SimulatedClone, SimulatedGit
from tests.doubles.simulated_links import Link, LinkedCluster, LinkedRegistry, LinkedSource, Place, Told
from tests.doubles.simulated_time import Process, SimulatedClock

KEPT_LINES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all programs of one simulation share."""

    clock: SimulatedClock
    chance: random.Random
    git: SimulatedGit
    registry: Path
    clusters: Mapping[str, SimulatedCluster]
    places: Mapping[str, Place]
    """Git, the registry, the pods' network and each cluster, by name."""
    hears: list[Callable[[Told], None]]
    """Are told of each write to a cluster just before it is done."""
    lines: list[str]
    jitter: Callable[[], float]
    """What daemons take for chance in their pauses."""
    raised: list[Alert] = field(default_factory=list)
    recorded: list[Callable[[Record], None]] = field(default_factory=list)
    """Are told of each record when it has been written."""

    def told(self, told: Told) -> None:
        for hears in self.hears:
            hears(told)


class HeardRegistry(SqliteRegistry):
    """The real registry, which tells of what is written into it."""

    recorded: Sequence[Callable[[Record], None]] = ()

    async def commit(self, write: Write) -> int:
        last = await super().commit(write)
        for record in write.records:
            for hears in self.recorded:
                hears(record)
        return last


class View:
    """Implements engine.world.World: all that one program sees, over lines of its own."""

    def __init__(self, around: Surroundings, by: str, clone: SimulatedClone, registry: SqliteRegistry) -> None:
        self.clock, self.by, self.opened = around.clock, by, registry
        self.ends = {name: Place(name=f"{by} to {name}") for name in around.places}
        links = {
            name: Link(place=place, own=self.ends[name], chance=around.chance) for name, place in around.places.items()
        }
        self.source = LinkedSource(clone, links["git"])
        clusters: dict[str, Cluster] = {
            name: LinkedCluster(cluster, links[name], by, around.told) for name, cluster in around.clusters.items()
        }
        self.prober = SimulatedProber(around, links["pods"])
        self._stores = Stores(registry=LinkedRegistry(registry, links["registry"]), clusters=clusters)

    async def stores(self, fleet: FleetSpec) -> Stores:
        return self._stores


class SimulatedProber:
    """Implements ports.Prober: pods answer as the simulated nodes say, over a line that may be cut."""

    def __init__(self, around: Surroundings, link: Link) -> None:
        self._around, self._link = around, link

    async def probe(self, request: ProbeRequest) -> Sample:
        async def asked() -> bool:
            assert not isinstance(request, PluginProbe), "nothing here declares a plugin"
            return any(cluster.nodes.answers(request.host) for cluster in self._around.clusters.values())

        def failed() -> bool:
            return False

        well = False
        with suppress(TimeoutError):
            async with asyncio.timeout(request.timeout_ms / 1000):
                well = await self._link.cross(asked, refused=failed, lost=failed)
        return Sample(ok=well, at_ms=self._around.clock.now_ms(), latency_ms=3.0, problem="" if well else "no answer")

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class Daemon:
    """`clone` outlives the process, as a mirror on a disk does."""

    around: Surroundings
    name: str
    clone: SimulatedClone
    process: Process = field(init=False)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    view: View | None = None
    service: Service | None = None
    main: asyncio.Task[None] | None = None
    dead: bool = False

    def start(self) -> None:
        """Begin, as a process of its own."""
        self.process = Process(self.name)
        self.main = self.process.start(self._main())

    def kill(self) -> None:
        """SIGKILL: no step of it ever runs again, and the system closes its files."""
        self.process.stop()
        self.dead = True
        if self.view is not None:
            connection = self.view.opened._database._connection
            if connection is not None:
                connection.close()

    @property
    def running(self) -> bool:
        return not self.dead and self.main is not None and not self.main.done()

    @property
    def leads(self) -> bool:
        standing = self.service.standing if self.service is not None else None
        return self.running and standing is not None and standing.leads

    async def _main(self) -> None:
        around = self.around
        registry = await HeardRegistry.open(around.registry, around.clock)
        registry.recorded = around.recorded
        self.view = View(around, self.name, self.clone, registry)
        tell = Teller(clock=around.clock, write=self._line, level="info")
        self.service = Service(
            world=self.view,
            settings=Settings(mode=Mode.APPLY, poll_s=10.0),
            options=ApplyOptions(actor="daemon", holder=self.name, parallelism=4, retry=Retry(jitter=around.jitter)),
            prober=self.view.prober,
            tell=tell,
            measures=Measures(),
            jitter=around.jitter,
            raise_=around.raised.append,
        )
        history = History(clock=around.clock, tell=tell, retention=Retention())
        self.service.recall, self.service.heard = history.recall, (history.heard,)
        try:
            await self.service.run(self.stop)
        finally:
            await history.close()
            await registry.close()

    def _line(self, text: str) -> None:
        self.around.lines.append(f"[{self.name}] {text}")
        del self.around.lines[:-KEPT_LINES]


def hand_options() -> ApplyOptions:
    """How people apply by hand beside the daemons."""
    return ApplyOptions(actor="person", holder="person", lock_wait_s=300.0, retry=Retry(jitter=lambda: 0.5))


def leaked(process: Process) -> list[str]:
    """Tasks of a process that has ended."""
    return [repr(task.get_coro()) for task in process.alive]

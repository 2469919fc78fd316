"""The simulated world: a repository, a registry, two clusters, daemons, and people who use kubectl and the commands."""

from __future__ import annotations

import asyncio
import random
import secrets
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from reconciler.adapters.embedded.controllers import loop as controllers
from reconciler.engine.operate import Hand
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import compute_plan
from reconciler.engine.world import Retry
from reconciler.model.errors import ReconcilerError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.plan import Plan, Policy
from reconciler.model.registry import Record, RegistrySnapshot
from tests.doubles.simulated_cluster import SimulatedCluster
from tests.doubles.simulated_git import SimulatedClone, SimulatedGit
from tests.doubles.simulated_links import Line, Place, Told
from tests.doubles.simulated_time import Process, SimulatedClock, SimulatedLoop
from tests.simulation.daemons import Daemon, HeardRegistry, Surroundings, View, hand_options
from tests.simulation.fleet import CLUSTERS, Fleet, Wanted
from tests.simulation.ladders import Ladders

PLACES = ("git", "registry", "pods", *CLUSTERS)
CONTROLLERS_LOOK_S = 3600.0
"""How often controllers look at everything unasked: events are never lost here."""


class Broken(AssertionError):
    """A law does not hold."""


@dataclass(slots=True)
class World:
    """Everything, at one moment."""

    around: Surroundings
    chance: random.Random
    fleet: Fleet
    person: View
    process: Process
    loop: SimulatedLoop
    daemons: list[Daemon] = field(default_factory=list)
    buried: list[Daemon] = field(default_factory=list)
    started: int = 0
    ledger: list[Told] = field(default_factory=list)
    heads: list[tuple[float, str]] = field(default_factory=list)
    """What the branch was, since when."""
    meant: dict[str, dict[AgentName, Wanted]] = field(default_factory=dict)
    """What each commit declares; of a file that is broken, what it declares when it is whole."""
    ladders: Ladders = field(default_factory=Ladders)
    breaches: list[str] = field(default_factory=list)
    """Laws broken while others were at work: they are told by the next step."""
    law: Callable[[World, Told], None] = lambda _world, _told: None
    """Hears of each write to a cluster just before it is done."""
    law_of_ladders: bool = False
    """Whether remedies are held against the ladder that the fleet declares by itself."""

    @property
    def now(self) -> float:
        return self.around.clock.monotonic()

    @property
    def clusters(self) -> dict[str, SimulatedCluster]:
        return dict(self.around.clusters)

    @property
    def git(self) -> SimulatedGit:
        return self.around.git

    @property
    def hand(self) -> Hand:
        retry = Retry(jitter=lambda: 0.5)
        return Hand(registry=self.person.opened, clock=self.around.clock, actor="person", retry=retry)

    def hear(self, told: Told) -> None:
        """A program writes to a cluster."""
        self.ledger.append(told)
        self.law(self, told)

    def recorded(self, record: Record) -> None:
        """Somebody wrote a record."""
        if self.law_of_ladders and (broken := self.ladders.heard(record, self.around.clock.now_ms())):
            self.breaches.append(broken)

    def commit(self) -> str:
        """Put the fleet as it is meant now into Git."""
        return self._head(self.git.commit(self.fleet.files()))

    def _head(self, commit: str) -> str:
        self.heads.append((self.now, commit))
        self.meant[commit] = self.fleet.declared()
        return commit

    def care(self, recovery: str) -> None:
        """Let all agents have other remedies, from the next commit on, which this is."""
        self.fleet.recovery = recovery
        self.commit()

    def force(self, parent: str) -> str:
        """The same over the branch's past."""
        return self._head(self.git.force(self.fleet.files(), parent))

    def start(self) -> Daemon:
        """Another daemon; where one ran before on the same disk, with what that one had fetched."""
        clone = self.buried[-1].clone if self.buried else SimulatedClone(self.git)
        if any(daemon.clone is clone for daemon in self.daemons):
            clone = SimulatedClone(self.git)
        self.started += 1
        daemon = Daemon(self.around, f"daemon {self.started}", clone)
        daemon.start()
        self.daemons.append(daemon)
        return daemon

    def bury(self, daemon: Daemon) -> None:
        """It has ended, one way or another."""
        self.daemons.remove(daemon)
        self.buried.append(daemon)

    def calm(self) -> None:
        """All lines are well, all clusters have nodes, and nobody is held up any more."""
        for place in self.around.places.values():
            place.turn(Line.WELL)
        for cluster in self.clusters.values():
            cluster.no_nodes = False
            cluster.nodes.slow = 1.0
        for daemon in self.daemons:
            if daemon.view is not None:
                for end in daemon.view.ends.values():
                    end.turn(Line.WELL)
            if daemon.process.stopped:
                daemon.process.resume()

    async def snapshot(self) -> RegistrySnapshot:
        answer = await self.person.opened.snapshot()
        assert isinstance(answer, Found), answer
        return answer.value

    async def plan(self, policy: Policy | None = None) -> Plan:
        """What `reconciler plan` says now."""
        await self.person.source.inner.fetch()
        return await compute_plan(self.person, policy=policy or Policy())

    async def apply(self, policy: Policy) -> None:
        """`reconciler apply` by hand, beside the daemons. What fails is theirs to do."""
        try:
            plan = await self.plan(policy)
            async for _event in apply_plan(self.person, plan, options=hand_options(), stop=asyncio.Event()):
                pass
        except ReconcilerError as error:
            self.around.lines.append(f"[person] apply: {error.message}")

    @property
    def registry(self) -> sqlite3.Connection:
        """The registry as it is at this moment, past all lines and caches."""
        connection = self.person.opened._database._connection
        assert connection is not None
        return connection

    def lease(self, name: str) -> tuple[str, int, int]:
        """Holder, epoch and end of a lease, as the registry has it; the end in milliseconds."""
        row = self.registry.execute("SELECT holder, epoch, expires_ms FROM leases WHERE name = ?", (name,)).fetchone()
        return row or ("", 0, 0)

    async def close(self) -> None:
        """End everything, each thing as it should end."""
        self.calm()
        for daemon in self.daemons:
            daemon.stop.set()
        mains = [daemon.main for daemon in self.daemons if daemon.main is not None]
        if mains:
            await asyncio.wait(mains, timeout=600)
        ended = self.process.alive
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        for cluster in self.clusters.values():
            await cluster.close()
        await self.person.opened.close()


def _uuids(ids: random.Random) -> Callable[[], uuid.UUID]:
    return lambda: uuid.UUID(int=ids.getrandbits(128), version=4)


@contextmanager
def chances(seed: int) -> Iterator[random.Random]:
    """What is random of itself (ids, uids) comes of the seed too; and controllers look unasked less often."""
    chance, ids = random.Random(seed), random.Random(seed + 1)
    with (
        mock.patch.object(uuid, "uuid4", _uuids(ids)),
        mock.patch.object(secrets, "randbits", ids.getrandbits),
        mock.patch.object(controllers, "RESYNC_SECONDS", CONTROLLERS_LOOK_S),
    ):
        yield chance


async def made(
    folder: Path, chance: random.Random, lines: list[str], jitter: Callable[[], float] | None = None
) -> World:
    """A world with an empty fleet, before anybody has begun."""
    pauses = jitter if jitter is not None else chance.random
    clock = SimulatedClock(asyncio.get_running_loop())
    git = SimulatedGit()
    hears: list[Callable[[Told], None]] = []
    clusters = {
        name: SimulatedCluster(name, clock, chance, network=f"10.{number}") for number, name in enumerate(CLUSTERS)
    }
    around = Surroundings(
        clock=clock, chance=chance, git=git, registry=folder / "registry.db", clusters=clusters,
        places={name: Place(name=name) for name in PLACES}, hears=hears, lines=lines, jitter=pauses,
    )  # fmt: skip
    registry = await HeardRegistry.open(around.registry, clock)
    calm = Surroundings(
        clock=clock, chance=chance, git=git, registry=around.registry, clusters=clusters,
        places={name: Place(name=name) for name in PLACES}, hears=hears, lines=lines, jitter=pauses,
    )  # fmt: skip
    person = View(calm, "person", SimulatedClone(git), registry)
    process = Process("clusters")
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    world = World(around, chance, Fleet(chance), person, process, loop)
    hears.append(world.hear)
    around.recorded.append(world.recorded)
    registry.recorded = around.recorded
    for cluster in clusters.values():
        process.start(cluster.nodes.run())
    return world

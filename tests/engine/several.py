"""A fleet on several clusters, each as its sky says, and what must hold of it whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.engine.reconcile import compute_plan
from reconciler.engine.wellness import Noter
from reconciler.engine.world import Patience, Retry, Stores
from reconciler.model.events import ApplyEvent
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import Found, Scope
from reconciler.model.plan import Plan, Policy
from reconciler.model.registry import ClusterHealth, Record
from tests.doubles.clock import FakeClock
from tests.doubles.never_ready import NeverReadyCluster
from tests.doubles.source import MemorySource
from tests.doubles.weather import Sky, WeatherCluster
from tests.doubles.world import GivenWorld, open_cluster, open_registry
from tests.engine.fleets import applied, end

NOTER = Noter(actor="tester", retry=Retry(jitter=lambda: 0.0))
SOON = Patience(connect_s=0.25, read_s=10.0, call_s=10.0)


def fleet(*clusters: str) -> str:
    """A fleet.yaml; clusters run nothing."""
    listed = "".join(f"    - {{name: {name}, embedded: {{run: nothing}}}}\n" for name in clusters)
    return f"apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {{name: acme}}\nspec:\n  clusters:\n{listed}"


class Continents(GivenWorld):
    """Clusters by name, and what tests do with them. After each apply the laws are checked."""

    def __init__(
        self, source: MemorySource, clock: FakeClock, registry: SqliteRegistry, clusters: dict[str, WeatherCluster]
    ) -> None:
        super().__init__(source, clock, Stores(registry=registry, clusters=clusters, patience=SOON))
        self.memory, self.fake, self.registry, self.clusters = source, clock, registry, clusters

    def commit(self, **files: str | None) -> None:
        """Commit agents by name; None removes one."""
        self.memory.commit({f"agents/{name}.yaml": text for name, text in files.items()})

    def undeclare(self, name: str) -> None:
        """Take a cluster out of the fleet."""
        del self.clusters[name]
        self._stores = Stores(registry=self.registry, clusters=dict(self.clusters), patience=SOON)
        self.memory.commit({"fleet.yaml": fleet(*self.clusters)})

    def turn(self, sky: Sky, *names: str) -> None:
        """Let clusters be so from now on."""
        for name in names:
            self.clusters[name].sky = sky

    async def plan(self, policy: Policy | None = None) -> Plan:
        """A plan that writes nothing, as `reconciler plan` makes it."""
        return await compute_plan(self, policy=policy or Policy())

    async def apply(self, policy: Policy | None = None) -> list[ApplyEvent]:
        """Plan and apply as `reconciler apply` does, which notes how clusters are; then the laws."""
        before = {name: len(cluster.writes) for name, cluster in self.clusters.items()}
        dark = [name for name, cluster in self.clusters.items() if cluster.sky not in (Sky.WELL, Sky.RED)]
        plan = await compute_plan(self, policy=policy or Policy(), noter=NOTER)
        planned = [item for change in plan.changes for item in change.objects if item.cluster in dark]
        assert planned == [], "something is planned where nothing can be read"
        events = await applied(self, plan)
        for name in dark:
            assert self.clusters[name].writes[before[name] :] == [], f"{name} was written to, and cannot be read"
        return events

    async def settle(self) -> None:
        """Apply until there is nothing more to do, twice at most: then what is reachable is as wanted."""
        for _ in range(2):
            assert end(await self.apply()).failed == 0
            if not (await self.plan()).changes:
                return
        raise AssertionError([str(change.objects) for change in (await self.plan()).changes])

    async def running(self, name: str = "support/triage") -> dict[str, int]:
        """Replicas of an agent by cluster, as objects say, whatever the sky is."""
        found = {}
        for cluster, weather in self.clusters.items():
            answer = await weather.inner.get(deployment(name))
            if isinstance(answer, Found):
                found[cluster] = int(answer.value.body["spec"]["replicas"])
        return found

    async def objects(self, cluster: str) -> set[str]:
        """All objects of a cluster, whatever its sky is."""
        answer = await self.clusters[cluster].inner.observe(Scope())
        assert isinstance(answer, Found)
        return {str(ref) for ref in answer.value.objects}

    async def record(self, name: str = "support/triage") -> Record:
        answer = await self.registry.get(AgentName.parse(name))
        assert isinstance(answer, Found)
        return answer.value

    async def health(self) -> dict[str, ClusterHealth]:
        """How clusters are on record."""
        answer = await self.registry.snapshot()
        assert isinstance(answer, Found)
        return dict(answer.value.clusters)


def deployment(name: str) -> ObjectRef:
    agent = AgentName.parse(name)
    return ObjectRef(group="apps", kind="Deployment", namespace=agent.namespace, name=agent.name)


def texts(plan: Plan, code: str) -> list[str]:
    """What a plan says of one kind of hold."""
    return [hold.text for hold in plan.holds if hold.code == code]


@asynccontextmanager
async def continents(folder: Path, *names: str) -> AsyncIterator[Continents]:
    """Clusters that really keep objects, an SQLite registry, a repository in memory and a clock that takes no time."""
    source, clock = MemorySource(), FakeClock()
    source.commit({"fleet.yaml": fleet(*names)})
    registry = await open_registry(folder, clock)
    opened = {name: open_cluster(NeverReadyCluster, folder / name, name) for name in names}
    try:
        yield Continents(source, clock, registry, {name: WeatherCluster(inner) for name, inner in opened.items()})
    finally:
        for inner in opened.values():
            await inner.close()
        await registry.close()

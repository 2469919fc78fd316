"""A small fleet on real stores, with a repository in memory and a clock that takes no time."""

from __future__ import annotations

import pytest

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.engine.world import Stores
from tests.doubles.clock import FakeClock
from tests.doubles.never_ready import NeverReadyCluster
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld, open_cluster, open_registry
from tests.engine.fleets import NOTHING


class SmallWorld(GivenWorld):
    """A GivenWorld whose parts tests reach into."""

    def __init__(
        self,
        source: MemorySource,
        clock: FakeClock,
        stores: Stores,
        cluster: NeverReadyCluster,
        registry: SqliteRegistry,
    ) -> None:
        super().__init__(source, clock, stores)
        self.memory, self.fake, self.cluster, self.registry = source, clock, cluster, registry

    def commit(self, **files: str | None) -> str:
        """Commit agents by name: `triage=agent("triage")`; None removes one."""
        return self.memory.commit({f"agents/{name}.yaml": text for name, text in files.items()})


@pytest.fixture
async def world(tmp_path):
    source, clock = MemorySource(), FakeClock()
    source.commit({"fleet.yaml": NOTHING})
    registry = await open_registry(tmp_path, clock)
    cluster = open_cluster(NeverReadyCluster, tmp_path)
    yield SmallWorld(source, clock, Stores(registry=registry, clusters={"local": cluster}), cluster, registry)
    await cluster.close()
    await registry.close()

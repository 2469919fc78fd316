"""A World of given ports: an in-memory repository, a fake clock, and whatever stores a test gives it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.engine.world import Stores
from reconciler.model.fleet import FleetSpec
from reconciler.ports import Clock, Source

Kind = TypeVar("Kind", bound=EmbeddedCluster)


class GivenWorld:
    """Implements engine.world.World; the fleet's declaration does not choose anything."""

    def __init__(self, source: Source, clock: Clock, stores: Stores) -> None:
        self.source, self.clock = source, clock
        self._stores = stores

    async def stores(self, fleet: FleetSpec) -> Stores:
        return self._stores


def open_cluster(kind: type[Kind], folder: Path, name: str = "local") -> Kind:
    """An embedded cluster that runs nothing, with its store in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return kind.open(name, folder, run="nothing", ensure_supervisor=lambda _folder: None)


async def open_registry(folder: Path, clock: Clock) -> SqliteRegistry:
    folder.mkdir(parents=True, exist_ok=True)
    return await SqliteRegistry.open(folder / "registry.db", clock)

"""Where agents' Services are exported to other clusters: on each cluster that serves the API for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from reconciler.model.agent import Agent
from reconciler.model.fleet import ClusterDeclaration
from reconciler.model.objects import OPTIONAL_KINDS, ClusterIdentity, Found, Observation
from reconciler.model.registry import PlacedReplicas, Record
from reconciler.placement.policies import spans

((_GROUP, _VERSION, _KIND),) = OPTIONAL_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """Clusters that serve ServiceExports, and those of which it cannot be known now: there all stays as it is."""

    clusters: tuple[ClusterDeclaration, ...]
    served: frozenset[str]
    unknown: frozenset[str]

    @classmethod
    def by(
        cls, identities: Mapping[str, Observation[ClusterIdentity]], clusters: tuple[ClusterDeclaration, ...]
    ) -> Self:
        """By what clusters say of themselves."""
        found = {name: seen.value for name, seen in identities.items() if isinstance(seen, Found)}
        served = frozenset(name for name, who in found.items() if f"{_GROUP}/{_VERSION}" in who.apis)
        return cls(clusters=clusters, served=served, unknown=frozenset(identities.keys() - found.keys()))

    def of(self, agent: Agent, placed: tuple[PlacedReplicas, ...], record: Record | None) -> frozenset[str]:
        """Clusters on which an agent's Service is exported."""
        if not (self.served or self.unknown) or not spans(agent.spec.placement, placed, self.clusters):
            return frozenset()
        where = {share.cluster for share in placed}
        held = record.inventory if record is not None and where & self.unknown else ()
        kept = {entry.cluster for entry in held if (entry.ref.group, entry.ref.kind) == (_GROUP, _KIND)}
        return frozenset(where & self.served | where & self.unknown & kept)

"""What is the same for all agents of one pass: the clusters, their room, and how long they have been unwell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.agent import Agent, ClusterSelector
from reconciler.model.fleet import ClusterDeclaration
from reconciler.placement.ledger import Closed, Room
from reconciler.placement.policies import selected

DEFAULT_FAILOVER_AFTER_MS = 300_000
"""How long a cluster must be unwell before agents with the failover policy leave it, unless the rule says."""
DEFAULT_FAILBACK_AFTER_MS = 600_000
"""How long it must be well again before they go back to it, unless the rule says."""


def failover_after_ms(agent: Agent) -> int:
    """How long an agent waits before it leaves a cluster that is unwell."""
    after = agent.spec.placement.failover_after
    return after.ms if after else DEFAULT_FAILOVER_AFTER_MS


def failback_after_ms(agent: Agent) -> int:
    """How long an agent that was moved away waits before it goes back home."""
    after = agent.spec.placement.failback_after
    return after.ms if after else DEFAULT_FAILBACK_AFTER_MS


@dataclass(slots=True, kw_only=True)
class World:
    """What is the same for all agents of one pass."""

    clusters: tuple[ClusterDeclaration, ...]
    rooms: Mapping[str, Room]
    unwell_since_ms: Mapping[str, int]
    now_ms: int
    well_since_ms: Mapping[str, int] = field(default_factory=dict)
    _selected: dict[object, tuple[ClusterDeclaration, ...]] = field(default_factory=dict)

    def selected(self, selector: ClusterSelector) -> tuple[ClusterDeclaration, ...]:
        labels = tuple(sorted(selector.match_labels.items()))
        key = (selector.names, labels, selector.match_expressions, selector.everything)
        if key not in self._selected:
            self._selected[key] = selected(selector, self.clusters)
        return self._selected[key]

    def is_blind(self, cluster: str) -> bool:
        """Whether nothing of a cluster can be read: what runs there is unknown, and nothing is done there."""
        room = self.rooms.get(cluster)
        return isinstance(room, Closed) and room.blind

    def overdue(self, cluster: str, agent: Agent) -> bool:
        """Whether `cluster` has been unwell for as long as the agent's rule waits before it fails over."""
        since = self.unwell_since_ms.get(cluster)
        return since is not None and self.now_ms - since >= failover_after_ms(agent)

    def welcomes(self, cluster: str, agent: Agent) -> bool:
        """Whether an agent that was moved away from `cluster` may go back: it has been well for as long as that takes.

        One of which nobody ever wrote down that it was unwell is well.
        """
        if cluster in self.unwell_since_ms or isinstance(self.rooms[cluster], Closed):
            return False
        since = self.well_since_ms.get(cluster)
        return since is None or self.now_ms - since >= failback_after_ms(agent)

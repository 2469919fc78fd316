"""What placement is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.agent import Agent
from reconciler.model.fleet import ClusterDeclaration, Quota
from reconciler.model.identity import AgentName
from reconciler.model.objects import Capacity, Observation
from reconciler.model.plan import Hold
from reconciler.model.registry import PlacedReplicas, Record, Reservation
from reconciler.placement.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRequest:
    """All that placement knows.

    `capacities` by cluster name: Unreadable (and a cluster that is missing here) takes nothing new and loses nothing;
    Absent means that the cluster is there and counts no capacity, so nothing is checked. `records` say what runs and
    what is reserved; those that are not among `agents` count too, but for `leaving`, which this plan deletes.
    `unreachable` are clusters nothing of which can be read: what is there is unknown, and stays as it is on record.
    `cluster_unwell_since_ms`: since when a cluster is unreachable or red, for failover; `cluster_well_since_ms`: since
    when one is well that was unwell once, for the way back.
    """

    agents: Mapping[AgentName, Agent]
    clusters: tuple[ClusterDeclaration, ...]
    capacities: Mapping[str, Observation[Capacity]]
    records: Mapping[AgentName, Record] = field(default_factory=dict)
    quotas: tuple[Quota, ...] = ()
    now_ms: int = 0
    cluster_unwell_since_ms: Mapping[str, int] = field(default_factory=dict)
    cluster_well_since_ms: Mapping[str, int] = field(default_factory=dict)
    unreachable: frozenset[str] = frozenset()
    leaving: frozenset[AgentName] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementResult:
    """Where everything runs.

    `placed` by agent, sorted by cluster; a suspended agent stands there with zero replicas. An agent that is held
    keeps what its record says, and is missing where it has none. `holds`: one an agent, sorted by name.
    """

    placed: Mapping[AgentName, tuple[PlacedReplicas, ...]]
    reservations: Mapping[AgentName, tuple[Reservation, ...]]
    holds: tuple[Hold, ...]
    request: PlacementRequest = field(repr=False)
    ledger: Ledger = field(repr=False, compare=False)
    """What all but the growing agents take: what a later pass starts from."""
    homes: Mapping[AgentName, str] = field(default_factory=dict)
    """The clusters that agents were moved away from and go back to, of those that were."""
    growing: frozenset[AgentName] = field(default=frozenset(), repr=False)
    """Agents whose placement depended on what was left."""
    timed: frozenset[AgentName] = field(default=frozenset(), repr=False)
    """Agents whose placement may change with the time alone."""

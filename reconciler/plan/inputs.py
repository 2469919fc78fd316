"""What a plan is a function of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.fleet import Declaration
from reconciler.model.identity import AgentName
from reconciler.model.objects import ClusterIdentity, LiveSet, Manifest, Observation
from reconciler.model.plan import Hold, Policy
from reconciler.model.registry import ClusterHealth, PlacedReplicas, RegistrySnapshot, Reservation


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInput:
    """All that a plan depends on; equal inputs give byte-equal plans.

    `desired` maps each agent to its manifests by cluster, `homes` some to where a failover took them from. `clusters`
    is how clusters are by this look; what of it the registry has not is not on record yet. `rewound` says that the
    recorded commit is no ancestor of this one. `now_ms` judges whether overrides and waits have ended, and is in no
    plan.
    """

    declaration: Declaration
    placed: Mapping[AgentName, tuple[PlacedReplicas, ...]]
    reservations: Mapping[AgentName, tuple[Reservation, ...]]
    placement_holds: tuple[Hold, ...]
    desired: Mapping[AgentName, Mapping[str, tuple[Manifest, ...]]]
    observations: Mapping[str, Observation[LiveSet]]
    identities: Mapping[str, Observation[ClusterIdentity]]
    registry: Observation[RegistrySnapshot]
    homes: Mapping[AgentName, str] = field(default_factory=dict)
    clusters: Mapping[str, ClusterHealth] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    rewound: bool = False
    now_ms: int = 0

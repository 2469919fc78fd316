"""How clusters are: what one look says of each, and what follows from it for what is on record.

May live here: when a cluster counts as unwell, and since when. Must not: know how a cluster is read, or move anybody.

A cluster is unwell while it does not say who it is, and while it says so and has no node left that is ready (red): on
neither can anything be brought up. It is not unwell because it does not let us in, because another cluster answers in
its place, or because it says who it is and no more: then what runs there may be well, and the fault may be ours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from reconciler.model.objects import Capacity, ClusterIdentity, Found, LiveSet, Observation, Unreadable
from reconciler.model.registry import ClusterHealth, ClusterState

NO_NODE = "it answers, and none of its nodes is ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look at one cluster found."""

    identity: Observation[ClusterIdentity]
    live: Observation[LiveSet]
    capacity: Observation[Capacity]


def judge(
    before: Mapping[str, ClusterHealth],
    sights: Mapping[str, Sight],
    *,
    strangers: Collection[str] = (),
    now_ms: int,
) -> dict[str, ClusterHealth]:
    """How clusters are after a look: `before`, with a new version of those whose state changed.

    A cluster that was never unwell and is not now has nothing on record, and what a look cannot tell stays as it was.
    """
    after = dict(before)
    for name, sight in sorted(sights.items()):
        state, reason = (None, "") if name in strangers else _state(sight)
        known = before.get(name)
        if state is None or (known is None and state is ClusterState.WELL):
            continue
        if known is None or known.state is not state:
            version = known.version + 1 if known else 1
            after[name] = ClusterHealth(cluster=name, version=version, state=state, since_ms=now_ms, reason=reason)
    return after


def _state(sight: Sight) -> tuple[ClusterState | None, str]:
    """What a look says of a cluster; None where it says nothing of how it is."""
    if isinstance(sight.identity, Unreadable):
        return (None if sight.identity.refused else ClusterState.UNWELL), sight.identity.reason
    if not isinstance(sight.live, Found):
        return None, ""
    if isinstance(sight.capacity, Found) and is_red(sight.capacity.value):
        return ClusterState.UNWELL, NO_NODE
    return ClusterState.WELL, ""


def is_red(capacity: Capacity) -> bool:
    """Whether no node is ready, those that rest included. Where nodes that rest are not counted nobody can say so."""
    return not capacity.nodes and capacity.resting == 0


def changed(before: Mapping[str, ClusterHealth], after: Mapping[str, ClusterHealth]) -> tuple[ClusterHealth, ...]:
    """What is to be written."""
    return tuple(health for name, health in sorted(after.items()) if before.get(name) != health)


def since(clusters: Mapping[str, ClusterHealth], state: ClusterState) -> dict[str, int]:
    """Clusters in a state, and since when."""
    return {name: health.since_ms for name, health in clusters.items() if health.state is state}

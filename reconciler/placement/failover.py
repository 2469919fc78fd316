"""The way of an agent with the failover policy: which cluster it prefers, and when it goes home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.model.agent import Agent, PlacementPolicy
from reconciler.model.fleet import ClusterDeclaration
from reconciler.model.registry import Record
from reconciler.placement.world import World


def homeward(
    world: World, agent: Agent, record: Record, weights: Mapping[str, int], current: Mapping[str, int], *, stay: bool
) -> str:
    """Where an agent goes back to now; "" where it stays."""
    home = record.home
    if not home or home not in weights or agent.spec.placement.policy is not PlacementPolicy.FAILOVER or not stay:
        return ""
    return home if current.get(home, 0) == 0 and world.welcomes(home, agent) else ""


def home_of(world: World, agent: Agent, record: Record | None, target: Mapping[str, int]) -> str:
    """The cluster that a failover left: this one, or an earlier one, as long as the agent's rule selects it."""
    if record is None or agent.spec.placement.policy is not PlacementPolicy.FAILOVER:
        return ""
    before = {placed.cluster: placed.replicas for placed in record.placement}
    was = busiest(before) if before else ""
    left = was if was not in target and world.overdue(was, agent) else ""
    home = record.home or left
    selected = {cluster.name for cluster in world.selected(agent.spec.placement.clusters)}
    return home if home in selected and home not in target else ""


def first_if_unwell(world: World, agent: Agent, target: Mapping[str, int]) -> str:
    """The cluster that an agent which is placed anew would have gone to, were it well; "" where it is there, or none
    comes before the others.
    """
    rule = agent.spec.placement
    clusters = world.selected(rule.clusters)
    if rule.policy is not PlacementPolicy.FAILOVER or not clusters or not any(target.values()):
        return ""
    if rule.clusters.names:
        first = clusters[0].name
    else:
        weights = preference(agent, clusters)
        heaviest = [name for name, weight in weights.items() if weight == max(weights.values())]
        first = heaviest[0] if len(heaviest) == 1 else ""
    return first if first in world.unwell_since_ms and first not in target else ""


def preference(agent: Agent, clusters: Sequence[ClusterDeclaration]) -> dict[str, int]:
    """How much an agent with the failover policy prefers each cluster, where its rule names none."""
    return {cluster.name: agent.spec.placement.weights.get(cluster.name, cluster.weight) for cluster in clusters}


def busiest(current: Mapping[str, int]) -> str:
    """Where most replicas are; of equals the first by name."""
    return min(current, key=lambda name: (-current[name], name))

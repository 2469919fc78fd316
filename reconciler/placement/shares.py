"""How counts that are declared for the whole of an agent are divided over its clusters: as its replicas are.

May live here: the division. Must not: know what a count is for, or into which field it goes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from reconciler.model.agent import PlacementPolicy, PlacementRule
from reconciler.model.registry import PlacedReplicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`replicas` of an agent on one cluster, and how many it has on each of those that share its counts: this one, and
    the others unless its rule wants all of the agent everywhere.

    What follows depends on numbers alone: clusters with equally many replicas are given equally much.
    """

    replicas: int
    counts: tuple[int, ...]

    @classmethod
    def alone(cls, replicas: int) -> Share:
        """All that there is."""
        return cls(replicas=replicas, counts=(replicas,))

    @property
    def total(self) -> int:
        """Replicas on all clusters that share."""
        return sum(self.counts)

    def at_most(self, count: int, *, least: int = 1) -> int:
        """Of `count` pods that may be away, or may come on top: rounded down, and at least `least` of those declared.

        In sum not more than `count`, unless there are more clusters than that and each is given its `least`.
        """
        if count <= least or not self.replicas or len(self.counts) < 2:
            return count
        left, total = count, self.total
        for replicas in sorted(filter(None, self.counts)):
            if left * replicas >= least * total:
                break
            left, total = left - least, total - replicas
        return max(least, left * self.replicas // total) if total else least

    def at_least(self, count: int) -> int:
        """Of `count` pods that have to stay: rounded up, but so that on each cluster one may go.

        In sum not less than `count` where that is possible. Where `count` lets none go, neither does a share of it.
        """
        away = self.total - count
        if away > 0:
            return self.replicas - self.at_most(away) if self.replicas > 0 else 0
        return -(-count * self.replicas // self.total) if self.total else count


def shares(rule: PlacementRule, placed: Collection[PlacedReplicas]) -> dict[str, Share]:
    """The share of each cluster on which an agent is placed."""
    if rule.policy is PlacementPolicy.ALL:
        return {item.cluster: Share.alone(item.replicas) for item in placed}
    counts = tuple(item.replicas for item in placed)
    return {item.cluster: Share(replicas=item.replicas, counts=counts) for item in placed}

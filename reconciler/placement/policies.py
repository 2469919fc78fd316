"""Which clusters a rule selects, and how replicas are shared out among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.model.agent import ClusterSelector, Expression, PlacementPolicy, PlacementRule
from reconciler.model.fleet import ClusterDeclaration
from reconciler.model.registry import PlacedReplicas


def selected(selector: ClusterSelector, clusters: Sequence[ClusterDeclaration]) -> tuple[ClusterDeclaration, ...]:
    """The clusters that `selector` means: by name in its own order, else by label in the fleet's order.

    A selector that says nothing selects nothing, unless it is `everything`.
    """
    if selector.names:
        by_name = {cluster.name: cluster for cluster in clusters}
        chosen = [by_name[name] for name in dict.fromkeys(selector.names) if name in by_name]
    elif selector.everything or selector.match_labels or selector.match_expressions:
        chosen = list(clusters)
    else:
        return ()
    return tuple(cluster for cluster in chosen if _labelled(selector, cluster.labels))


def _labelled(selector: ClusterSelector, labels: Mapping[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(_holds(expression, labels) for expression in selector.match_expressions)


def _holds(expression: Expression, labels: Mapping[str, str]) -> bool:
    """Kubernetes' label selector operators: NotIn holds as well where the label is missing."""
    match expression.operator:
        case "In":
            return labels.get(expression.key) in expression.values
        case "NotIn":
            return labels.get(expression.key) not in expression.values
        case "Exists":
            return expression.key in labels
        case "DoesNotExist":
            return expression.key not in labels


def spans(rule: PlacementRule, placed: Sequence[PlacedReplicas], clusters: Sequence[ClusterDeclaration]) -> bool:
    """Whether an agent runs on several clusters, or may on another one than now when that fails."""
    if len(placed) > 1:
        return True
    return rule.policy is PlacementPolicy.FAILOVER and len(selected(rule.clusters, clusters)) > 1


def weights_of(rule: PlacementRule, clusters: Sequence[ClusterDeclaration]) -> dict[str, int]:
    """Shares by cluster. Clusters of weight 0 are left out; where all are 0 the rule's weights mean nothing."""
    if rule.policy is not PlacementPolicy.WEIGHTED:
        return {cluster.name: 1 for cluster in clusters}
    weights = {cluster.name: rule.weights.get(cluster.name, cluster.weight) for cluster in clusters}
    return {name: weight for name, weight in weights.items() if weight > 0} or dict.fromkeys(weights, 1)


def apportion(
    total: int,
    weights: Mapping[str, int],
    *,
    lower: Mapping[str, int],
    upper: Mapping[str, int],
    order: Sequence[str],
) -> dict[str, int]:
    """Share `total` out by `weights` with the largest remainder, within bounds; ties go to who is first in `order`.

    What does not fit within `upper` is left out, so the sum is min(total, sum of upper), and at least the sum of
    lower. Clamping works as CSS flexbox resolves flexible lengths (css-flexbox-1, 9.7): share out, freeze those who
    break the bound that is broken more in sum, and share out again.
    """
    shares: dict[str, int] = {}
    active = list(order)
    remaining = min(total, sum(upper[name] for name in order))
    while active:
        ideal = _largest_remainder(max(0, remaining), {name: weights[name] for name in active}, active)
        above = {name for name in active if ideal[name] > upper[name]}
        below = {name for name in active if ideal[name] < lower[name]}
        too_much = sum(ideal[name] - upper[name] for name in above)
        too_little = sum(lower[name] - ideal[name] for name in below)
        frozen = set(active) if not above and not below else above if too_much >= too_little else below
        for name in frozen:
            shares[name] = max(lower[name], min(upper[name], ideal[name]))
            remaining -= shares[name]
        active = [name for name in active if name not in frozen]
    return shares


def _largest_remainder(total: int, weights: Mapping[str, int], order: Sequence[str]) -> dict[str, int]:
    """Hamilton's method."""
    whole = sum(weights.values())
    shares = {name: total * weights[name] // whole for name in order}
    by_remainder = sorted(order, key=lambda name: -(total * weights[name] % whole))
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares

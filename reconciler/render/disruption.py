"""The PodDisruptionBudget: how many pods a drain of nodes may take at once."""

from __future__ import annotations

from typing import Any

from reconciler.model.agent import AgentSpec
from reconciler.placement.shares import Share
from reconciler.render.metadata import Names


def disruption_budget(names: Names, spec: AgentSpec, *, share: Share) -> dict[str, Any] | None:
    """One pod at a time unless the agent says otherwise; none for what is a single pod at all times.

    What an autoscaler begins with one pod may be many when the nodes are drained. A count is for all of the agent, and
    each cluster is given its share of it: the whole of it could keep more pods there than there are, and nodes could
    never be drained. Percentages are of the pods of each cluster by themselves.
    """
    several = share.replicas > 1 or (spec.autoscaling is not None and spec.autoscaling.max > 1)
    if share.replicas == 0 or (not several and spec.disruption is None):
        return None
    body: dict[str, Any] = {
        "selector": {"matchLabels": dict(names.selector)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    least, most = (spec.disruption.min_available, spec.disruption.max_unavailable) if spec.disruption else (None, None)
    if least is not None:
        body["minAvailable"] = share.at_least(least) if isinstance(least, int) else least
    elif most is not None:
        body["maxUnavailable"] = share.at_most(most) if isinstance(most, int) else most
    else:
        body["maxUnavailable"] = 1
    return {**names.head("policy", "v1", "PodDisruptionBudget"), "spec": body}

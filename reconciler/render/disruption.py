"""The PodDisruptionBudget: how many pods a drain of nodes may take at once."""

from __future__ import annotations

from typing import Any

from reconciler.model.agent import AgentSpec
from reconciler.render.metadata import Names


def disruption_budget(names: Names, spec: AgentSpec, *, replicas: int) -> dict[str, Any] | None:
    """One pod at a time unless the agent says otherwise; none for what is a single pod at all times.

    What an autoscaler begins with one pod may be many when the nodes are drained.
    """
    several = replicas > 1 or (spec.autoscaling is not None and spec.autoscaling.max > 1)
    if replicas == 0 or (not several and spec.disruption is None):
        return None
    body: dict[str, Any] = {
        "selector": {"matchLabels": dict(names.selector)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    if spec.disruption is not None and spec.disruption.min_available is not None:
        body["minAvailable"] = spec.disruption.min_available
    elif spec.disruption is not None and spec.disruption.max_unavailable is not None:
        body["maxUnavailable"] = spec.disruption.max_unavailable
    else:
        body["maxUnavailable"] = 1
    return {**names.head("policy", "v1", "PodDisruptionBudget"), "spec": body}

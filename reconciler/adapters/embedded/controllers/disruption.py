"""Disruption budgets: their status, and nothing more; on one machine nobody evicts. Pure."""

from __future__ import annotations

from typing import Any

from reconciler.adapters.embedded.controllers import pods as pod_facts
from reconciler.adapters.embedded.controllers.arithmetic import scaled

Body = dict[str, Any]


def make_status(budget: Body, pods: list[Body]) -> Body:
    """A PodDisruptionBudget's status. Source: pkg/controller/disruption of Kubernetes 1.36."""
    spec = budget["spec"]
    chosen = [
        pod
        for pod in pods
        if pod_facts.matches(spec.get("selector"), pod["metadata"].get("labels", {})) and pod_facts.is_active(pod)
    ]
    expected, healthy = len(chosen), sum(1 for pod in chosen if pod_facts.is_ready(pod))
    if spec.get("maxUnavailable") is not None:
        desired = max(0, expected - scaled(spec["maxUnavailable"], expected, up=True))
    else:
        desired = scaled(spec.get("minAvailable", 1), expected, up=True)
    return {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": max(0, healthy - desired) if expected else 0,
        "expectedPods": expected,
        "observedGeneration": budget["metadata"].get("generation", 0),
    }

"""The status of Deployments on a cluster that runs nothing: as if all were ready, and saying that nothing runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REASON = "NothingRuns"
MESSAGE = "This cluster is declared with `run: nothing`: no process was started."


def ready_status(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """What to write as the status of an applied Deployment; the same for the same spec, so that it settles."""
    metadata = deployment["metadata"]
    replicas = deployment["spec"].get("replicas", 1)
    time = _since(deployment) or metadata["creationTimestamp"]
    conditions = [
        {"type": "Available", "reason": REASON, "message": MESSAGE},
        {"type": "Progressing", "reason": "NewReplicaSetAvailable", "message": MESSAGE},
    ]
    counts = {
        name: replicas for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas") if replicas
    }
    return {
        "observedGeneration": metadata.get("generation", 1),
        **counts,
        "conditions": [
            {**condition, "status": "True", "lastUpdateTime": time, "lastTransitionTime": time}
            for condition in conditions
        ],
    }


def _since(deployment: Mapping[str, Any]) -> str:
    """When it became ready, if it did before."""
    for condition in deployment.get("status", {}).get("conditions", ()):
        if condition.get("type") == "Available":
            return str(condition.get("lastTransitionTime", ""))
    return ""

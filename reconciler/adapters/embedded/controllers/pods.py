"""What a pod's status says, and which pods count: pure functions on pod objects."""

from __future__ import annotations

from typing import Any

from reconciler.adapters.embedded.times import seconds

Body = dict[str, Any]


def is_active(pod: Body) -> bool:
    """Whether a pod counts as one: it has not ended, and is not being deleted."""
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") and not is_terminating(pod)


def is_terminating(pod: Body) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_ready(pod: Body) -> bool:
    return _ready_condition(pod).get("status") == "True"


def available_at(pod: Body, min_ready_seconds: int) -> float | None:
    """When a ready pod counts as available; None while it is not ready.

    Stamps are whole seconds, rounded down: a second is added, so that a pod has really been ready that long.
    """
    if not is_ready(pod):
        return None
    if not min_ready_seconds:
        return 0.0
    return seconds(_ready_condition(pod).get("lastTransitionTime", "")) + min_ready_seconds + 1


def restarts(pod: Body) -> int:
    return sum(status.get("restartCount", 0) for status in pod.get("status", {}).get("containerStatuses", ()))


def deletion_rank(pod: Body) -> tuple[Any, ...]:
    """Which pods go first when there are too many: pending, then not ready, then with more restarts, then younger.

    Source: ActivePodsWithRanks in Kubernetes' pkg/controller/controller_utils.go.
    """
    status = pod.get("status", {})
    metadata = pod["metadata"]
    phase = {"Pending": 0, "Unknown": 1, "Running": 2}.get(status.get("phase", "Pending"), 0)
    young = -seconds(metadata.get("creationTimestamp", ""))
    return (phase, is_ready(pod), -restarts(pod), young, metadata["name"])


def matches(selector: Body | None, labels: dict[str, str]) -> bool:
    """Whether a LabelSelector selects `labels`; no selector or an empty one selects nothing."""
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return False
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_meets(requirement, labels) for requirement in selector.get("matchExpressions", ()))


def _meets(requirement: Body, labels: dict[str, str]) -> bool:
    key, values = requirement.get("key", ""), requirement.get("values", [])
    match requirement.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


def _ready_condition(pod: Body) -> Body:
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition.get("type") == "Ready":
            found: Body = condition
            return found
    return {}

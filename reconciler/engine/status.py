"""Rollout status of one object: object in, status out. Nothing here fetches, waits or reads the clock.

The rules are those of kstatus (sigs.k8s.io/cli-utils, pkg/kstatus/status): generation first, then what the kind says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.model.source import JsonObject


class StatusState(StrEnum):
    """How far an object is on its way to what its spec says."""

    CURRENT = "current"
    IN_PROGRESS = "in-progress"
    FAILED = "failed"
    TERMINATING = "terminating"
    NOT_FOUND = "not-found"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`message` is for people. `ready` of `wanted` replicas, both 0 for kinds that have none."""

    state: StatusState
    message: str = ""
    ready: int = 0
    wanted: int = 0


def object_status(body: JsonObject | None) -> Status:
    """The status of one live object; None stands for one that is not there.

    Never raises for odd contents: what cannot be understood is UNKNOWN.
    """
    if body is None:
        return Status(state=StatusState.NOT_FOUND, message="it is not there")
    try:
        return _object_status(body)
    except (TypeError, ValueError, AttributeError) as error:
        return Status(state=StatusState.UNKNOWN, message=f"its status cannot be understood: {error}")


def _object_status(body: JsonObject) -> Status:
    metadata = body.get("metadata", {})
    kind = str(body.get("kind", ""))
    wanted = int(body.get("spec", {}).get("replicas", 1)) if kind == "Deployment" else 0
    if metadata.get("deletionTimestamp"):
        return Status(state=StatusState.TERMINATING, message="it is being deleted", wanted=wanted)
    status: Mapping[str, Any] = body.get("status") or {}
    observed = status.get("observedGeneration")
    if observed is not None and int(observed) != int(metadata.get("generation", observed)):
        text = f"generation {metadata.get('generation')} is not observed yet, {observed} is"
        return Status(state=StatusState.IN_PROGRESS, message=text, wanted=wanted)
    rule = _KINDS.get(kind)
    return rule(body, status) if rule else _conditions_only(status)


def _conditions_only(status: Mapping[str, Any]) -> Status:
    conditions = conditions_by_type(status)
    for kind, state in (("Reconciling", StatusState.IN_PROGRESS), ("Stalled", StatusState.FAILED)):
        condition = conditions.get(kind)
        if condition and condition.get("status") == "True":
            return Status(state=state, message=_text(condition))
    ready = conditions.get("Ready")
    if ready and ready.get("status") == "False":
        return Status(state=StatusState.IN_PROGRESS, message=_text(ready))
    return Status(state=StatusState.CURRENT)


def _deployment(body: JsonObject, status: Mapping[str, Any]) -> Status:
    """As `kubectl rollout status`, plus readiness; a deadline that passed is a failure."""
    wanted = int(body.get("spec", {}).get("replicas", 1))
    total, updated, ready, available = (
        int(status.get(key) or 0) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    )
    conditions = conditions_by_type(status)
    progressing, failure = conditions.get("Progressing", {}), conditions.get("ReplicaFailure", {})
    refused = failure.get("status") == "True"
    unseen = "observedGeneration" not in status and wanted
    steps = (
        (refused, _text(failure)),
        (unseen, "its controller has not seen it yet"),
        (updated < wanted, f"{updated} of {wanted} pods are of the new revision"),
        (total > updated, f"{total - updated} old pods are still ending"),
        (available < updated, f"{available} of {updated} pods are available"),
        (ready < wanted, f"{ready} of {wanted} pods are ready"),
    )
    waits = next((text for holds, text in steps if holds), None)
    state = StatusState.CURRENT if waits is None else StatusState.IN_PROGRESS
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        late = _text(progressing)
        state, waits = StatusState.FAILED, f"{late}; {_text(failure)}" if refused else late
    return Status(state=state, message=waits or "", ready=min(ready, updated, wanted), wanted=wanted)


def _pod(_body: JsonObject, status: Mapping[str, Any]) -> Status:
    ready = conditions_by_type(status).get("Ready", {})
    match status.get("phase"):
        case "Succeeded":
            return Status(state=StatusState.CURRENT, message="it has ended well")
        case "Failed":
            return Status(state=StatusState.FAILED, message=str(status.get("message") or "it has failed"))
        case _ if ready.get("status") == "True":
            return Status(state=StatusState.CURRENT)
        case phase:
            return Status(state=StatusState.IN_PROGRESS, message=_text(ready) or str(phase or "it is not seen yet"))


def _service(body: JsonObject, status: Mapping[str, Any]) -> Status:
    waits = body.get("spec", {}).get("type") == "LoadBalancer" and not status.get("loadBalancer", {}).get("ingress")
    if waits:
        return Status(state=StatusState.IN_PROGRESS, message="its load balancer has no address yet")
    return Status(state=StatusState.CURRENT)


def _always(_body: JsonObject, _status: Mapping[str, Any]) -> Status:
    """Kinds that are what they say as soon as they are stored (an HPA without metrics is no failed rollout)."""
    return Status(state=StatusState.CURRENT)


_KINDS: Mapping[str, Callable[[JsonObject, Mapping[str, Any]], Status]] = {
    "Deployment": _deployment,
    "Pod": _pod,
    "Service": _service,
    "ConfigMap": _always,
    "ServiceAccount": _always,
    "PodDisruptionBudget": _always,
    "HorizontalPodAutoscaler": _always,
}


def conditions_by_type(status: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """`status.conditions` by type; what is no list of mappings is left out."""
    listed = status.get("conditions")
    found: Iterable[Any] = listed if isinstance(listed, list | tuple) else ()
    return {str(item.get("type", "")): item for item in found if isinstance(item, Mapping)}


def _text(condition: Mapping[str, Any]) -> str:
    reason, message = str(condition.get("reason") or ""), str(condition.get("message") or "")
    return f"{reason}: {message}" if reason and message else reason or message


def combine(statuses: Iterable[Status]) -> Status:
    """The status of a whole: the worst of its parts says why, replicas add up. No parts at all are CURRENT."""
    parts = tuple(statuses)
    ready, wanted = sum(part.ready for part in parts), sum(part.wanted for part in parts)
    worst = max(parts, key=lambda part: _BADNESS[part.state], default=Status(state=StatusState.CURRENT))
    return Status(state=worst.state, message=worst.message, ready=ready, wanted=wanted)


_BADNESS: Mapping[StatusState, int] = {
    StatusState.CURRENT: 0,
    StatusState.IN_PROGRESS: 1,
    StatusState.TERMINATING: 2,
    StatusState.UNKNOWN: 3,
    StatusState.NOT_FOUND: 4,
    StatusState.FAILED: 5,
}
